"""Bone channels in the rotation mode that each bone has, written in bulk."""

from __future__ import annotations

import bpy
import numpy as np

from ..core.retarget.keys import quat_to_euler
from ..core.rotations import normalize
from .action import write_curve

_LINEAR = 1


def bone_path(bone: str, channel: str) -> str:
    """Data path of a channel of a pose bone, seen from its object."""
    return f'pose.bones["{bpy.utils.escape_identifier(bone)}"].{channel}'


def write_bone(
    bag: bpy.types.ActionChannelbag,
    bone: str,
    channel: str,
    frames: np.ndarray,
    values: np.ndarray,
    interpolation: list[np.ndarray] | None = None,
) -> None:
    """All components of a channel, values (F, n); one kind of interpolation per component if given."""
    for k in range(values.shape[1]):
        kind = _LINEAR if interpolation is None else interpolation[k]
        write_curve(bag, bone_path(bone, channel), k, bone, frames, values[:, k], kind)


def rotation_channel(mode: str) -> str:
    """The channel that a bone or object of this rotation mode turns by."""
    return {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(
        mode, "rotation_euler"
    )


def rotation_values(mode: str, q: np.ndarray) -> np.ndarray:
    """Unit quaternions (T, 4) as that channel's values: (T, 4), (T, 4) angle and axis, or (T, 3)."""
    if mode == "QUATERNION":
        return q
    if mode == "AXIS_ANGLE":
        length = np.linalg.norm(q[:, 1:], axis=-1, keepdims=True)
        axis = np.where(length > 1e-9, normalize(q[:, 1:]), [0.0, 1.0, 0.0])
        return np.concatenate([2.0 * np.arctan2(length, q[:, :1]), axis], axis=-1)
    return quat_to_euler(q, mode)
