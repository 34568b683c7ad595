"""From a solved pose to the channels that are keyed: root motion, IK controls, Euler angles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..contract import GentgError
from ..rotations import (
    normalize,
    quat_between,
    quat_conjugate,
    quat_continuous,
    quat_from_axis_angle,
    quat_multiply,
    quat_rotate,
    quat_to_matrix,
)
from .body import Z
from .solve import Solution

RootMotion = Literal["hips", "root", "object"]
_HEADING_SMOOTHING = 0.25  # seconds: a root bone follows where the body goes, not each sway of the hips


@dataclass
class Channels:
    """What is keyed. Rotations are `matrix_basis` quaternions, wxyz, without sign flips."""

    rotation: dict[str, np.ndarray] = field(default_factory=dict)  # control -> (T, 4)
    location: dict[str, np.ndarray] = field(default_factory=dict)  # control -> (T, 3)
    object_location: np.ndarray | None = None  # (T, 3) world, where the object itself moves
    object_turn: np.ndarray | None = None  # (T, 4) about the world's Z, on top of its own rotation


@dataclass(frozen=True)
class IkChain:
    """IK controls of one limb by name, next to the roles whose motion they take on."""

    upper: str
    lower: str
    end: str
    control: str
    pole: str = ""
    toe_role: str = ""
    toe: str = ""
    up: tuple[float, float, float] | None = (
        None  # axis of the rest upper bone, armature space, that seeks the pole
    )
    hinge: tuple[float, float, float] | None = None  # axis of the rest lower bone that the limb bends about


def place_ik(solution: Solution, limbs: list[IkChain]) -> None:
    """Pose IK controls so that switching a limb to IK changes nothing."""
    rig, body, pose = solution.rig, solution.body, solution.pose

    def turn(role: str) -> np.ndarray:
        i = body.chains[role][-1]
        return quat_multiply(pose.rotation[:, i], quat_conjugate(rig.rotation[i]))

    def joint(role: str) -> np.ndarray:
        return pose.head[:, body.chains[role][0]]

    for limb in limbs:
        c, q = rig.index(limb.control), turn(limb.end)
        pose.rotation[:, c] = quat_multiply(q, rig.rotation[c])
        pose.placed[c] = joint(limb.end) + quat_rotate(q, rig.head[c] - body.start(limb.end))
        solution.keyed.add(c)
        if limb.toe and limb.toe_role in body.chains:
            t = rig.index(limb.toe)
            pose.rotation[:, t] = quat_multiply(turn(limb.toe_role), rig.rotation[t])
            solution.keyed.add(t)
        if limb.pole:
            p = rig.index(limb.pole)
            place = _pole(
                solution, limb, turn(limb.upper), joint(limb.upper), joint(limb.lower), joint(limb.end)
            )
            pose.placed[p] = place
    pose.head = rig.forward(pose.rotation, pose.placed)


def _pole(solution: Solution, limb: IkChain, turn: np.ndarray, top: np.ndarray, mid: np.ndarray,
          end: np.ndarray) -> np.ndarray:  # fmt: skip
    """Place (T, 3) of a pole target that makes the IK chain bend as the limb does.

    Blender's solver turns the chain about the line from its root to its goal until one axis of the
    upper bone (`limb.up`) points to the pole, while the lower bone bends about its own hinge. So
    the upper bone is twisted in thought until its hinge is normal to the plane of the bend, and
    the pole is put where the axis then points. All but straight limbs keep the twist they have.
    """
    rig, body = solution.rig, solution.body
    line = normalize(end - top)
    foot = top + np.sum((mid - top) * line, axis=-1, keepdims=True) * line
    reach = np.linalg.norm(rig.head[rig.index(limb.pole)] - body.start(limb.lower))

    def across(v: np.ndarray, axis: np.ndarray) -> np.ndarray:
        return normalize(v - np.sum(v * axis, axis=-1, keepdims=True) * axis)

    if limb.up is None or limb.hinge is None:
        guide = quat_rotate(turn, rig.head[rig.index(limb.pole)] - body.start(limb.lower))
        return foot + reach * across(
            normalize(mid - foot) * (np.linalg.norm(mid - foot, axis=-1, keepdims=True) > 1e-3)
            + 1e-3 * across(guide, line),
            line,
        )
    along = normalize(mid - top)
    hinge = across(quat_rotate(turn, quat_rotate(rig.space.rotation, np.array(limb.hinge))), along)
    normal = np.cross(along, normalize(end - mid))
    normal = normal * np.where(np.sum(normal * hinge, axis=-1, keepdims=True) < 0, -1.0, 1.0)
    twist = quat_between(hinge, across(normal + 0.002 * hinge, along))
    up = quat_rotate(quat_multiply(twist, turn), quat_rotate(rig.space.rotation, np.array(limb.up)))
    return foot + reach * across(up, line)


def channels(solution: Solution, times: np.ndarray, root_motion: RootMotion = "hips") -> Channels:
    """Key values. The path goes to the hips alone, to a root bone, or to the object.

    Raises GentgError where a root bone is asked for and none is mapped.
    """
    rig, body, pose = solution.rig, solution.body, solution.pose
    rotation, head = pose.rotation, pose.head
    placed, keyed = set(pose.placed), set(solution.keyed)
    out = Channels()
    if root_motion == "root":
        if "root" not in body.chains or body.chains["root"][0] == body.chains["hips"][0]:
            raise GentgError(
                "bad_request",
                "The rig has no root bone mapped.",
                hint="Map its root bone, or put the root motion on the hips.",
            )
        r = body.chains["root"][0]
        path, heading = _ground_path(solution, times)
        rotation, placements = rotation.copy(), dict(pose.placed)
        rotation[:, r] = quat_multiply(heading, rig.rotation[r])
        placements[r] = path + quat_rotate(heading, rig.head[r] - body.origin)
        # controls that do not move of themselves still ride on the root
        for i, p in enumerate(rig.rotation_parents):
            if i not in keyed and i != r and p >= 0:
                rotation[:, i] = rig.unposed(rotation, i)
        head = rig.forward(rotation, placements)
        placed.add(r)
        keyed.add(r)
    elif root_motion == "object":
        path, heading = _ground_path(solution, times)
        back = quat_conjugate(heading)
        rotation = quat_multiply(back[:, None], rotation)
        placements = {i: body.origin + quat_rotate(back, at - path) for i, at in pose.placed.items()}
        for i, p in enumerate(rig.rotation_parents):
            if i not in keyed:
                rotation[:, i] = rig.rotation[i] if p < 0 else rig.unposed(rotation, i)
        head = rig.forward(rotation, placements)
        out.object_location, out.object_turn = path, quat_continuous(heading)
    elif root_motion != "hips":
        raise GentgError(
            "bad_request", f"Root motion goes on the hips, a root bone or the object, not {root_motion!r}."
        )
    for i in sorted(keyed):
        out.rotation[rig.names[i]] = quat_continuous(rig.local_rotation(rotation, i))
    for i in sorted(placed):
        out.location[rig.names[i]] = rig.location(rotation, head, i)
    return out


def _ground_path(solution: Solution, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the body stands on the floor (T, 3), as an object's origin, and its heading (T, 4)."""
    rig, body, pose = solution.rig, solution.body, solution.pose
    hips = body.chains["hips"][0]
    turn = quat_multiply(pose.rotation[:, hips], quat_conjugate(rig.rotation[hips]))
    front = quat_rotate(body.frame, Z)
    facing = quat_rotate(turn, front) * [1.0, 1.0, 0.0]
    # a body that lies down has no heading of its own: it keeps the last one
    clear = np.linalg.norm(facing, axis=-1) > 0.3
    upright = front * [1.0, 1.0, 0.0]
    if not clear.any() or np.linalg.norm(upright) < 0.3:
        angle = np.zeros(len(times))
    else:
        start = np.arctan2(upright[1], upright[0])
        angle = np.arctan2(facing[:, 1], facing[:, 0])
        angle = np.interp(times, times[clear], np.unwrap(angle[clear])) - start
        angle = smooth(angle[:, None], times, _HEADING_SMOOTHING)[:, 0]
    heading = quat_from_axis_angle(Z, angle)
    offset = (body.hip_centre - body.origin) * [1.0, 1.0, 0.0]
    roles = [r for r in ("thigh.L", "thigh.R") if r in body.chains] or ["hips"]
    centre = np.mean([pose.head[:, body.chains[r][0]] for r in roles], axis=0)
    path = centre - quat_rotate(heading, offset)
    path[:, 2] = body.origin[2]
    return path, heading


def smooth(values: np.ndarray, times: np.ndarray, seconds: float) -> np.ndarray:
    """Zero-phase Gaussian smoothing over time of (T, n), for uneven times too; `seconds` is the
    width of the bell (two standard deviations, cut off at three).

    A line is fitted under the bell rather than a mean, which away from the ends is the same, and
    at the ends keeps a steady motion from lagging (local linear regression, Cleveland 1979).
    """
    if seconds <= 0.0 or len(times) < 2:
        return values.copy()
    sigma = 0.5 * seconds
    reach = int(np.ceil(3.0 * sigma / max(float(np.min(np.diff(times))), 1e-6)))
    reach = min(reach, len(times) - 1)
    cell = np.gradient(times)  # samples that stand for more time count for more
    w0, w1, w2 = np.zeros((3, len(times)))
    y0, y1 = np.zeros((2, *values.shape))
    for shift in range(-reach, reach + 1):
        i = np.arange(max(0, -shift), min(len(times), len(times) - shift))
        x = (times[i + shift] - times[i]) / sigma
        w = np.where(np.abs(x) <= 3.0, np.exp(-0.5 * x**2), 0.0) * cell[i + shift]
        w0[i], w1[i], w2[i] = w0[i] + w, w1[i] + w * x, w2[i] + w * x * x
        y0[i] += w[:, None] * values[i + shift]
        y1[i] += (w * x)[:, None] * values[i + shift]
    spread = w0 * w2 - w1**2
    fitted = (w2[:, None] * y0 - w1[:, None] * y1) / np.where(spread > 1e-9 * w0**2, spread, 1.0)[:, None]
    return np.where((spread > 1e-9 * w0**2)[:, None], fitted, y0 / w0[:, None])


def quat_to_euler(q: np.ndarray, order: str) -> np.ndarray:
    """Unit quaternions (T, 4) -> angles (T, 3) in x, y, z places, for Blender's rotation modes.

    `order` "XYZ" means that X turns first: M = Rz Ry Rx. Of the two sets of angles for each
    rotation the one nearer the frame before is taken, and turns go on beyond pi.
    """
    if sorted(order) != ["X", "Y", "Z"]:
        raise ValueError(f"not an order of axes: {order!r}")
    i, j, k = ("XYZ".index(c) for c in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    m = quat_to_matrix(q)
    # M = R_k(c) R_j(b) R_i(a): the row k of M holds sin b alone in column i
    sine = np.clip(-sign * m[..., k, i], -1.0, 1.0)
    cosine = np.hypot(m[..., k, j], m[..., k, k])
    b = np.arctan2(sine, cosine)
    locked = cosine < 1e-6
    a = np.arctan2(sign * m[..., k, j], m[..., k, k])
    c = np.arctan2(sign * m[..., j, i], m[..., i, i])
    a = np.where(locked, np.arctan2(-sign * m[..., j, k], m[..., j, j]), a)
    c = np.where(locked, 0.0, c)
    both = np.stack([[a, b, c], [a + np.pi, np.pi - b, c + np.pi]]).transpose(0, 2, 1)  # (2, T, 3)
    chosen = np.where(_nearer_set(both)[:, None], both[1], both[0])
    turns = np.round(np.diff(chosen, axis=0, prepend=np.zeros((1, 3))) / (2 * np.pi))
    out = chosen - 2 * np.pi * np.cumsum(turns, axis=0)
    angles = np.empty_like(out)
    angles[..., [i, j, k]] = out
    return angles


def _nearer_set(both: np.ndarray) -> np.ndarray:
    """Which (T,) of two sets of angles (2, T, 3) to take, so that each is the nearer to the one taken
    before it, the first to zero. Whole turns don't count, so that one frame's choice rests on the
    other's alone: what either would lead to is known for all frames at once."""

    def far(x: np.ndarray) -> np.ndarray:
        return np.abs(x - 2 * np.pi * np.round(x / (2 * np.pi))).sum(axis=-1)

    if both.shape[1] == 0:
        return np.zeros(0, bool)
    leads = [far(both[1, 1:] - both[k, :-1]) < far(both[0, 1:] - both[k, :-1]) for k in (0, 1)]
    take = [bool(far(both[1, 0]) < far(both[0, 0]))]
    for after_first, after_second in zip(leads[0].tolist(), leads[1].tolist(), strict=True):
        take.append(after_second if take[-1] else after_first)
    return np.array(take)
