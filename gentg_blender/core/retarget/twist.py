"""Twist bones that hang on a limb beside its next joint, as in Unreal's and Character Creator's rigs.

They carry the skin of a stretch of the limb, which in a body twists evenly from one joint to the
next. With u the place of a twist bone along its limb, 0 at the upper joint and 1 at the lower:

- upper arms and thighs turn in a ball joint. The bone has the whole twist t against what it hangs
  on, the skin at the joint has none: the twist bone takes back (1 - u) t.
- forearms and shins hang on a hinge. The bone keeps the hinge alone, the hand or foot has the
  whole twist t against it, and the twist bone takes u t. Directions and ends stay as they are.

Angles are those of the swing-twist decomposition about the limb, swing after twist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..rotations import (
    normalize,
    quat_conjugate,
    quat_from_axis_angle,
    quat_multiply,
    quat_rotate,
    swing_twist,
)
from .mapping import NEXT, ROLE_PARENT, Mapping
from .rig import RigBone, children_of
from .solve import Solution

_BALL, _HINGE = ("upper_arm", "thigh"), ("forearm", "shin")
_NAMES = ("twist", "roll")


@dataclass(frozen=True)
class TwistBone:
    """A twist bone of a limb."""

    name: str
    role: str  # of the limb
    place: float  # 0 at the limb's upper joint, 1 at its lower one
    rotation: tuple[float, float, float, float]  # rest, armature space


def find_twist_bones(bones: Sequence[RigBone], mapping: Mapping) -> list[TwistBone]:
    """Children of the limbs' bones that are called a twist (or roll), carry no mapped bone and are
    not mapped themselves. A limb of several bones in a row spreads its twist over those instead."""
    by_name, children = {b.name: b for b in bones}, children_of(bones)
    mapped = set(mapping.used())

    def carries(bone: RigBone) -> bool:
        return bone.name in mapped or any(carries(c) for c in children.get(bone.name, []))

    found = []
    for role, chain in mapping.bones.items():
        follower = mapping.bones.get(NEXT.get(role, ""), ())
        if role.split(".")[0] not in _BALL + _HINGE or len(chain) != 1 or not follower:
            continue
        if chain[0] not in by_name or follower[0] not in by_name:
            continue
        start, end = (np.array(by_name[n].head) for n in (chain[0], follower[0]))
        along = end - start
        for bone in children.get(chain[0], []):
            if (
                any(word in bone.name.lower() for word in _NAMES)
                and bone.inherit_rotation
                and not carries(bone)
            ):
                place = float((np.array(bone.head) - start) @ along / max(float(along @ along), 1e-12))
                found.append(TwistBone(bone.name, role, float(np.clip(place, 0.0, 1.0)), bone.rotation))
    return found


def spread_twist(solution: Solution, twists: Sequence[TwistBone]) -> dict[str, np.ndarray]:
    """`matrix_basis` rotations (T, 4) of twist bones. Takes the twist out of forearms and shins that
    have such bones, so that the solution's pose changes; positions do not."""
    pose, body, space = solution.pose, solution.body, solution.rig.space
    out: dict[str, np.ndarray] = {}
    for role in dict.fromkeys(t.role for t in twists):
        above = ROLE_PARENT[role]
        while above is not None and above not in body.chains:
            above = ROLE_PARENT[above]
        if above is None or role not in body.chains or NEXT[role] not in body.chains:
            continue
        axis = body.direction(role)  # in rest, solver space
        own = _angle(solution, above, role, axis)
        if role.split(".")[0] in _HINGE:
            i = body.chains[role][0]
            back = quat_from_axis_angle(np.broadcast_to(axis, (len(own), 3)), -own)
            turn = quat_multiply(_turn(solution, role), back)
            pose.rotation[:, i] = normalize(quat_multiply(turn, solution.rig.rotation[i]))
            whole = _angle(solution, role, NEXT[role], axis)
        for bone in (t for t in twists if t.role == role):
            angle = bone.place * whole if role.split(".")[0] in _HINGE else (bone.place - 1.0) * own
            rest = quat_multiply(space.rotation, np.array(bone.rotation))
            local = quat_rotate(quat_conjugate(rest), axis)
            out[bone.name] = quat_from_axis_angle(np.broadcast_to(local, (len(angle), 3)), angle)
    return out


def _turn(solution: Solution, role: str) -> np.ndarray:
    """How a part has turned since the rest pose (T, 4)."""
    i = solution.body.chains[role][-1]
    return quat_multiply(solution.pose.rotation[:, i], quat_conjugate(solution.rig.rotation[i]))


def _angle(solution: Solution, above: str, below: str, axis: np.ndarray) -> np.ndarray:
    """Twist (T,) of one part against another about an axis of the rest pose, without jumps."""
    between = quat_multiply(quat_conjugate(_turn(solution, above)), _turn(solution, below))
    _, twist = swing_twist(between, axis)
    angle = np.unwrap(2.0 * np.arctan2(twist[:, 1:] @ axis, twist[:, 0]))
    return angle - 2.0 * np.pi * np.round(np.median(angle) / (2.0 * np.pi))
