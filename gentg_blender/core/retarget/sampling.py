"""Channel values into rotations: what rotation modes mean."""

from __future__ import annotations

import numpy as np

from ..rotations import normalize, quat_from_axis_angle, quat_multiply


def euler_to_quat(angles: np.ndarray, order: str) -> np.ndarray:
    """Angles (T, 3) in x, y, z places -> (T, 4). "XYZ" means that X turns first, as in Blender."""
    q = None
    for axis in order:
        i = "XYZ".index(axis)
        turn = quat_from_axis_angle(np.broadcast_to(np.eye(3)[i], angles.shape), angles[:, i])
        q = turn if q is None else quat_multiply(turn, q)
    return q


def basis_rotation(mode: str, values: np.ndarray) -> np.ndarray:
    """Quaternions (T, 4) from a pose bone's rotation channels: (T, 4) wxyz for "QUATERNION",
    (T, 4) angle and axis for "AXIS_ANGLE", else (T, 3) Euler angles of that order."""
    if mode == "QUATERNION":
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        return normalize(np.where(length > 1e-9, values, [1.0, 0.0, 0.0, 0.0]))
    if mode == "AXIS_ANGLE":
        axis = np.where(
            np.linalg.norm(values[:, 1:], axis=-1, keepdims=True) > 1e-9, values[:, 1:], [0.0, 1.0, 0.0]
        )
        return quat_from_axis_angle(normalize(axis), values[:, 0])
    return euler_to_quat(values, mode)
