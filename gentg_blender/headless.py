"""Many clips or captures without a window: estimate, import, export, summarise. Needs bpy."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .core.contract import PROMINENT, Capture, GentgError, load_capture
from .core.delivery import Delivery
from .core.images import IMAGE_SUFFIXES, find_images
from .core.retarget import Mapping
from .job.jobs import Job, JobQueue, State
from .tool.append_rig import append_rig
from .tool.camera import clip_size, focal_in_pixels
from .tool.export import save_blend
from .tool.exporters import export_armature
from .tool.result import ImportResult, ImportSettings, import_capture
from .tool.retarget import retarget_to_rig

VIDEO_SUFFIXES = frozenset(
    ".mp4 .mov .m4v .mkv .webm .avi .mpg .mpeg .mts .m2ts .wmv .flv .ogv .3gp .mxf .ts".split()
)
_NO_CLIP = ("no_such_file", "not_a_video", "empty_video")  # what keeps a clip from standing behind the camera
_POLL = 0.05  # seconds between looks at the backend
Say = Callable[[str], None]


@dataclass
class Item:
    """One clip or capture and the files to make of it."""

    name: str
    clip: Path | None  # to estimate, or to show behind the camera
    capture: Path  # result file: to be written for a clip, else to be read
    files: dict[str, Path] = field(default_factory=dict)  # kind of core.delivery.FILES -> path
    sequence_fps: float | None = None  # the clip is a sequence of images


@dataclass
class Outcome:
    """What became of an item, as the summary tells it."""

    name: str
    source: str
    ok: bool = False
    outputs: dict[str, str] = field(default_factory=dict)
    rig: str | None = None  # the object that the motion was retargeted to
    first_frame: float | None = None
    last_frame: float | None = None
    fps: float | None = None
    gaps: list[tuple[float, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: dict[str, Any] | None = None


def find_clips(names: list[str], sequences: bool = False) -> list[Path]:
    """Files as they are, folders as the videos in them, by name. Raises GentgError for an empty folder.
    With `sequences` a folder is a clip itself, of numbered images."""
    if sequences:
        return [Path(name) for name in names]
    return _find(names, VIDEO_SUFFIXES, "video")


def find_captures(names: list[str]) -> list[Path]:
    """Files as they are, folders as the captures in them, by name. Raises GentgError for an empty folder."""
    return _find(names, frozenset({".npz"}), "capture")


def _find(names: list[str], suffixes: frozenset[str], what: str) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, names):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and p.name[0] != ".")
            if not inside:
                raise GentgError("no_such_file", f"The folder holds no {what}.", file=path,
                                 hint="Give another folder, or name the files.")  # fmt: skip
            found += inside
        else:
            found.append(path)
    return found


def run(
    items: list[Item], settings: dict[str, Any] | None, queue: JobQueue | None, say: Say, delivery: Delivery = Delivery(),
) -> Iterator[Outcome]:  # fmt: skip
    """Work on one item after the other; an item that fails ends as an outcome with its error.

    With a `queue` every item's clip is estimated with `settings` (EstimateSettings' fields, or
    `focal_mm`, or as `person` a number of the command "people") into its capture file first; without
    one the capture file is read. Clears the open file. KeyboardInterrupt ends the backend and is passed on.
    """
    try:
        for item in items:
            began = time.monotonic()
            outcome = Outcome(item.name, str(item.clip if queue and item.clip else item.capture))
            try:
                if queue is not None:
                    _estimate(item, dict(settings or {}), queue, outcome, say)
                _make(item, delivery, outcome, say)
                outcome.ok = True
            except GentgError as error:
                outcome.error = {
                    "code": error.code,
                    "message": error.message,
                    "file": error.file,
                    "hint": error.hint,
                }
            except Exception as error:  # a bug met with one clip must not stop the others
                traceback.print_exc()
                outcome.error = {"code": "internal", "message": f"{type(error).__name__}: {error}", "file": None,
                                 "hint": "Please report this with what stands above."}  # fmt: skip
            outcome.seconds = round(time.monotonic() - began, 3)
            yield outcome
    finally:
        if queue is not None:
            queue.shut_down()


def _estimate(item: Item, settings: dict[str, Any], queue: JobQueue, outcome: Outcome, say: Say) -> None:
    """Let the backend write the item's capture file. Raises the backend's error."""
    if item.clip is None or item.sequence_fps is None and not item.clip.exists():
        raise GentgError("no_such_file", "The clip does not exist.", file=item.clip)
    first = item.clip if item.sequence_fps is None else next(iter(find_images(item.clip).values()))
    if (focal := settings.pop("focal_mm", None)) is not None:
        settings["focal_px"] = focal_in_pixels(focal, clip_size(first))
    params: dict[str, Any] = {"clip": str(item.clip.resolve()), "settings": settings}
    if item.sequence_fps is not None:
        params["sequence_fps"] = item.sequence_fps
    if (number := settings.get("person", PROMINENT)) != PROMINENT:
        settings["person"] = PROMINENT
        settings["person"] = _person(item, number, _work(Job(item.name, "people", {**params}), queue, say))
    params["capture"] = str(item.capture.resolve())
    job = _work(Job(item.name, "estimate", params), queue, say)
    outcome.outputs["capture"] = str(item.capture)
    outcome.warnings += [str(w) for w in (job.result or {}).get("warnings", ())]


def _work(job: Job, queue: JobQueue, say: Say) -> Job:
    """Let the backend do it, telling how it gets on. Raises the backend's error."""
    queue.submit(job)
    logged, stage = time.monotonic(), ""
    while not job.state.ended:
        queue.poll()
        now = time.monotonic()
        if job.progress.stage != stage or now - logged > 5.0:
            say(f"{job.title}: " + ", ".join(filter(None, (job.progress.stage_text, job.progress.detail))))
            logged, stage = now, job.progress.stage
        time.sleep(_POLL)
    if job.state is not State.DONE:
        raise job.error or GentgError("cancelled", "Cancelled.")
    return job


def _person(item: Item, number: int, search: Job) -> dict[str, Any]:
    """The setting that names the person of this number. Raises GentgError("no_person") if there is none."""
    people = (search.result or {}).get("people", [])
    for person in people:
        if person["number"] == number:
            return person["seed"]
    raise GentgError("no_person", f"There is no person {number}: {len(people)} found in the clip.", file=item.clip,
                     hint=f"See who is who with: gentg people {item.clip} -o DIR")  # fmt: skip


def _make(item: Item, delivery: Delivery, outcome: Outcome, say: Say) -> None:
    """A fresh file with the capture in it, perhaps on the animator's rig, exported. The scene is ours: it takes the clip's rate and size."""
    capture = load_capture(item.capture)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    result = _import(item, capture, outcome)
    outcome.first_frame, outcome.last_frame = result.first_frame, result.last_frame
    outcome.gaps, outcome.fps = result.gaps, float(capture.fps)
    outcome.warnings += result.warnings
    _look_through_camera()
    bpy.context.scene.frame_set(int(result.first_frame))
    armature = _retarget(delivery, result.armature, outcome) if delivery.rig else result.armature
    presets = {"fbx": delivery.fbx_preset, "bvh": "bvh", "glb": "gltf", "usd": "usd"}
    for kind, path in item.files.items():
        if kind == "blend":
            save_blend(path)
        else:
            export_armature(bpy.context, armature, path, presets[kind])
        outcome.outputs[kind] = str(path)
        say(f"{item.name}: wrote {path}")


def _retarget(delivery: Delivery, capture: bpy.types.Object, outcome: Outcome) -> bpy.types.Object:
    """The animator's rig with the motion on it. Raises GentgError."""
    rig = append_rig(bpy.context, *delivery.rig)
    mapping = Mapping.load(delivery.map) if delivery.map else None
    done = retarget_to_rig(bpy.context, capture, rig, mapping)
    outcome.rig = rig.name
    outcome.warnings += done.warnings
    return rig


def _import(item: Item, capture: Capture, outcome: Outcome) -> ImportResult:
    settings = ImportSettings(
        name=item.name, capture_file=item.capture, set_rate=True, set_resolution=True, set_range=True,
    )  # fmt: skip
    try:
        settings.video = _background(item, capture)
        settings.sequence = settings.video is not None and settings.video.suffix.lower() in IMAGE_SUFFIXES
        return import_capture(bpy.context, capture, settings)
    except GentgError as error:
        if item.clip is None and settings.video is None or error.code not in _NO_CLIP:
            raise
        outcome.warnings.append(f"No clip behind the camera: {error.message}")
        settings.video = None
        return import_capture(bpy.context, capture, settings)


def _background(item: Item, capture: Capture) -> Path | None:
    """The clip to show, of a sequence its first image: the one that was named, else the one that the capture was
    made from, if still there. Raises GentgError for a named sequence without images."""
    if item.clip is not None:
        images = item.clip.is_dir() or item.clip.suffix.lower() in IMAGE_SUFFIXES
        return next(iter(find_images(item.clip).values())) if images else item.clip
    source = capture.meta.get("source") or {}
    path = Path(str(source["path"])) if source.get("path") else None
    return path if path is not None and path.is_file() else None


def _look_through_camera() -> None:
    """Open the 3D views on the camera, where the skeleton lies over the person."""
    for screen in bpy.data.screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                area.spaces.active.region_3d.view_perspective = "CAMERA"


def summary(outcomes: list[Outcome], not_started: int = 0) -> dict[str, Any]:
    """The machine-readable account of a run."""
    done = sum(o.ok for o in outcomes)
    return {"items": [asdict(o) for o in outcomes], "done": done, "failed": len(outcomes) - done,
            "not_started": not_started, "blender": bpy.app.version_string,
            "python": sys.version.split()[0]}  # fmt: skip
