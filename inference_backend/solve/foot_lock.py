"""Hold planted feet still: a rigid placement for each stance, legs solved by two-bone IK.

A stance is a stretch in which heel or toe (or both) of one foot is planted. It gets one flat
placement. While both are planted the foot lies in it; with the toe alone the foot turns about
the ball and the toe bone stays flat; with the heel alone it turns about the heel. Nothing that
is planted moves at all. Before and after a stance the correction fades out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d, maximum_filter1d
from scipy.spatial.transform import Rotation

from gentg_blender.core.kinematics import forward_kinematics, local_rotations, two_bone_ik
from gentg_blender.core.rotations import matrix_to_quat, normalize, quat_multiply, quat_to_matrix
from gentg_blender.core.skeleton import BONE_INDEX, BONE_PARENTS, JOINT_INDEX

from .contacts import too_short
from .limb_lengths import weighted_median
from .rest_pose import RestPose
from .smoothing import runs

BLEND = 0.12  # seconds over which a correction comes and goes
PITCH_BLEND = 0.08  # seconds over which a flat foot begins to roll
# A "planted" foot that wanders or turns further starts a new stance. A single view shows motion across
# it (world x) well and motion along it (y) badly.
LARGEST_WANDER = np.array([0.06, 0.12])  # metres
LARGEST_PIVOT = np.radians(20.0)
UNEVEN = 0.12  # metres: a stance within this height of the floor stands on the floor
LARGEST_HEEL_LIFT = np.radians(65.0)
LARGEST_TOE_LIFT = np.radians(50.0)
LEAST_SOLE_DOWN = 0.3  # cosine: a sole turned further from the floor does not stand on it
FULL_REACH = 0.995  # of the leg's length that a planted foot may need if the pose itself is not straighter
LARGEST_FOLLOW = 0.05  # metres a held leg may carry the pelvis up or down
LOOSE_LEG = 5.0  # legs less stiff than this carry little; a straight one has 100, a right angle 2
SINK = 0.01  # metres a foot in the air may dip into the floor before it is lifted
LEGS_LIFT = 0.08  # metres of sinking that are the legs' to mend, not the body's: its height is seen better than theirs


@dataclass
class _Foot:
    """One foot's geometry from the ankle, in rest axes, and its pose over time."""

    heel: np.ndarray  # (3,)
    ball: np.ndarray
    tip: np.ndarray
    heel_height: float  # of the point above the sole
    tip_height: float
    ankle: np.ndarray  # (T, 3) world
    turn: np.ndarray  # (T, 3, 3) rest-aligned world rotation

    def point(self, offset: np.ndarray) -> np.ndarray:
        return self.ankle + self.turn @ offset


def lock_feet(
    rest: RestPose,
    rotation: np.ndarray,
    root: np.ndarray,
    contacts: np.ndarray,
    times: np.ndarray,
    seen: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> rotations (T, B, 4), root (T, 3), contacts (T, 4) with the feet held.

    rotation (T, B, 4) world, root (T, 3), contacts (T, 4) bool in FEET order. The contacts come
    back without those that could not be held (a sole that does not face the floor).
    """
    rotation, root, contacts = rotation.copy(), root.copy(), contacts & seen[:, None]
    heads = _heads(rest, rotation, root)
    plans = []
    for side, s, S in ((0, "l", ".L"), (1, "r", ".R")):
        foot = _foot(rest, rotation, heads, s, S)
        pair = slice(2 * side, 2 * side + 2)
        plans.append((s, S, _plan(foot, contacts[:, pair], times, seen)))
    floor = min(plan.lowest for _, _, plan in plans)
    moved = root.copy()
    moved[:, 2] += _follow(rest, heads, plans, times, seen)
    heads = _heads(rest, rotation, moved)
    lowered = np.zeros_like(root)
    for _, S, plan in plans:
        lowered = _larger(lowered, _shift(rest, heads, S, plan))
    moved = moved + _spread(lowered, times, seen)
    heads = _heads(rest, rotation, moved)
    for _, S, plan in plans:
        target = plan.target(moved - root)
        target[:, 2] += np.minimum(plan.sunk(moved - root, floor), UNEVEN)
        _solve_leg(rest, rotation, heads, S, plan, target)
    return rotation, moved, contacts


def _heads(rest: RestPose, rotation: np.ndarray, root: np.ndarray) -> np.ndarray:
    local = local_rotations(rest.rotation, BONE_PARENTS, rotation)
    return forward_kinematics(rest.head, rest.tail, rest.rotation, BONE_PARENTS, local, root).head


def _foot(rest: RestPose, rotation: np.ndarray, heads: np.ndarray, s: str, S: str) -> _Foot:
    bone = BONE_INDEX["foot" + S]
    ankle = rest.point(s + "_ankle")
    return _Foot(
        heel=rest.point(s + "_heel") - ankle,
        ball=rest.tail[bone] - ankle,
        tip=rest.point(s + "_foot_index") - ankle,
        heel_height=float(rest.joints[JOINT_INDEX[s + "_heel"], 2]),
        tip_height=float(rest.joints[JOINT_INDEX[s + "_foot_index"], 2]),
        ankle=heads[:, bone],
        turn=quat_to_matrix(rotation[:, bone]) @ rest.matrix[bone].T,
    )


@dataclass
class _Plan:
    """Where a foot should be: free pose plus faded corrections."""

    ankle: np.ndarray  # (T, 3)
    turn: np.ndarray  # (T, 3, 3)
    toe: np.ndarray  # (T, 3, 3) rest-aligned rotation of the toe
    held: np.ndarray  # (T,) bool
    share: np.ndarray  # (T,) 1 where held, fading to 0 where the foot goes with the pelvis
    heel: np.ndarray  # (T,) heights of heel and toe above the floor, relative to the ankle
    tip: np.ndarray
    lowest: float  # height of the lowest ground it stands on, at most 0

    def target(self, shift: np.ndarray) -> np.ndarray:
        """Ankle (T, 3) when the pelvis has been moved by `shift` (T, 3)."""
        return self.ankle + (1.0 - self.share[:, None]) * shift

    def sunk(self, shift: np.ndarray, floor: float) -> np.ndarray:
        """How far (T,) a foot in the air dips below `floor` when the pelvis has been moved by `shift`."""
        lowest = self.target(shift)[:, 2] + np.minimum(self.heel, self.tip)
        return np.where(self.held, 0.0, np.maximum(floor - SINK - lowest, 0.0))


def _plan(foot: _Foot, contacts: np.ndarray, times: np.ndarray, seen: np.ndarray) -> _Plan:
    """Lock one foot. contacts (T, 2) heel and toe; refused ones are cleared in place."""
    facing = foot.turn[:, 2, 2]
    contacts[facing < LEAST_SOLE_DOWN] = False
    stances = _stances(foot, contacts, times, seen)
    held = contacts.any(1)
    ankle, turn, toe = foot.ankle.copy(), foot.turn.copy(), foot.turn.copy()
    lowest = 0.0
    for start, stop in stances:
        part = slice(start, stop)
        ankle[part], turn[part], toe[part], level = _place(foot, contacts, times, part)
        lowest = min(lowest, level)
    before, after, weight_before, weight_after = _fade(held, times, seen)
    free = ~held & seen
    if free.any() and held.any():
        wb, wa = weight_before[free, None], weight_after[free, None]
        b, a = before[free], after[free]

        def vector(target: np.ndarray, source: np.ndarray) -> np.ndarray:
            return Rotation.from_matrix(target @ np.swapaxes(source, -1, -2)).as_rotvec()

        correction = ankle - foot.ankle
        # Turns are carried in the foot's own axes: a foot that swings on keeps its correction.
        turned = vector(np.swapaxes(foot.turn, -1, -2) @ turn, np.eye(3)[None])
        bend = vector(np.swapaxes(turn, -1, -2) @ toe, np.eye(3)[None])
        ankle[free] = foot.ankle[free] + wb * correction[b] + wa * correction[a]
        turn[free] = foot.turn[free] @ Rotation.from_rotvec(wb * turned[b] + wa * turned[a]).as_matrix()
        toe[free] = turn[free] @ Rotation.from_rotvec(wb * bend[b] + wa * bend[a]).as_matrix()
    share = np.where(held, 1.0, weight_before + weight_after)
    ball = np.einsum("tij,j->ti", turn, foot.ball)
    tip = ball + np.einsum("tij,j->ti", toe, foot.tip - foot.ball)
    heel = np.einsum("tij,j->ti", turn, foot.heel)
    heel, tip = heel[:, 2] - foot.heel_height, tip[:, 2] - foot.tip_height
    return _Plan(ankle, turn, toe, held, share, heel, tip, lowest)


def _stances(foot: _Foot, contacts: np.ndarray, times: np.ndarray, seen: np.ndarray) -> list[tuple[int, int]]:
    """Split contacts into stances whose foot stays in one place; clears the frames between."""
    ahead = -foot.turn[:, :2, 1]
    ahead = ahead / np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-9)
    length = float(np.linalg.norm(foot.tip[:2] - foot.heel[:2]))
    by_heel = foot.point(foot.heel)[:, :2] + length * ahead
    place = np.where(contacts[:, 1:], foot.point(foot.tip)[:, :2], by_heel)
    # Heading as a vector whose change by LARGEST_PIVOT counts as much as a wander at its limit.
    state = np.concatenate([place / LARGEST_WANDER, ahead / LARGEST_PIVOT], axis=1)
    for start, stop in runs(contacts.any(1)):
        mean, count = state[start].copy(), 1
        for frame in range(start + 1, stop):
            if np.linalg.norm(state[frame] - mean) > 1.0:
                between = np.abs(times - times[frame]) <= BLEND / 2.0
                between[:start] = between[stop:] = False
                contacts[between] = False
                mean, count = state[frame].copy(), 1
            else:
                count += 1
                mean += (state[frame] - mean) / count
    for start, stop in runs(contacts.any(1)):
        if too_short(start, stop, times, seen):
            contacts[start:stop] = False
    return runs(contacts.any(1))


def _place(
    foot: _Foot, contacts: np.ndarray, times: np.ndarray, part: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Ankle (n, 3), foot (n, 3, 3) and toe rotation of one stance, and the height of its ground."""
    heel_on, toe_on = contacts[part, 0], contacts[part, 1]
    both = heel_on & toe_on
    turn = foot.turn[part]
    heel, tip = foot.point(foot.heel)[part], foot.point(foot.tip)[part]
    ahead = normalize(-turn[..., 1] * [1.0, 1.0, 0.0])

    # Heading: where the foot points while most of it is down; a place: medians of planted points.
    steady = both if both.any() else np.ones(len(turn), bool)
    ahead = normalize(ahead[steady].mean(0))
    yaw = np.arctan2(ahead[0], -ahead[1])  # at rest the foot points along -Y
    c, s = np.cos(yaw), np.sin(yaw)
    flat = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    origins = []
    for on, point, offset, height in (
        (heel_on, heel, foot.heel, foot.heel_height), (toe_on, tip, foot.tip, foot.tip_height)
    ):  # fmt: skip
        if on.any():
            sole = point[on] - flat @ offset
            sole[:, 2] = point[on, 2] - height
            origins.append(sole)
    origins = np.concatenate(origins)
    origin = weighted_median(origins, np.ones(1))
    level = 0.0 if abs(origin[2]) < UNEVEN else origin[2]
    ankle_flat = np.array([origin[0], origin[1], level + foot.heel_height - foot.heel[2]])

    # Pitch about the ball or the heel: midway between the pose's own and the one that leaves the
    # ankle as high as it is, which spares the leg; eased in from where the foot is flat.
    pivot = np.where(toe_on[:, None], foot.ball, foot.heel)
    height = np.where(toe_on, foot.tip_height, foot.heel_height)  # the ball is as high as the tip
    behind, above = pivot[:, 1], -pivot[:, 2]  # the ankle from the pivot: +Y is back
    radius = np.hypot(behind, above)
    rise = np.clip((foot.ankle[part, 2] - level - height) / radius, -1.0, 1.0)
    by_height = np.where(behind < 0, np.arcsin(rise) - np.arctan2(above, -behind), 0.0)
    by_height = np.where(behind > 0, np.arctan2(above, behind) - np.arcsin(rise), by_height)
    own = np.arcsin(np.clip(turn[:, 2, 1], -1.0, 1.0))  # positive: heel up
    pitch = (own + by_height) / 2.0
    pitch = np.where(toe_on, np.clip(pitch, 0.0, LARGEST_HEEL_LIFT), np.clip(pitch, -LARGEST_TOE_LIFT, 0.0))
    still = both.copy()
    still[1:] |= toe_on[1:] != toe_on[:-1]
    if still.any():
        clock = times[part]
        ease = np.min(np.abs(clock[:, None] - clock[None, still]), axis=1) / PITCH_BLEND
        pitch = pitch * _smoothstep(ease)
    pitch = np.where(both, 0.0, pitch)
    zero, one, cp, sp = np.zeros_like(pitch), np.ones_like(pitch), np.cos(pitch), np.sin(pitch)
    about_x = np.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], axis=-1).reshape(-1, 3, 3)
    new_turn = flat @ about_x
    ankle = ankle_flat + pivot @ flat.T - np.einsum("tij,tj->ti", new_turn, pivot)
    toe = np.where(toe_on[:, None, None], flat, new_turn)
    return ankle, new_turn, toe, float(level)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _fade(
    held: np.ndarray, times: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For every frame the last held frame before and the first after, and their weights (T,).

    Weights fall from 1 to 0 over BLEND, never exceed 1 together, and end at gaps.
    """
    frames = len(held)
    index = np.arange(frames)
    piece = np.cumsum(~seen)  # constant within a stretch that was seen
    before = np.maximum.accumulate(np.where(held, index, -1))
    after = np.minimum.accumulate(np.where(held, index, frames)[::-1])[::-1]
    ok_before, ok_after = before >= 0, after < frames
    before, after = np.maximum(before, 0), np.minimum(after, frames - 1)
    ok_before &= piece[before] == piece
    ok_after &= piece[after] == piece
    weight_before = np.where(ok_before, _smoothstep(1.0 - (times - times[before]) / BLEND), 0.0)
    weight_after = np.where(ok_after, _smoothstep(1.0 - (times[after] - times) / BLEND), 0.0)
    total = np.maximum(weight_before + weight_after, 1.0)
    return before, after, weight_before / total, weight_after / total


def _follow(
    rest: RestPose, heads: np.ndarray, plans: list, times: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Rise or fall (T,) of the pelvis that keeps held legs as bent as they were drawn.

    A nearly straight knee turns by many degrees for a few millimetres between hip and ankle. Held
    legs therefore carry the pelvis, the straighter the more, and their knees move smoothly.
    """
    wanted, weight = np.zeros(len(heads)), np.zeros(len(heads))
    for _, S, plan in plans:
        thigh, shin, foot = (BONE_INDEX[b + S] for b in ("thigh", "shin", "foot"))
        leg = _leg_length(rest, thigh, shin, foot)
        hip = heads[:, thigh]
        drawn = np.linalg.norm(heads[:, foot] - hip, axis=-1)
        flat = np.linalg.norm(plan.ankle[:, :2] - hip[:, :2], axis=-1)
        upright = drawn**2 - flat**2
        rise = plan.ankle[:, 2] + np.sqrt(np.maximum(upright, 0.0)) - hip[:, 2]
        stiff = plan.held * (upright > 0.25 * drawn**2) / (1.0 - np.minimum(drawn / leg, 1.0) ** 2 + 0.01)
        wanted += stiff * np.clip(rise, -LARGEST_FOLLOW, LARGEST_FOLLOW)
        weight += stiff
    out = np.zeros(len(heads))
    for start, stop in runs(seen):
        kernel = _kernel(times[start:stop])
        above, below = (convolve1d(v[start:stop], kernel, mode="nearest") for v in (wanted, weight))
        out[start:stop] = above / (below + LOOSE_LEG)
    return out


def _leg_length(rest: RestPose, thigh: int, shin: int, foot: int) -> float:
    knee = rest.head[shin]
    return float(np.linalg.norm(knee - rest.head[thigh]) + np.linalg.norm(rest.head[foot] - knee))


def _kernel(times: np.ndarray) -> np.ndarray:
    """A smooth window of about BLEND to either side, of unit sum."""
    spacing = (times[-1] - times[0]) / max(len(times) - 1, 1) or BLEND
    half = max(1, int(round(BLEND / spacing)))
    kernel = np.hanning(2 * half + 3)[1:-1]
    return kernel / kernel.sum()


def _larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two shifts of the pelvis the one that moves it further, axis by axis."""
    return np.where(np.abs(a) > np.abs(b), a, b)


def _shift(rest: RestPose, heads: np.ndarray, S: str, plan: _Plan) -> np.ndarray:
    """How far (T, 3) the pelvis must move so that the leg reaches its held foot: down, and
    sideways where going down is not enough."""
    thigh, shin, foot = (BONE_INDEX[b + S] for b in ("thigh", "shin", "foot"))
    leg = _leg_length(rest, thigh, shin, foot)
    hip = heads[:, thigh]
    drawn = np.linalg.norm(heads[:, foot] - hip, axis=-1)
    reach = np.clip(drawn, FULL_REACH * leg, (1.0 - 1e-9) * leg)
    away = plan.ankle[:, :2] - hip[:, :2]
    distance = np.linalg.norm(away, axis=-1)
    sideways = np.maximum(distance - 0.95 * reach, 0.0)
    shift = np.zeros_like(hip)
    shift[:, :2] = away / np.maximum(distance, 1e-9)[:, None] * sideways[:, None]
    rise = np.sqrt(reach**2 - np.minimum(distance, 0.95 * reach) ** 2)
    shift[:, 2] = -np.maximum(hip[:, 2] - (plan.ankle[:, 2] + rise), 0.0)
    return np.where(plan.held[:, None], shift, 0.0)


def _spread(shift: np.ndarray, times: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Smooth a shift (T, 3) over BLEND without making it smaller anywhere."""
    out = np.zeros_like(shift)
    for start, stop in runs(seen):
        part = shift[start:stop]
        if not part.any():
            continue
        kernel = _kernel(times[start:stop])
        for sign in (1.0, -1.0):
            wide = maximum_filter1d(np.maximum(sign * part, 0.0), len(kernel), axis=0, mode="nearest")
            out[start:stop] += sign * convolve1d(wide, kernel, axis=0, mode="nearest")
    return out


def _solve_leg(
    rest: RestPose, rotation: np.ndarray, heads: np.ndarray, S: str, plan: _Plan, target: np.ndarray
) -> None:
    """Bring the ankle to `target` (T, 3) in `rotation` (T, B, 4), in place."""
    thigh, shin, foot, toe = (BONE_INDEX[b + S] for b in ("thigh", "shin", "foot", "toe"))
    ahead = quat_to_matrix(rotation[:, thigh])[..., 2]
    leg = two_bone_ik(heads[:, thigh], heads[:, shin], heads[:, foot], target, pole=ahead)
    rotation[:, thigh] = normalize(quat_multiply(leg.upper, rotation[:, thigh]))
    rotation[:, shin] = normalize(quat_multiply(leg.lower, rotation[:, shin]))
    rotation[:, foot] = matrix_to_quat(plan.turn @ rest.matrix[foot])
    rotation[:, toe] = matrix_to_quat(plan.toe @ rest.matrix[toe])
