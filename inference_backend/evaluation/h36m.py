"""Human3.6M in the form of VideoPose3D's preparation: data_3d_h36m.npz and data_2d_h36m_*.npz.

For those who own the dataset; nothing of it is here. The protocol: subjects S9 and S11, all four cameras, errors
averaged within each action by frames, then over the actions with equal weight.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import MAIN_JOINTS
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.object_npz import load_object_npz
from inference_backend.evaluation.poses import Camera, Reference
from inference_backend.keypoints.layouts import to_canonical
from inference_backend.keypoints.track import KeypointTrack

SUBJECTS = ("S9", "S11")
FPS = 50.0
JOINTS_17 = MAIN_JOINTS
JOINTS_16 = tuple(n for n in MAIN_JOINTS if n != "nose")  # SemGCN's set
# The 17 used among the 32 markers of the skeleton in the 3D file, in the order of MAIN_JOINTS.
_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_CAMERAS = ("54138969", "55011271", "58860488", "60457274")  # in the order of the 2D file's lists
_SIZES = {
    "54138969": (1000, 1002),
    "55011271": (1000, 1000),
    "58860488": (1000, 1000),
    "60457274": (1000, 1002),
}


def read_cameras(path: str | Path) -> dict[tuple[str, str], Camera]:
    """The calibration as JSON -> (subject, camera) -> Camera without a time axis (R (1,3,3), t (1,3)), metres.

    Form: {"intrinsics": {camera: {"calibration_matrix": 3x3, "distortion": [k1, k2, p1, p2, k3]}},
    "extrinsics": {subject: {camera: {"R": 3x3, "t": [x, y, z] in mm}}}}. Raises GentgError.
    """
    path = Path(path)
    if not path.is_file():
        raise GentgError("no_such_file", "The camera file does not exist.", file=path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        out = {}
        for subject, cameras in data["extrinsics"].items():
            for name, pose in cameras.items():
                inner = data["intrinsics"][name]
                out[subject, name] = Camera(
                    np.array(pose["R"], float).reshape(1, 3, 3), np.array(pose["t"], float).reshape(1, 3) / 1000.0,
                    np.array(inner["calibration_matrix"], float).reshape(3, 3),
                    np.array(inner["distortion"], float).reshape(5), _SIZES.get(name, (1000, 1000)),
                )  # fmt: skip
        return out
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GentgError(
            "bad_request",
            f"Not a camera file of Human3.6M: {error!r}.",
            file=path,
            hint="It needs intrinsics by camera and extrinsics by subject and camera.",
        ) from error


def h36m_cases(data_3d: str | Path, data_2d: str | Path, cameras: str | Path, *, subjects: tuple[str, ...] = SUBJECTS,
               joints: int = 17) -> Iterator[LiftCase]:  # fmt: skip
    """Every sequence of every camera as a case, grouped by `subject`, `action` and `camera`. Raises GentgError.

    `joints=16` takes the 2D file's nose away as well, as SemGCN's protocol does. Keypoints are undistorted with the
    camera's own coefficients. Detections without confidence get 1.
    """
    if joints not in (16, 17):
        raise GentgError("bad_request", "Human3.6M is evaluated on 16 or 17 joints.")
    calibration = read_cameras(cameras)
    truth = _member(load_object_npz(data_3d), "positions_3d", data_3d)
    points = _member(load_object_npz(data_2d), "positions_2d", data_2d)
    for subject in subjects:
        if subject not in truth or subject not in points:
            raise GentgError("bad_request", f"The subject {subject} is not in both files.", file=data_3d)
        for sequence in sorted(truth[subject]):
            world = _skeleton(truth[subject][sequence], f"{subject} {sequence}", data_3d)
            if sequence not in points[subject]:
                raise GentgError("bad_request", f"{subject} {sequence} has no 2D keypoints.", file=data_2d)
            for name, found in zip(_CAMERAS, points[subject][sequence], strict=False):
                if (subject, name) not in calibration:
                    raise GentgError(
                        "bad_request", f"The calibration lacks camera {name} of {subject}.", file=cameras
                    )
                label = f"{subject} {sequence}.{name}"
                yield _case(world, np.asarray(found, float), calibration[subject, name], label, joints, data_2d,
                            {"subject": subject, "action": sequence.split(" ")[0], "camera": name})  # fmt: skip


def _member(data: dict, name: str, path: str | Path) -> dict:
    if not isinstance(data.get(name), dict):
        raise GentgError(
            "bad_request",
            f"The file holds no {name}.",
            file=path,
            hint="It should come from VideoPose3D's prepare_data_h36m.py.",
        )
    return data[name]


def _skeleton(xyz: np.ndarray, label: str, path: str | Path) -> np.ndarray:
    xyz = np.asarray(xyz, float)
    if xyz.ndim != 3 or xyz.shape[1:] not in ((32, 3), (17, 3)):
        raise GentgError(
            "bad_request", f"{label} has shape {xyz.shape}, not (T, 32, 3) or (T, 17, 3).", file=path
        )
    return xyz[:, list(_OF_32)] if xyz.shape[1] == 32 else xyz


def _case(world: np.ndarray, found: np.ndarray, camera: Camera, label: str, joints: int, path: str | Path,
          groups: dict[str, str]) -> LiftCase:  # fmt: skip
    count = len(world)
    if found.ndim != 3 or found.shape[1] != 17 or found.shape[2] not in (2, 3) or len(found) < count:
        raise GentgError(
            "bad_request", f"{label}: keypoints of shape {found.shape} for {count} frames.", file=path
        )
    found = found[:count]  # videos run on for some frames after the motion capture
    flat = found[..., :2].reshape(-1, 1, 2)
    undistorted = cv2.undistortPoints(flat, camera.K, camera.dist, P=camera.K).reshape(count, 17, 2)
    confidence = np.clip(found[..., 2:], 0, 1) if found.shape[2] == 3 else np.ones((count, 17, 1))
    keypoints = np.concatenate([undistorted, confidence], -1)
    if joints == 16:
        keypoints[:, JOINTS_17.index("nose"), 2] = 0.0
    times, frames = np.arange(count) / FPS, np.arange(count)
    track = KeypointTrack(
        to_canonical(keypoints, "h36m17"), "h36m17", times, frames, np.ones(count, bool), camera.size, FPS
    )
    fixed = Camera(
        np.repeat(camera.R, count, 0), np.repeat(camera.t, count, 0), camera.K, camera.dist, camera.size
    )
    return LiftCase(track, camera.K, Reference(JOINTS_17, world, times, frames, fixed, label, None, groups))
