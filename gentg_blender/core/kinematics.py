"""Chains of bones: forward kinematics, its inverse, and two-bone inverse kinematics. numpy only.

Rotations follow Blender's pose bones: `local_rotation` is a bone's rotation from its rest pose
in its own rest axes (`PoseBone.matrix_basis`), so that with R the rest and G the posed rotation
in armature space

    G[bone] = G[parent] R[parent]^-1 R[bone] local[bone],      G[root] = R[root] local[root].

A bone's head keeps its place in the parent's rest frame; it need not lie on the parent's tail.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .rotations import (
    basis_from,
    matrix_to_quat,
    normalize,
    quat_between,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
)

_EPS = 1e-9
_POLE_SHARE = 0.01  # of the chain's length: a middle joint less far out follows the pole


class PosedBones(NamedTuple):
    """Bones in armature space."""

    head: np.ndarray  # (T, B, 3)
    tail: np.ndarray  # (T, B, 3)
    rotation: np.ndarray  # (T, B, 4) wxyz, bone axes


def forward_kinematics(
    rest_head: np.ndarray,
    rest_tail: np.ndarray,
    rest_rotation: np.ndarray,
    parents: np.ndarray,
    local_rotation: np.ndarray,
    root: np.ndarray,
) -> PosedBones:
    """Pose the bones.

    rest_head, rest_tail (B, 3) and rest_rotation (B, 4) in armature space; parents (B,), parents
    before children, -1 for the root; local_rotation (T, B, 4); root (T, 3), the place of the root
    bone's head.
    """
    frames, bones = local_rotation.shape[:2]
    head = np.empty((frames, bones, 3))
    rotation = np.empty((frames, bones, 4))
    for bone in range(bones):
        parent = parents[bone]
        if parent < 0:
            head[:, bone] = root
            rotation[:, bone] = quat_multiply(rest_rotation[bone], local_rotation[:, bone])
            continue
        to_parent = quat_conjugate(rest_rotation[parent])
        offset = quat_rotate(to_parent, rest_head[bone] - rest_head[parent])
        head[:, bone] = head[:, parent] + quat_rotate(rotation[:, parent], offset)
        rest_in_parent = quat_multiply(to_parent, rest_rotation[bone])
        rotation[:, bone] = quat_multiply(
            rotation[:, parent], quat_multiply(rest_in_parent, local_rotation[:, bone])
        )
    along = quat_rotate(quat_conjugate(rest_rotation), rest_tail - rest_head)
    tail = head + quat_rotate(rotation, np.broadcast_to(along, head.shape))
    return PosedBones(head, tail, rotation)


def local_rotations(rest_rotation: np.ndarray, parents: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Inverse of `forward_kinematics` for rotations: posed (T, B, 4) -> local (T, B, 4)."""
    parents = np.asarray(parents)
    has_parent = parents >= 0
    at = np.maximum(parents, 0)
    rest_in_parent = quat_multiply(quat_conjugate(rest_rotation[at]), rest_rotation)
    unturned = quat_multiply(rotation[:, at], rest_in_parent)
    unturned = np.where(has_parent[:, None], unturned, rest_rotation)
    return normalize(quat_multiply(quat_conjugate(unturned), rotation))


class TwoBone(NamedTuple):
    """Result of `two_bone_ik`: new joints and what to turn each bone by, in world axes."""

    mid: np.ndarray  # (..., 3)
    end: np.ndarray  # (..., 3); the target where it can be reached
    upper: np.ndarray  # (..., 4) turns the upper bone: new rotation = upper * old
    lower: np.ndarray  # (..., 4)


def two_bone_ik(
    root: np.ndarray,
    mid: np.ndarray,
    end: np.ndarray,
    target: np.ndarray,
    *,
    pole: np.ndarray | None = None,
    softness: float = 0.0,
) -> TwoBone:
    """Bring the end of a chain of two bones to a target. Lengths stay exact, the pole is kept.

    root, mid, end, target (..., 3): hip, knee, ankle and where the ankle should be. The joint in
    the middle stays on the side it was on, turned along with the chain by the shortest rotation.
    `pole` (..., 3) is a direction that the middle points to where the chain is too straight to
    have a side of its own: it fades in over the last hundredth of the length, so that a knee does
    not spin while the leg straightens. `softness` in [0, 1): the last fraction of the reach is approached
    asymptotically, so that a leg does not snap straight; 0 reaches exactly up to full length.
    The law of cosines gives the angle at the root.
    """
    root, mid, end, target = np.broadcast_arrays(root, mid, end, target)
    upper_vector, lower_vector = mid - root, end - mid
    upper_length = np.linalg.norm(upper_vector, axis=-1, keepdims=True)
    lower_length = np.linalg.norm(lower_vector, axis=-1, keepdims=True)
    longest, shortest = upper_length + lower_length, np.abs(upper_length - lower_length)

    old_axis = normalize(end - root)
    wanted = target - root
    wanted_length = np.linalg.norm(wanted, axis=-1, keepdims=True)
    new_axis = np.where(wanted_length > _EPS, wanted / np.maximum(wanted_length, _EPS), old_axis)
    reach = _soft_limit(wanted_length, longest, softness)
    reach = np.clip(reach, np.maximum(shortest, 1e-6 * longest), longest)

    old_pole = _side(upper_vector, old_axis, longest, pole)
    turned = quat_rotate(quat_between(old_axis, new_axis), old_pole)
    new_pole = normalize(turned - np.sum(turned * new_axis, axis=-1, keepdims=True) * new_axis)

    cos = (upper_length**2 + reach**2 - lower_length**2) / (2.0 * upper_length * reach)
    cos = np.clip(cos, -1.0, 1.0)
    direction = cos * new_axis + np.sqrt(1.0 - cos**2) * new_pole
    new_mid = root + upper_length * direction
    new_end = root + reach * new_axis

    old_normal, new_normal = np.cross(old_axis, old_pole), np.cross(new_axis, new_pole)

    def turn(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return matrix_to_quat(basis_from(new, new_normal) @ np.swapaxes(basis_from(old, old_normal), -1, -2))

    return TwoBone(
        new_mid, new_end, turn(upper_vector, new_mid - root), turn(lower_vector, new_end - new_mid)
    )


def _soft_limit(length: np.ndarray, longest: np.ndarray, softness: float) -> np.ndarray:
    """Identity up to (1 - softness) of `longest`, then asymptotic to it with a continuous slope."""
    if softness <= 0.0:
        return np.minimum(length, longest)
    room = softness * longest
    over = np.maximum(length - (longest - room), 0.0)
    return np.where(over > 0.0, longest - room * np.exp(-over / room), length)


def _side(upper: np.ndarray, axis: np.ndarray, length: np.ndarray, pole: np.ndarray | None) -> np.ndarray:
    """Unit vector across `axis` towards the middle joint, or towards `pole` in a straight chain."""

    def across(v: np.ndarray) -> np.ndarray:
        return v - np.sum(v * axis, axis=-1, keepdims=True) * axis

    side = across(upper)
    if pole is not None:
        given = across(np.broadcast_to(pole, axis.shape))
        side = side + _POLE_SHARE * length * given / np.maximum(
            np.linalg.norm(given, axis=-1, keepdims=True), _EPS
        )
    straight = np.linalg.norm(side, axis=-1, keepdims=True) < 1e-4 * length
    fallback = np.where(np.abs(axis[..., :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    return normalize(np.where(straight, across(fallback), side))
