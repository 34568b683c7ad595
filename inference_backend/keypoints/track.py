"""One person's 2D keypoints over a clip, and the file format of `gentg lift`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gentg_blender.core.contract import GentgError, atomic_file
from gentg_blender.core.skeleton import NUM_JOINTS

from .layouts import layout_names, to_canonical

_TRACK_VERSION = 1
_MIN_POINTS = 3  # fewer points with confidence do not show a person


@dataclass(frozen=True)
class KeypointTrack:
    """T frames of one person. Pixels have (0, 0) at the outer corner of the first pixel.

    Frames with `seen` False are gaps: their coordinates mean nothing (or are interpolated after
    cleaning, with low confidence) and nothing may be keyed there.
    """

    keypoints: np.ndarray  # (T, 35, 3) float: x, y pixels and confidence 0..1, core.skeleton.JOINTS order
    layout: str  # the detector's layout, a key of layouts.LAYOUTS
    timestamps: np.ndarray  # (T,) seconds from the start of the video, increasing
    frames: np.ndarray  # (T,) int, number of the decoded frame in the source
    seen: np.ndarray  # (T,) bool
    image_size: tuple[int, int]  # width, height in pixels, upright
    fps: float  # average rate, for people; time is `timestamps`
    world: np.ndarray | None = (
        None  # (T, 35, 3) the detector's own 3D, metres, hip-centred, camera axes; NaN = none
    )
    camera: np.ndarray | None = None  # (3, 3) intrinsic matrix K in pixels, if it is known
    footage: dict[str, Any] | None = None  # footage.summarise, for the filming check; JSON values

    def __len__(self) -> int:
        return len(self.timestamps)

    def with_keypoints(self, keypoints: np.ndarray, **changes) -> KeypointTrack:
        return replace(self, keypoints=keypoints, **changes)

    def check(self, file: str | os.PathLike | None = None) -> None:
        """Raises GentgError("bad_keypoints") unless shapes, ranges and times are right."""
        t = len(self.timestamps)
        _need(t > 0, "there is no frame", file)
        _need(
            self.keypoints.shape == (t, NUM_JOINTS, 3), f"'keypoints' has shape {self.keypoints.shape}", file
        )
        _need(bool(np.isfinite(self.keypoints).all()), "'keypoints' holds values that are not finite", file)
        confidence = self.keypoints[..., 2]
        _need(bool(((confidence >= 0) & (confidence <= 1)).all()), "confidences lie outside 0..1", file)
        _need(
            self.frames.shape == (t,) and self.seen.shape == (t,),
            "'frames' or 'seen' has another length",
            file,
        )
        _need(bool(np.isfinite(self.timestamps).all()), "'timestamps' holds values that are not finite", file)
        _need(bool((np.diff(self.timestamps) > 0).all()), "'timestamps' do not increase", file)
        _need(min(self.image_size) > 0, f"the image size is {self.image_size}", file)
        _need(np.isfinite(self.fps) and self.fps > 0, f"the frame rate is {self.fps}", file)
        if self.world is not None:
            _need(self.world.shape == (t, NUM_JOINTS, 3), f"'world' has shape {self.world.shape}", file)
        layout_names(self.layout)


def save_track(path: str | os.PathLike, track: KeypointTrack) -> None:
    """Write a track (a cache entry) atomically. Raises GentgError: bad_keypoints, not_writable, no_space."""
    track.check(path)
    arrays = dict(
        track_version=np.array(_TRACK_VERSION), keypoints=track.keypoints.astype(np.float32),
        layout=np.array(track.layout), timestamps=track.timestamps, frames=track.frames, seen=track.seen,
        image_size=np.array(track.image_size), fps=np.array(track.fps),
    )  # fmt: skip
    if track.world is not None:
        arrays["world"] = track.world.astype(np.float32)
    if track.camera is not None:
        arrays["K"] = track.camera
    if track.footage is not None:
        arrays["footage"] = np.array(json.dumps(track.footage))
    with atomic_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)


def load_track(path: str | os.PathLike) -> KeypointTrack:
    """Read what `save_track` wrote. Raises GentgError: no_such_file, bad_keypoints."""
    z = _read(path)
    _need(int(z.get("track_version", -1)) == _TRACK_VERSION, "it is of another version of GenTG", path)
    try:
        track = KeypointTrack(
            keypoints=z["keypoints"].astype(float), layout=str(z["layout"]), timestamps=z["timestamps"],
            frames=z["frames"], seen=z["seen"].astype(bool), image_size=_size(z["image_size"], path),
            fps=float(z["fps"]), world=z["world"].astype(float) if "world" in z else None, camera=z.get("K"),
            footage=json.loads(str(z["footage"])) if "footage" in z else None,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(f"an array is missing or of a wrong kind: {error}", path) from error
    track.check(path)
    return track


def load_keypoints(path: str | os.PathLike) -> KeypointTrack:
    """Read the input of `gentg lift`: an .npz with one person's keypoints from any detector.

    `keypoints` (T, K, 3): pixels and confidence 0..1, missing points have confidence 0; `layout`;
    `image_size` (2,): width, height; `fps` or `timestamps` (T,) seconds; optionally `K` (3, 3).
    Frames where fewer than three points have confidence are gaps. Raises GentgError: no_such_file,
    bad_keypoints with the reason.
    """
    z = _read(path)
    for name in ("keypoints", "layout", "image_size"):
        _need(name in z, f"the array '{name}' is missing", path)
    layout = z["layout"]
    _need(layout.dtype.kind == "U" and layout.size == 1, "'layout' must be one text such as 'coco17'", path)
    layout = str(layout.reshape(()))
    names = layout_names(layout)

    points = z["keypoints"]
    _need(points.dtype.kind in "fiu", f"'keypoints' has type {points.dtype}", path)
    _need(
        points.ndim == 3 and points.shape[1:] == (len(names), 3),
        f"'keypoints' has shape {points.shape}, the layout {layout} needs (T, {len(names)}, 3)",
        path,
    )
    _need(len(points) > 0, "'keypoints' holds no frame", path)
    points = points.astype(float)
    confidence = points[..., 2]
    _need(
        bool(np.isfinite(confidence).all()),
        "confidences are not finite; missing points have confidence 0",
        path,
    )
    _need(
        bool(((confidence >= 0) & (confidence <= 1)).all()),
        f"confidences must lie in 0..1, they lie in {confidence.min():g}..{confidence.max():g}",
        path,
    )
    absent = confidence == 0
    _need(
        bool(np.isfinite(points[~absent]).all()),
        "points with confidence have coordinates that are not finite",
        path,
    )
    points[absent] = 0.0
    size = _size(z["image_size"], path)
    if not absent.all():
        reach = np.abs(points[~absent][:, :2]).max()
        _need(
            reach > 2.0 or max(size) <= 2,
            "coordinates must be in pixels, these look normalised to 0..1",
            path,
        )

    t = len(points)
    if "timestamps" in z:
        times = np.asarray(z["timestamps"])
        _need(
            times.dtype.kind in "fiu" and times.shape == (t,),
            f"'timestamps' has shape {times.shape}, not ({t},)",
            path,
        )
        times = times.astype(float)
        _need(
            bool(np.isfinite(times).all()) and bool((np.diff(times) > 0).all()),
            "'timestamps' must increase",
            path,
        )
        fps = (
            (t - 1) / (times[-1] - times[0]) if t > 1 else _number(z.get("fps", np.array(30.0)), "fps", path)
        )
    else:
        _need("fps" in z, "neither 'fps' nor 'timestamps' is there", path)
        fps = _number(z["fps"], "fps", path)
        times = np.arange(t) / fps
    camera = z.get("K")
    if camera is not None:
        _need(
            camera.dtype.kind in "fiu" and camera.shape == (3, 3) and bool(np.isfinite(camera).all()),
            "'K' must be a finite 3x3 matrix",
            path,
        )
        camera = camera.astype(float)
        _need(
            camera[0, 0] > 0 and camera[1, 1] > 0 and np.allclose(camera[2], (0, 0, 1)) and camera[1, 0] == 0,
            "'K' is no pinhole matrix [[fx, s, cx], [0, fy, cy], [0, 0, 1]]",
            path,
        )
    canonical = to_canonical(points, layout)
    return KeypointTrack(
        keypoints=canonical, layout=layout, timestamps=times, frames=np.arange(t),
        seen=(points[..., 2] > 0).sum(axis=1) >= _MIN_POINTS, image_size=size, fps=float(fps), camera=camera,
    )  # fmt: skip


def _read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    path = Path(path)
    if not path.is_file():
        raise GentgError("no_such_file", "The keypoint file does not exist.", file=path)
    try:
        with np.load(path, allow_pickle=False) as z:
            if not hasattr(z, "files"):
                raise ValueError("a single array, not an .npz")
            return {name: z[name] for name in z.files}
    except Exception as error:  # numpy raises half a dozen kinds for damaged files and for pickles
        raise _bad(f"it cannot be read: {error}", path) from error


def _size(value: np.ndarray, path: str | os.PathLike) -> tuple[int, int]:
    value = np.asarray(value)
    ok = (
        value.shape == (2,)
        and value.dtype.kind in "fiu"
        and bool((value > 0).all())
        and bool((value == np.round(value)).all())
    )
    _need(ok, f"'image_size' must be width and height in pixels, not {value.tolist()}", path)
    return int(value[0]), int(value[1])


def _number(value: np.ndarray, name: str, path: str | os.PathLike) -> float:
    ok = value.size == 1 and value.dtype.kind in "fiu" and np.isfinite(value).all() and (value > 0).all()
    _need(bool(ok), f"'{name}' must be one number above 0", path)
    return float(value.reshape(()))


def _bad(why: str, file: str | os.PathLike | None) -> GentgError:
    return GentgError(
        "bad_keypoints",
        f"Not a usable keypoint file: {why}.",
        file=file,
        hint="docs/contract.md describes the file that 'gentg lift' reads.",
    )


def _need(ok: bool, why: str, file: str | os.PathLike | None) -> None:
    if not ok:
        raise _bad(why, file)
