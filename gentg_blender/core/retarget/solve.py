"""Retargeting in closed form: every frame from rest pose to rest pose, no constraint, no iteration.

For a part of the body let R be the rest rotation of its bone and G the posed one, both in the
world. The source's delta is D = G_s R_s^-1. Let A turn the target's rest body (its left, up and
forward) onto the source's. Then with Q the rotation that acts on the target's rest bone, G_t = Q R_t:

- trunk, neck, head, shoulders: Q = D A. The target keeps the curvature of its own spine.
- arms and legs:               Q = S D L A, where L turns the target's limb in rest onto the
  source's (A-pose onto T-pose, joint to joint whatever the tails show) and S is what is left
  between D's direction and the line through the source's posed joints (nothing for rigid sources).
  The limb points exactly where the source's does and takes over its twist.
- feet, toes:                  Q = D Y A, with Y the turn about the vertical alone that aligns the
  feet in rest: soles that lie flat in both rest poses lie flat in both motions.

Bone rolls drop out, since R_t stands on the right of every formula.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..contract import GentgError
from ..rotations import (
    normalize,
    quat_between,
    quat_conjugate,
    quat_from_axis_angle,
    quat_identity,
    quat_multiply,
    quat_rotate,
    quat_slerp,
)
from .body import Body, ControlRig, SourceMotion, Z
from .mapping import NEXT, ROLE_PARENT, Mapping

LIMBS = ("upper_arm", "forearm", "hand", "thigh", "shin")


@dataclass
class Pose:
    """Posed controls in solver space."""

    rotation: np.ndarray  # (T, N, 4)
    head: np.ndarray  # (T, N, 3)
    placed: dict[int, np.ndarray]  # control -> (T, 3): those that move away from their parent


@dataclass
class Solution:
    """A retargeted motion, before it is turned into keys."""

    rig: ControlRig
    body: Body
    pose: Pose
    scale: float  # metres of the target for one of the source
    align: np.ndarray  # (4,) A of the module's text
    keyed: set[int]  # controls whose rotation follows the source
    notes: list[str] = field(default_factory=list)


def leg_scale(source: Body, target: Body) -> float:
    """Ratio of leg lengths; of the trunks' where there are no legs; else 1."""
    if source.leg_length > 1e-6 and target.leg_length > 1e-6:
        return target.leg_length / source.leg_length
    trunks = [float(np.linalg.norm(b.start("head") - b.start("hips"))) if "head" in b.chains else 0.0
              for b in (source, target)]  # fmt: skip
    return trunks[1] / trunks[0] if min(trunks) > 1e-6 else 1.0


def solve(source: SourceMotion, rig: ControlRig, mapping: Mapping, scale: float | None = None) -> Solution:
    """Retarget without regard to the floor (see feet.py for that).

    `scale` of the path defaults to the ratio of leg lengths. The path starts from the target
    object's origin as the source's does from its own. Raises GentgError where the hips are not
    mapped or the motion is empty.
    """
    src, tgt = source.body, rig.body(mapping)
    if len(source) == 0:
        raise GentgError(
            "bad_request", "The motion has no keyframe.", hint="Select an armature with an animation."
        )
    for which, body in (("source", src), ("target", tgt)):
        if "hips" not in body.chains:
            raise GentgError(
                "bad_request",
                f"No bone of the {which} rig is mapped to the hips.",
                hint="Choose a bone map that names the hips.",
            )
    hips = tgt.chains["hips"][0]
    if rig.connected[hips] and rig.parents[hips] >= 0:
        raise GentgError(
            "bad_request",
            f"The bone {rig.names[hips]} is connected to its parent and cannot move.",
            hint="Map the hips to a bone that is free to move, or disconnect it in edit mode.",
        )
    align = quat_multiply(src.frame, quat_conjugate(tgt.frame))
    delta = {role: quat_multiply(source.rotation[:, c[-1]], quat_conjugate(src.rotation[c[-1]]))
             for role, c in src.chains.items() if role != "root"}  # fmt: skip
    shear = rig.space.from_world

    turns = _trunk(delta, tgt, align)
    swing_align: dict[str, np.ndarray] = {}
    for role in tgt.chains:
        part = role.split(".")[0]
        if role in delta and part in LIMBS:
            _limb(role, source, src, tgt, delta[role], align, shear, swing_align, turns)
        elif role in delta and part in ("foot", "toe"):
            turns[role] = [
                quat_multiply(delta[role], quat_multiply(_sole_turn(role, src, tgt, align), align))
            ]
    rotation, keyed = _apply(turns, rig, tgt, len(source))

    k = leg_scale(src, tgt) if scale is None else float(scale)
    pose = Pose(rotation, np.empty(0), {hips: np.broadcast_to(tgt.head[hips], (len(source), 3))})
    pose.head = rig.forward(pose.rotation, pose.placed)
    wanted = tgt.origin + k * (_hip_centre(source.head, src) - src.origin) @ shear.T
    # feet and floor of both may lie off their origins
    wanted = wanted + (tgt.floor - k * src.floor) * Z
    move_hips(pose, rig, hips, wanted - _hip_centre(pose.head, tgt))
    return Solution(rig, tgt, pose, k, align, keyed)


def move_hips(pose: Pose, rig: ControlRig, hips: int, by: np.ndarray) -> None:
    """Shift the hips control by (T, 3), and with it all that rides on it."""
    pose.placed[hips] = pose.placed[hips] + by
    pose.head = rig.forward(pose.rotation, pose.placed)


def _hip_centre(head: np.ndarray, body: Body) -> np.ndarray:
    """The posed point (T, 3) that `Body.hip_centre` is in rest."""
    if "thigh.L" in body.chains and "thigh.R" in body.chains:
        return 0.5 * (head[:, body.chains["thigh.L"][0]] + head[:, body.chains["thigh.R"][0]])
    return head[:, body.chains["hips"][0]]


def _trunk(delta: dict[str, np.ndarray], tgt: Body, align: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Q of hips, spine, chest, neck, head and shoulders, one for each bone of a role's chain.

    Spines of different numbers of bones share the bend evenly: the source's bones are knots at
    equal distances between the hips and the top of the chest, and the target's sample them.
    """
    turns: dict[str, list[np.ndarray]] = {}
    if "hips" in tgt.chains:
        turns["hips"] = [quat_multiply(delta["hips"], align)] * len(tgt.chains["hips"])
    knots = [delta["hips"]] + [delta[r] for r in ("spine", "chest") if r in delta]
    spine = [(role, i) for role in ("spine", "chest") for i in range(len(tgt.chains.get(role, ())))]
    if len(knots) > 1:
        for n, (role, _) in enumerate(spine):
            turns.setdefault(role, []).append(quat_multiply(_at(knots, (n + 1) / len(spine)), align))
    if "neck" in tgt.chains and "neck" in delta:
        count = len(tgt.chains["neck"])
        turns["neck"] = [
            quat_multiply(quat_slerp(knots[-1], delta["neck"], (i + 1) / count), align) for i in range(count)
        ]
    for role in ("head", "shoulder.L", "shoulder.R"):
        if role in tgt.chains and role in delta:
            turns[role] = [quat_multiply(delta[role], align)] * len(tgt.chains[role])
    return turns


def _at(knots: list[np.ndarray], u: float) -> np.ndarray:
    """Rotation at u in (0, 1] along evenly spaced knots (T, 4)."""
    x = u * (len(knots) - 1)
    i = min(int(np.ceil(x - 1e-9)) - 1, len(knots) - 2)
    return quat_slerp(knots[i], knots[i + 1], x - i)


def _limb(role, source, src, tgt, delta, align, shear, swing_align, turns) -> None:
    """Q of one part of an arm or a leg, with the twist spread over the bones of its chain."""
    parent = ROLE_PARENT[role]
    above = swing_align.get(parent, quat_identity())
    rest = quat_rotate(align, tgt.direction(role))
    along = src.direction(role)
    swing_align[role] = quat_multiply(quat_between(quat_rotate(above, rest), along), above)
    wanted = normalize(_posed_direction(role, source, src, delta) @ shear.T)
    whole = quat_multiply(delta, quat_multiply(swing_align[role], align))
    whole = quat_multiply(quat_between(quat_rotate(whole, tgt.direction(role)), wanted), whole)
    count = len(tgt.chains[role])
    if count == 1 or parent not in turns:
        turns[role] = [whole] * count
        return
    untwisted = turns[parent][-1]
    untwisted = quat_multiply(quat_between(quat_rotate(untwisted, tgt.direction(role)), wanted), untwisted)
    turns[role] = [quat_slerp(untwisted, whole, (i + 1) / count) for i in range(count)]


def _posed_direction(role: str, source: SourceMotion, src: Body, delta: np.ndarray) -> np.ndarray:
    follower = NEXT.get(role)
    if follower in src.chains:
        line = source.head[:, src.chains[follower][0]] - source.head[:, src.chains[role][0]]
        if np.all(np.linalg.norm(line, axis=-1) > 1e-9):
            return normalize(line)
    return quat_rotate(delta, src.direction(role))


def _sole_turn(role: str, src: Body, tgt: Body, align: np.ndarray) -> np.ndarray:
    """Y of the module's text, for a foot and its toes alike."""
    foot = "foot" + role[-2:]
    if foot not in src.chains or foot not in tgt.chains:
        return quat_identity()
    flat = []
    for direction in (quat_rotate(align, tgt.direction(foot)), src.direction(foot)):
        across = direction - (direction @ src.up) * src.up
        if np.linalg.norm(across) < 0.2:  # a foot that points down in rest has no heading
            return quat_identity()
        flat.append(normalize(across))
    angle = np.arctan2(np.cross(flat[0], flat[1]) @ src.up, flat[0] @ flat[1])
    return quat_from_axis_angle(src.up, angle)


def _apply(turns, rig: ControlRig, tgt: Body, frames: int) -> tuple[np.ndarray, set[int]]:
    """Posed rotations of all controls; those without motion ride on their parent in rest."""
    q_of = {bone: q for role, qs in turns.items() for bone, q in zip(tgt.chains[role], qs, strict=False)}
    for role, qs in turns.items():  # feet and toes give one Q for the whole chain
        for bone in tgt.chains[role][len(qs) :]:
            q_of[bone] = qs[-1]
    rotation = np.empty((frames, len(rig.names), 4))
    for i in range(len(rig.names)):
        if i in q_of:
            rotation[:, i] = quat_multiply(q_of[i], rig.rotation[i])
        else:
            rotation[:, i] = rig.unposed(rotation, i)
    return normalize(rotation), set(q_of)
