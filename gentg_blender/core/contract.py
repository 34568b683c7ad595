"""The contract between Blender and the backend: messages and the result file.

Written down for people in docs/contract.md; this module is its only definition in code.
Blender's side and the backend's import it, so that neither can drift from the other.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

PROTOCOL_VERSION = 1
RESULT_VERSION = 1

# --------------------------------------------------------------------------- messages
# One JSON object per line, UTF-8, over the backend's stdin and stdout. Every message carries
# `type` and `protocol`; all but `hello` and `log` carry the `id` of the request they answer.

ERROR_CODES = (
    "bad_request",  # the message or its parameters are wrong
    "no_such_file",
    "not_a_video",  # the file exists but holds no video stream that can be decoded
    "empty_video",  # zero bytes or no frame
    "no_person",
    "bad_weights",  # a model file is missing or fails its hash
    "bad_keypoints",  # a keypoint file does not follow the contract
    "no_space",  # disk full
    "not_writable",
    "no_blender",  # neither a Blender nor the bpy module was found
    "blender_failed",
    "missing_dependency",
    "out_of_memory",
    "cancelled",
    "internal",  # a bug of ours: the log has the traceback
)

STAGES = (
    "probe",
    "people",
    "detect",
    "camera",
    "clean",
    "lift",
    "correct",
    "solve",
    "write",
    "preview",
    "blender",
)


class GentgError(Exception):
    """An error that a person can act on: what went wrong, with which file, what to do."""

    def __init__(self, code: str, message: str, *, file: str | os.PathLike | None = None, hint: str = ""):
        if code not in ERROR_CODES:
            raise ValueError(f"unknown error code {code!r}")
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint
        self.file = None if file is None else os.fspath(file)

    def __str__(self) -> str:
        where = f" ({self.file})" if self.file and self.file not in self.message else ""
        return f"{self.message}{where}" + (f"\n{self.hint}" if self.hint else "")


def message(kind: str, **values: Any) -> dict[str, Any]:
    """A protocol message ready for `encode`."""
    return {"type": kind, "protocol": PROTOCOL_VERSION, **values}


def encode(msg: dict[str, Any]) -> bytes:
    """One line of UTF-8 with its newline. Raises ValueError on NaN, which JSON lacks."""
    return (json.dumps(msg, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def decode(line: bytes) -> dict[str, Any]:
    """Parse one line. Raises GentgError("bad_request") for anything but a message of ours."""
    try:
        msg = json.loads(line.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise GentgError("bad_request", f"not a line of JSON: {line[:80]!r}") from error
    if not isinstance(msg, dict) or not isinstance(msg.get("type"), str):
        raise GentgError("bad_request", "a message is a JSON object with a type")
    if msg.get("protocol") != PROTOCOL_VERSION:
        raise GentgError(
            "bad_request",
            f"protocol {msg.get('protocol')!r} is spoken there, {PROTOCOL_VERSION} here",
            hint="Blender's extension and its backend are of different versions: run Set Up Backend again.",
        )
    return msg


# --------------------------------------------------------------------------- result file


@dataclass
class Capture:
    """What one person's capture holds. T frames, J joints, B bones, K keypoints, C foot parts.

    World: metres, right-handed, Z up, floor at z = 0. The camera looks along +Y as far as
    gravity lets it, so a person who faces the camera faces -Y, Blender's front.
    Camera: metres, x right, y down, z forward; x_cam = R x_world + t for a camera that stands
    still, camera_rotation[t] (R x_world + t) in frame t of one that turns. Pixels have (0, 0)
    at the outer corner of the first pixel.
    Frames where the person was not seen have `seen` False: their arrays hold interpolated
    values that must not be keyed.
    """

    names: np.ndarray  # (J,) joint names, gentg_blender.core.skeleton.JOINTS
    xyz: np.ndarray  # (T, J, 3) world
    xyz_camera: np.ndarray  # (T, J, 3) axes of each frame's camera, same poses as xyz
    sigma: np.ndarray  # (T, J) metres, one standard deviation of the joint's distance error
    seen: np.ndarray  # (T,) bool
    timestamps: np.ndarray  # (T,) seconds from the start of the video, by its own clock
    frames: np.ndarray  # (T,) number of the decoded frame in the source, from 0
    fps: np.ndarray  # () the source's average rate, for people; time is `timestamps`
    bone_names: np.ndarray  # (B,)
    bone_parents: np.ndarray  # (B,) int, -1 for the root
    rest_head: np.ndarray  # (B, 3) rest pose, armature space = world axes, feet on z = 0
    rest_tail: np.ndarray  # (B, 3)
    rest_rotation: np.ndarray  # (B, 4) wxyz, bone axes in armature space; y runs head to tail
    local_rotation: np.ndarray  # (T, B, 4) wxyz, from rest, in the bone's own rest axes (matrix_basis)
    root: np.ndarray  # (T, 3) world position of the root bone's head
    limb_names: np.ndarray  # (L,) "joint-joint"
    limb_lengths: np.ndarray  # (L,) metres, constant over the clip
    contacts: np.ndarray  # (T, C) bool, planted
    contact_names: np.ndarray  # (C,) skeleton.FEET
    keypoints: np.ndarray  # (T, K, 3) pixels and confidence 0..1, as used by the lifter
    keypoint_names: np.ndarray  # (K,)
    K: np.ndarray  # (3, 3)
    R: np.ndarray  # (3, 3)
    t: np.ndarray  # (3,)
    image_size: np.ndarray  # (2,) width, height in pixels, after the rotation tag
    xyz_tgt: np.ndarray  # (T, J, 3) world, TGT alone through the same solver: the "before"
    local_rotation_tgt: np.ndarray  # (T, B, 4)
    root_tgt: np.ndarray  # (T, 3)
    camera_rotation: np.ndarray | None = (
        None  # (T, 3, 3); the identity, as which None is taken, when it stood still
    )
    # The motion from before the foot lock, for feet that an animator frees; None when nothing was locked.
    local_rotation_free: np.ndarray | None = None  # (T, B, 4)
    root_free: np.ndarray | None = None  # (T, 3)
    meta: dict[str, Any] = field(default_factory=dict)  # versions, settings, hashes, warnings

    def __post_init__(self) -> None:
        if self.camera_rotation is None:
            self.camera_rotation = np.tile(np.eye(3), (len(self), 1, 1))

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def camera_turns(self) -> bool:
        """Whether the camera was followed in a pan, tilt or roll."""
        return bool(np.abs(self.camera_rotation - np.eye(3)).max() > 1e-9)

    def to_json(self) -> str:
        return json.dumps(self.meta, ensure_ascii=False, allow_nan=False, sort_keys=True)


# array -> (letters of its shape, kind of its dtype). Letters bind to one size per file.
_SCHEMA: dict[str, tuple[str, str]] = {
    "names": ("J", "U"), "xyz": ("TJ3", "f"), "xyz_camera": ("TJ3", "f"), "sigma": ("TJ", "f"),
    "seen": ("T", "b"), "timestamps": ("T", "f"), "frames": ("T", "i"), "fps": ("", "f"),
    "bone_names": ("B", "U"), "bone_parents": ("B", "i"), "rest_head": ("B3", "f"),
    "rest_tail": ("B3", "f"), "rest_rotation": ("B4", "f"), "local_rotation": ("TB4", "f"),
    "root": ("T3", "f"), "limb_names": ("L", "U"), "limb_lengths": ("L", "f"),
    "contacts": ("TC", "b"), "contact_names": ("C", "U"), "keypoints": ("TK3", "f"),
    "keypoint_names": ("K", "U"), "K": ("33", "f"), "R": ("33", "f"), "t": ("3", "f"),
    "image_size": ("2", "i"), "xyz_tgt": ("TJ3", "f"), "local_rotation_tgt": ("TB4", "f"),
    "root_tgt": ("T3", "f"), "camera_rotation": ("T33", "f"),
    "local_rotation_free": ("TB4", "f"), "root_free": ("T3", "f"),
}  # fmt: skip
# Files written before cameras were followed; motion without a foot lock, or from before it was kept.
_MAY_LACK = {"camera_rotation", "local_rotation_free", "root_free"}


def validate(arrays: dict[str, np.ndarray], *, file: str | os.PathLike | None = None) -> None:
    """Check names, shapes, kinds and finiteness. Raises GentgError("bad_request")."""
    sizes: dict[str, int] = {}

    def refuse(why: str) -> None:
        raise GentgError(
            "bad_request",
            f"not a capture file: {why}",
            file=file,
            hint="Choose an .npz that GenTG wrote, or estimate the clip again.",
        )

    for name, (shape, kind) in _SCHEMA.items():
        if name not in arrays and name in _MAY_LACK:
            continue
        if name not in arrays:
            refuse(f"the array '{name}' is missing")
        a = arrays[name]
        if a.dtype.kind not in {"i": "iu"}.get(kind, kind):
            refuse(f"'{name}' has type {a.dtype}")
        if a.ndim != len(shape):
            refuse(f"'{name}' has {a.ndim} axes, not {len(shape)}")
        for axis, letter in enumerate(shape):
            want = int(letter) if letter.isdigit() else sizes.setdefault(letter, a.shape[axis])
            if a.shape[axis] != want:
                refuse(f"'{name}' has shape {a.shape}")
        if kind == "f" and not np.isfinite(a).all():
            refuse(f"'{name}' holds values that are not finite")
    if sizes["T"] == 0:
        refuse("it holds no frame")
    if ("local_rotation_free" in arrays) != ("root_free" in arrays):
        refuse("of 'local_rotation_free' and 'root_free' one is missing")
    if np.any(np.diff(arrays["timestamps"]) <= 0):
        refuse("the timestamps do not increase")
    parents = arrays["bone_parents"]
    if parents[0] != -1 or np.any(parents >= np.arange(len(parents))):
        refuse("bones must stand after their parents")


def save_capture(path: str | os.PathLike, capture: Capture) -> Path:
    """Write atomically (a reader never sees half a file). Raises GentgError."""
    path = Path(path)
    given = {name: getattr(capture, name) for name in _SCHEMA}
    arrays = {name: np.asarray(a) for name, a in given.items() if a is not None or name not in _MAY_LACK}
    validate(arrays, file=path)
    arrays["meta"] = np.array(capture.to_json())
    arrays["result_version"] = np.array(RESULT_VERSION)
    with atomic_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path


def load_capture(path: str | os.PathLike) -> Capture:
    """Read and check a result file. Raises GentgError("no_such_file" or "bad_request")."""
    path = Path(path)
    if not path.is_file():
        raise GentgError("no_such_file", "The capture file does not exist.", file=path)
    try:
        with np.load(path, allow_pickle=False) as z:
            arrays = {name: z[name] for name in z.files}
    except Exception as error:  # numpy raises half a dozen kinds for a damaged file
        raise GentgError("bad_request", f"Not a readable capture file: {error}", file=path) from error
    if int(arrays.get("result_version", -1)) != RESULT_VERSION:
        raise GentgError(
            "bad_request",
            "The capture was written by another version of GenTG.",
            file=path,
            hint="Estimate the clip again.",
        )
    validate(arrays, file=path)
    meta = json.loads(str(arrays.get("meta", "{}")))
    return Capture(**{name: arrays[name] for name in _SCHEMA if name in arrays}, meta=meta)


class atomic_file:
    """Context manager: yields a temporary path beside `path`, moved onto it on success.

    Disk and permission errors become GentgError; on any error nothing is left behind.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".gentg-", suffix=self.path.suffix, dir=self.path.parent)
        except OSError as error:
            raise os_error(error, self.path) from error
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind, error, trace) -> bool:
        if error is None:
            try:
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(self.temporary, 0o666 & ~umask)
                os.replace(self.temporary, self.path)
            except OSError as failure:
                self.temporary.unlink(missing_ok=True)
                raise os_error(failure, self.path) from failure
            return False
        self.temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise os_error(error, self.path) from error
        return False


def os_error(error: OSError, path: str | os.PathLike) -> GentgError:
    """Translate an operating system's refusal to write into an error for people."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else -1):
        return GentgError("no_space", "The disk is full.", file=path, hint="Free some space and try again.")
    return GentgError(
        "not_writable",
        f"Cannot write there: {error.strerror or error}",
        file=path,
        hint="Choose another output folder with -o, or change its permissions.",
    )


# --------------------------------------------------------------------------- settings

PROMINENT = "prominent"  # EstimateSettings.person: whoever is large and sure for longest


@dataclass(frozen=True)
class PersonSeed:
    """One person of a clip, named by where he or she is at one time: needs no state on either side."""

    time: float  # seconds in the video
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 pixels of the upright, unscaled image

    @classmethod
    def from_dict(cls, values: Any) -> PersonSeed:
        """From `{"time": s, "box": [x0, y0, x1, y1]}`. Raises GentgError("bad_request")."""
        try:
            if set(values) != {"time", "box"}:
                raise ValueError
            seed = cls(float(values["time"]), tuple(float(v) for v in values["box"]))
            x0, y0, x1, y1 = seed.box
            if not (np.isfinite([seed.time, *seed.box]).all() and seed.time >= 0 and x0 < x1 and y0 < y1):
                raise ValueError
        except (TypeError, ValueError) as error:
            raise GentgError(
                "bad_request",
                f"no person can be meant by {values!r}",
                hint=f"The person is '{PROMINENT}', or a time in seconds and a box in pixels as 'gentg people' "
                "lists them.",
            ) from error
        return seed

    def to_dict(self) -> dict[str, Any]:
        return {"time": self.time, "box": list(self.box)}


@dataclass
class EstimateSettings:
    """Everything a person can choose for one estimate. Defaults are good ones.

    Lives here because the panel, the command line and the backend share it; `from_dict`
    refuses unknown names so that a typo is never a silently ignored option.
    """

    start: float | None = None  # seconds in the video
    end: float | None = None
    height: float | None = None  # actor's standing height, metres
    focal_px: float | None = None  # focal length in pixels of the decoded (upright) image width
    fov: float | None = None  # horizontal field of view, radians; excludes focal_px
    device: str = "auto"  # auto | cpu | cuda | mps
    runtime: str = "torch"  # torch | onnx
    detector: str = "mediapipe"  # or a path to an RTMPose model folder
    person: str | dict[str, Any] = PROMINENT  # or a PersonSeed as a dict: the command "people" lists them
    quality: str = "balanced"  # fast | balanced | best
    # Amount of GPC's correction, 0..1. Off until its weights beat a plain low-pass on hidden limbs.
    correction: float = 0.0
    smoothing: float = 0.12  # seconds
    foot_lock: bool = True
    seed: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EstimateSettings:
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise GentgError("bad_request", f"unknown setting: {', '.join(unknown)}")
        settings = cls(**values)
        settings.check()
        return settings

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def chosen_person(self) -> PersonSeed | None:
        """Who is meant; None for the most prominent person. Raises GentgError("bad_request")."""
        return None if self.person == PROMINENT else PersonSeed.from_dict(self.person)

    def check(self) -> None:
        """Raises GentgError("bad_request") for values out of range."""

        def need(ok: bool, why: str) -> None:
            if not ok:
                raise GentgError("bad_request", why)

        need(self.device in ("auto", "cpu", "cuda", "mps"), f"unknown device {self.device!r}")
        need(self.runtime in ("torch", "onnx"), f"unknown runtime {self.runtime!r}")
        need(self.quality in ("fast", "balanced", "best"), f"unknown quality {self.quality!r}")
        need(0.0 <= self.correction <= 1.0, "the correction amount lies between 0 and 1")
        need(0.0 <= self.smoothing <= 2.0, "smoothing lies between 0 and 2 seconds")
        need(self.height is None or 0.4 <= self.height <= 3.0, "the height is in metres, between 0.4 and 3")
        need(self.fov is None or 0.02 < self.fov < 3.0, "the field of view is in radians, between 0.02 and 3")
        need(self.focal_px is None or self.focal_px > 0, "the focal length must be positive")
        need(
            self.fov is None or self.focal_px is None, "give the field of view or the focal length, not both"
        )
        need(self.start is None or self.start >= 0, "the start lies before the video")
        need(self.end is None or self.end > (self.start or 0.0), "the end must come after the start")
        person = self.chosen_person
        need(
            person is None or (self.start or 0.0) <= person.time < (np.inf if self.end is None else self.end),
            "the chosen person was picked at a time that lies outside the chosen part of the clip: "
            "look for people again",
        )
