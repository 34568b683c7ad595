"""MPI-INF-3DHP's test set: the common data_test_3dhp.npz, or the original annot_data.mat files (needs h5py).

For those who own the dataset; nothing of it is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import MAIN_JOINTS
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.object_npz import load_object_npz
from inference_backend.evaluation.poses import Camera, Reference
from inference_backend.keypoints.layouts import to_canonical
from inference_backend.keypoints.track import KeypointTrack

# The 17 joints of the test set, in its order.
JOINTS: tuple[str, ...] = (
    "head_top", "neck", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist", "r_hip", "r_knee",
    "r_ankle", "l_hip", "l_knee", "l_ankle", "pelvis", "spine", "nose",
)  # fmt: skip
FPS = 25.0
_SIZES = {"TS5": (1920, 1080), "TS6": (1920, 1080)}  # the others are 2048 x 2048
_MAX_RESIDUAL = 8.0  # pixels


def fit_camera(xyz: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, float]:
    """Intrinsics from points in camera axes (N, 3) and their pixels (N, 2) -> K (3, 3), RMS residual in px.

    Least squares of u = fx x / z + cx and v = fy y / z + cy, each axis by itself. The test set's intrinsics are in
    neither file, but both hold exact projections.
    """
    K, residual = np.eye(3), []
    for axis in range(2):
        a = np.stack([xyz[:, axis] / xyz[:, 2], np.ones(len(xyz))], -1)
        (K[axis, axis], K[axis, 2]), *_ = np.linalg.lstsq(a, uv[:, axis], rcond=None)
        residual.append(a @ K[axis, [axis, 2]] - uv[:, axis])
    return K, float(np.sqrt(np.mean(np.square(residual)) * 2))


def mpi3dhp_cases(path: str | Path) -> Iterator[LiftCase]:
    """Each test sequence as a case with `sequence` as its group; runs of valid frames only. Raises GentgError.

    `path` is data_test_3dhp.npz or the folder that holds TS1/annot_data.mat and so on. The npz may be made from
    `univ_annot3` (every actor at the same height), the usual choice; results differ from those on `annot3`.
    """
    path = Path(path)
    for name, uv, xyz, valid in _folder(path) if path.is_dir() else _npz(path):
        if uv.shape != (len(xyz), 17, 2) or xyz.shape[1:] != (17, 3) or len(valid) != len(xyz):
            raise GentgError(
                "bad_request", f"{name}: 2D of shape {uv.shape} and 3D of shape {xyz.shape}.", file=path
            )
        metres = xyz / 1000.0
        if not valid.any() or np.any(metres[valid][..., 2] <= 0):
            raise GentgError(
                "bad_request",
                f"{name}: the 3D is not in camera axes.",
                file=path,
                hint="The file must hold absolute positions, not root-relative ones.",
            )
        K, residual = fit_camera(metres[valid].reshape(-1, 3), uv[valid].reshape(-1, 2))
        if residual > _MAX_RESIDUAL:
            raise GentgError(
                "bad_request",
                f"{name}: 2D and 3D do not belong together ({residual:.0f} px apart).",
                file=path,
            )
        count = len(metres)
        keypoints = np.concatenate([uv, np.ones((count, 17, 1))], -1)[
            :, [JOINTS.index(n) for n in MAIN_JOINTS]
        ]
        keypoints[~valid] = 0.0
        times, frames = np.arange(count) / FPS, np.arange(count)
        size = _SIZES.get(name, (2048, 2048))
        track = KeypointTrack(to_canonical(keypoints, "h36m17"), "h36m17", times, frames, valid, size, FPS)
        truth = np.where(valid[:, None, None], metres, np.nan)
        still = Camera(np.repeat(np.eye(3)[None], count, 0), np.zeros((count, 3)), K, None, size)
        yield LiftCase(
            track, K, Reference(JOINTS, truth, times, frames, still, name, None, {"sequence": name})
        )


def _npz(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    data = load_object_npz(path).get("data")
    if not isinstance(data, dict) or not all(
        isinstance(v, dict) and {"data_2d", "data_3d", "valid"} <= set(v) for v in data.values()
    ):
        raise GentgError(
            "bad_request",
            "Not a test file of MPI-INF-3DHP: `data` by sequence with data_2d, data_3d, valid.",
            file=path,
        )
    for name in sorted(data):
        v = data[name]
        yield (
            name,
            np.asarray(v["data_2d"], float),
            np.asarray(v["data_3d"], float),
            np.asarray(v["valid"]).ravel().astype(bool),
        )


def _folder(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    files = sorted(path.glob("TS*/annot_data.mat"))
    if not files:
        raise GentgError("no_such_file", "The folder holds no TS1/annot_data.mat.", file=path)
    try:
        import h5py
    except ImportError as error:
        raise GentgError(
            "missing_dependency",
            "Reading .mat files of version 7.3 needs the package h5py.",
            file=path,
            hint="Install it into the backend's environment: pip install h5py",
        ) from error
    for file in files:
        try:
            with h5py.File(file, "r") as mat:  # MATLAB's column-major arrays arrive as (T, 1, 17, d)
                uv, xyz, valid = (np.asarray(mat[k], float) for k in ("annot2", "annot3", "valid_frame"))
        except (OSError, KeyError) as error:
            raise GentgError(
                "bad_request", f"Not an annotation file of MPI-INF-3DHP: {error}", file=file
            ) from error
        yield file.parent.name, uv.reshape(-1, 17, 2), xyz.reshape(-1, 17, 3), valid.ravel() > 0
