"""What joints can do: hinges that bend one way, ranges that end softly. Angles in radians.

Everything inside the ranges is left exactly as it is.
"""

from __future__ import annotations

import numpy as np

from gentg_blender.core.rotations import normalize, quat_from_axis_angle, quat_rotate, rotation_angle

# How far an elbow's or a knee's bending plane may turn about the upper bone, from where the
# unturned upper bone has it. Beyond lies a joint that bends backwards.
HINGE_RANGE = {"upper_arm": np.radians(125.0), "thigh": np.radians(80.0)}
PRONATION_RANGE = np.radians(115.0)  # of the forearm about itself, either way from palm down
# Largest turn from rest in the parent bone, and the room beyond it that is used asymptotically.
TURN_RANGE = {"neck": np.radians(60.0), "head": np.radians(60.0), "hand": np.radians(95.0)}
TURN_ROOM = np.radians(15.0)


def fold(angle: np.ndarray, limit: float) -> np.ndarray:
    """Angles in [-pi, pi] folded into [-limit, limit], continuous everywhere on the circle.

    Inside nothing changes; from the limit to straight backwards the angle runs back to zero, so
    that a knee drawn backwards becomes one bent forwards: in an image the two look alike.
    """
    size = np.abs(angle)
    back = limit * (np.pi - size) / (np.pi - limit)
    return np.where(size > limit, np.sign(angle) * back, angle)


def swing_about(root: np.ndarray, mid: np.ndarray, end: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn a chain's middle joint about the line root-end by `angle` (T,). All (T, 3)."""
    return root + quat_rotate(quat_from_axis_angle(normalize(end - root), angle), mid - root)


def limit_turn(local: np.ndarray, limit: float) -> np.ndarray:
    """Local rotations (T, 4) whose angle beyond `limit` is compressed into TURN_ROOM."""
    angle = rotation_angle(local)
    over = np.maximum(angle - limit, 0.0)
    kept = np.where(over > 0, limit + TURN_ROOM * (1.0 - np.exp(-over / TURN_ROOM)), angle)
    axis = normalize(np.where(local[..., :1] < 0, -local[..., 1:], local[..., 1:]))
    return np.where((over > 0)[..., None], quat_from_axis_angle(axis, kept), local)
