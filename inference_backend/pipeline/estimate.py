"""From a clip or keypoints to a capture file: the stages in order, with cache, progress and timings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentg_blender.core.contract import Capture, EstimateSettings, GentgError, save_capture
from gentg_blender.core.delivery import FILES, Delivery
from inference_backend import __version__

from .cache import Cache, key_of
from .camera import Intrinsics, intrinsics
from .folders import cache_folder
from .inputs import (
    content,
    expected_frames,
    identity,
    open_detector,
    open_source,
    source_facts,
    versions,
    weights_on_disk,
)
from .memory import release_memory
from .outputs import Outputs, staged
from .reporter import Reporter, peak_memory

if TYPE_CHECKING:  # these import torch, cv2 or av, which `hello` must not wait for
    from inference_backend.keypoints.people import PeopleFound
    from inference_backend.keypoints.track import KeypointTrack
    from inference_backend.lifting.lifter import LiftResult
    from inference_backend.video.sequence import ImageSequence

# What a lift depends on; other settings only concern the solver and need no new lift.
_LIFT_SETTINGS = ("quality", "correction", "seed", "runtime", "device")
# Frames of a clip whose later stages need the detector's memory (0.35 GB) more than the next clip needs the second
# that it takes to load it again.
_LONG = 6000


class Estimator:
    """Runs estimates one after another; detector and networks stay loaded between them."""

    def __init__(self) -> None:
        self._detector: tuple[tuple[str, bool], Any] | None = None
        self.worker_detectors: list[
            Any
        ] = []  # further detectors of that kind, one for each thread but the first
        self._lifter: tuple[tuple, Any] | None = None

    def estimate(
        self, clip: Path, outputs: Outputs, settings: EstimateSettings, report: Reporter, *,
        use_cache: bool = True, sequence_fps: float | None = None, blender: str | None = None,
        delivery: Delivery = Delivery(),
    ) -> dict[str, Any]:  # fmt: skip
        """One clip; returns the `result` of docs/contract.md. Raises GentgError, writing nothing."""
        settings.check()
        outputs.check(clip)
        delivery.check(outputs.wanted(*FILES))
        with _about(clip):
            return self._estimate(clip, outputs, settings, report, use_cache, sequence_fps, blender, delivery)

    def _estimate(
        self, clip: Path, outputs: Outputs, settings: EstimateSettings, report: Reporter,
        use_cache: bool, sequence_fps: float | None, blender: str | None, delivery: Delivery,
    ) -> dict[str, Any]:  # fmt: skip
        from inference_backend.video.probe import probe

        found = None
        if outputs.wanted(*FILES):
            from .blender import find_blender

            found = find_blender(blender)
        report("probe", 0, 1)
        source = open_source(clip, sequence_fps)
        info = probe(source)
        report("probe", 1, 1)
        stages = ["probe", "detect", "clean", "lift", "solve", "write"]
        stages += ["correct"] * (settings.correction > 0) + ["preview"] * bool(
            outputs.preview or outputs.still
        )
        report.left.plan(stages + ["blender"] * bool(found), expected_frames(info, settings))
        with staged(outputs.wanted(*FILES)) as late:
            with staged(outputs.wanted("capture", "preview", "still")) as early:
                run = _Run(self, settings, report, Cache.default() if use_cache else Cache(None))
                camera = intrinsics(settings, info.size, info.focal_px)
                track = run.clean(run.detect(source))
                capture = run.to_capture(track, camera, run.camera_rotations(source, track, camera))
                del track
                capture.meta["source"] = source_facts(info)
                run.write(capture, early["capture"])
                if outputs.preview or outputs.still:
                    from inference_backend.preview import render_preview

                    render_preview(source, capture, early.get("preview"), early.get("still"), report)
            warnings: list[str] = []
            if found:
                from .blender import make_scene

                warnings = make_scene(found, outputs.capture, clip, late, clip.stem, report, delivery)
        result = run.summary(capture, outputs)
        result["warnings"] = [*result["warnings"], *warnings]
        return result

    def lift_keypoints(
        self,
        keypoints: Path,
        outputs: Outputs,
        settings: EstimateSettings,
        report: Reporter,
        *,
        use_cache: bool = True,
    ) -> dict[str, Any]:
        """From a keypoint file; returns the `result` of docs/contract.md. Raises GentgError, writing nothing."""
        from inference_backend.keypoints.track import load_keypoints

        settings.check()
        outputs.check(keypoints)
        with _about(keypoints):
            report("probe", 0, 1)
            track = load_keypoints(keypoints)
            report("probe", 1, 1)
            report.left.plan(("probe", "clean", "lift", "correct", "solve", "write"), len(track))
            camera = intrinsics(settings, track.image_size, None)
            if track.camera is not None and settings.focal_px is None and settings.fov is None:
                camera = Intrinsics(track.camera, "file")
            with staged(outputs.wanted()) as temporary:
                run = _Run(self, settings, report, Cache.default() if use_cache else Cache(None))
                capture = run.to_capture(run.clean(track), camera)
                capture.meta["source"] = {"path": str(keypoints), "layout": track.layout}
                run.write(capture, temporary["capture"])
        return run.summary(capture, outputs)

    def prepare(
        self, clip: Path, settings: EstimateSettings, report: Reporter
    ) -> tuple[KeypointTrack, Intrinsics]:
        """What the lifter gets for a clip: the cleaned track and the camera. Raises GentgError."""
        from inference_backend.video.probe import probe

        with _about(clip):
            info = probe(clip)
            run = _Run(self, settings, report, Cache(None))
            return run.clean(run.detect(clip)), intrinsics(settings, info.size, info.focal_px)

    def people(
        self, clip: Path, settings: EstimateSettings, report: Reporter, *, use_cache: bool = True,
        sequence_fps: float | None = None,
    ) -> PeopleFound:  # fmt: skip
        """Everybody in a clip (in `settings.start` to `end`), the most prominent first. Raises GentgError."""
        from inference_backend.keypoints.people import find_people
        from inference_backend.video.probe import probe

        from .entries import load_people, save_people

        settings.check()
        with _about(clip):
            report("probe", 0, 1)
            source = open_source(clip, sequence_fps)
            info = probe(source)
            report("probe", 1, 1)
            report.left.plan(("probe", "people"), expected_frames(info, settings))
            with report.loading():
                detector = self.detector(settings, everybody=True)
            s = settings
            key = key_of(
                version=__version__,
                content=content(source),
                detector=identity(detector),
                start=s.start,
                end=s.end,
            )
            cache = Cache.default() if use_cache else Cache(None)
            found = cache.fetch("people", key, load_people)
            if found is None:
                found = find_people(source, detector, s.start, s.end, report)
                cache.store("people", key, lambda path: save_people(found, path))
            return found

    def detector(self, settings: EstimateSettings, everybody: bool = False) -> Any:
        """The loaded 2D detector of these settings; `everybody` as in `open_detector`."""
        key = (settings.detector, everybody)
        if self._detector is None or self._detector[0] != key:
            self.close_detector()
            self._detector = (key, open_detector(*key))
        return self._detector[1]

    def close_detector(self) -> None:
        """Free the detector, if one is loaded, with its memory; it is loaded again when it is needed."""
        for detector in (*self.worker_detectors, *([] if self._detector is None else [self._detector[1]])):
            detector.close()
        self.worker_detectors, self._detector = [], None
        release_memory()

    def lifter(self, settings: EstimateSettings) -> Any:
        """The loaded networks for these settings."""
        key = tuple(getattr(settings, name) for name in _LIFT_SETTINGS)
        if self._lifter is None or self._lifter[0] != key:
            from inference_backend.lifting.lifter import Lifter

            self._lifter = (key, Lifter(settings, graphs=cache_folder() / "graphs"))
        return self._lifter[1]


class _Run:
    """The stages of one estimate and what they leave for `meta`."""

    def __init__(self, estimator: Estimator, settings: EstimateSettings, report: Reporter, cache: Cache):
        self.estimator, self.settings, self.report, self.cache = estimator, settings, report, cache
        self.cached: list[str] = []
        self.warnings: list[str] = []
        self.cleaning: dict[str, int] = {}
        self.detector: dict[str, Any] | None = None  # None: the keypoints came from a file

    def detect(self, source: Path | ImageSequence) -> KeypointTrack:
        """The person's raw keypoints, from the cache if the same content was seen before."""
        from inference_backend.keypoints.detect import detect_video

        from .entries import load_detection, save_detection

        s, person = self.settings, self.settings.chosen_person
        with self.report.loading():
            detector = self.estimator.detector(s, everybody=person is not None)
        self.detector = identity(detector)
        key = key_of(
            version=__version__,
            content=content(source),
            detector=self.detector,
            start=s.start,
            end=s.end,
            person=s.person,
        )

        def compute() -> tuple[KeypointTrack, list[str]]:
            warnings: list[str] = []
            return detect_video(
                source, detector, s.start, s.end, self.report, warn=warnings.append, person=person,
                worker_detectors=self.estimator.worker_detectors,
            ), warnings  # fmt: skip

        track, warnings = self._through_cache(
            "detect", key, load_detection, compute, lambda v, path: save_detection(*v, path)
        )
        self.warnings += warnings
        if len(track) > _LONG:
            self.estimator.close_detector()
        return track

    def clean(self, track: KeypointTrack) -> KeypointTrack:
        """Left and right repaired, jitter removed."""
        from inference_backend.keypoints.clean import clean

        self.report("clean", 0, len(track))
        cleaned, changes = clean(track)
        self.cleaning = {
            "swapped_frames": int(changes.swapped.any(-1).sum()),
            "filled_frames": int(changes.filled.sum()),
        }
        self.report("clean", len(track), len(track))
        return cleaned

    def camera_rotations(
        self, source: Path | ImageSequence, track: KeypointTrack, camera: Intrinsics
    ) -> np.ndarray | None:
        """Rotations (T, 3, 3) of a camera that turns, None for one that stands still or cannot be followed."""
        from . import camera_stabilisation as stabilisation

        if not stabilisation.may_move(track):
            return None
        from inference_backend.video.camera_motion import estimate_camera_motion

        from .entries import load_motion, save_motion

        boxes = stabilisation.person_boxes(track)
        key = key_of(
            version=__version__, content=content(source), K=camera.K, frames=track.frames, boxes=boxes
        )
        motion = self._through_cache(
            "camera", key, load_motion,
            lambda: estimate_camera_motion(source, camera.K, track.image_size, track.frames, boxes, self.report), save_motion,
        )  # fmt: skip
        rotations, warning = stabilisation.camera_rotations(motion)
        self.warnings += [warning] if warning else []
        return rotations

    def lift(self, track: KeypointTrack, camera: Intrinsics) -> LiftResult:
        """3D by TGT and by TGT with GPC."""
        s = self.settings
        key = key_of(
            version=__version__, weights=weights_on_disk(), K=camera.K, keypoints=track.keypoints, seen=track.seen,
            timestamps=track.timestamps, layout=track.layout, size=list(track.image_size),
            **{name: getattr(s, name) for name in _LIFT_SETTINGS},
        )  # fmt: skip

        def windows_as_frames(stage: str, done: int, total: int | None) -> None:
            self.report(stage, round(done / total * len(track)) if total else done, len(track))

        def compute() -> LiftResult:
            self.report("lift", 0, len(track))
            with self.report.loading():
                lifter = self.estimator.lifter(s)
            return lifter.lift(track, camera.K, windows_as_frames)

        from .entries import load_lift, save_lift

        result = self._through_cache("lift", key, load_lift, compute, save_lift)
        if len(track) > _LONG:
            release_memory()
        return result

    def to_capture(
        self, filmed: KeypointTrack, camera: Intrinsics, camera_rotations: np.ndarray | None = None
    ) -> Capture:
        """Lift, solve and assemble; `meta` lacks the source. `camera_rotations`: as `camera_rotations()` gives it."""
        from inference_backend.solve.solve import solve

        from .camera_stabilisation import stabilise
        from .result import assemble

        track = filmed if camera_rotations is None else stabilise(filmed, camera.K, camera_rotations)
        result = self.lift(track, camera)
        self.report("solve", 0, len(track))
        after = solve(result.corrected, track, camera.K, self.settings, self.report)
        before = after  # nothing was uncertain, or no correction wanted
        if not np.array_equal(result.tgt.joints, result.corrected.joints):
            before = solve(result.tgt, track, camera.K, self.settings, self.report, like=after)
        self.warnings += [w for w in (camera.warning, *result.warnings, *after.warnings) if w]
        weights, resampled = result.weights, result.resampled
        del result, track
        capture = assemble(filmed, camera, camera_rotations, before, after)
        capture.meta = {
            "gentg": __version__, "versions": versions(), "settings": self.settings.to_dict(),
            "camera": {"focal_px": camera.focal_px, "from": camera.origin}, "layout": filmed.layout, "cleaning": self.cleaning,
            "detector": self.detector, "footage": filmed.footage,
            "weights": weights, "resampled": resampled, "warnings": self.warnings, "cached": self.cached,
            "standing_height": after.standing_height, "height_assumed": self.settings.height is None,
        }  # fmt: skip
        return capture

    def write(self, capture: Capture, path: Path) -> None:
        """Save with the timings of all stages before this one."""
        capture.meta["timings"] = self.report.finish()
        self.report("write", 0, len(capture))
        save_capture(path, capture)
        self.report("write", len(capture), len(capture))

    def summary(self, capture: Capture, outputs: Outputs) -> dict[str, Any]:
        """The `result` of docs/contract.md."""
        times = capture.timestamps
        return {
            "outputs": {name: str(path) for name, path in outputs.wanted().items()},
            "frames": len(capture), "seen": int(capture.seen.sum()), "duration": float(times[-1] - times[0]),
            "fps": float(capture.fps), "image_size": capture.image_size.tolist(), "warnings": self.warnings, "timings": self.report.finish(),
            "cached": self.cached, "peak_memory": peak_memory(),
        }  # fmt: skip

    def _through_cache(
        self, kind: str, key: str, load: Callable[[Path], Any], compute: Callable[[], Any],
        save: Callable[[Any, Path], Any],
    ) -> Any:  # fmt: skip
        value = self.cache.fetch(kind, key, load)
        if value is not None:
            self.cached.append(kind)
            return value
        value = compute()
        self.cache.store(kind, key, lambda path: save(value, path))
        return value


@contextmanager
def _about(file: Path) -> Iterator[None]:
    """Errors of stages that know no file name get this one."""
    try:
        yield
    except GentgError as error:
        if error.file is None and error.code not in ("cancelled", "bad_request"):
            error.file = str(file)
        raise
