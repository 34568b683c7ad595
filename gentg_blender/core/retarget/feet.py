"""Feet after retargeting: contacts held on the target's own legs.

Proportions differ, so that a foot that stood still in the source slides in the target. Here each
planted stretch gets one place on the floor: a flat foot is held as it stands, a heel or the ball
of the foot is a pivot about which the foot keeps turning as the actor's did. The legs follow by
two-bone IK with their own lengths; where they are too short the hips come down, smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..kinematics import two_bone_ik
from ..rotations import (
    normalize,
    quat_conjugate,
    quat_from_axis_angle,
    quat_multiply,
    quat_rotate,
    rotation_angle,
)
from .body import Z
from .contacts import runs
from .solve import Solution, move_hips

HEEL, BALL = 0, 1
_STEP_HEIGHT = 0.1  # of the leg: contacts higher than this above the floor stand on something
_STANDS = 0.1  # m/s: a foot slower than this stands
_REACH = 0.9999  # of the leg's length: a leg is never asked to be longer


@dataclass
class FeetSettings:
    blend: float = 0.15  # seconds in which a foot eases into and out of its place
    on_floor: bool = True  # contacts come to lie on the floor; else at the height they have


@dataclass
class FeetReport:
    planted: int = 0  # frames with a planted foot
    lowered: float = 0.0  # metres, most that the hips came down
    out_of_reach: int = 0  # planted frames that even lowered hips could not reach
    notes: list[str] = field(default_factory=list)


@dataclass
class _Foot:
    """One foot through time, in solver space. Rotations act on the rest pose."""

    ankle: np.ndarray  # (T, 3)
    turn: np.ndarray  # (T, 4)
    offset: np.ndarray  # (2, 3) heel and ball of the rest foot from its ankle, on the floor
    held: np.ndarray  # (T, 2) bool
    flat: np.ndarray  # (T,) bool, both at once
    heading: np.ndarray  # (3,) horizontal direction of the rest foot, upright
    align: np.ndarray  # (4,) turns the rest pose upright

    def point(self, which: int, frames=slice(None)) -> np.ndarray:
        return self.ankle[frames] + quat_rotate(self.turn[frames], self.offset[which])


def plant_feet(solution: Solution, contacts: np.ndarray, times: np.ndarray,
               settings: FeetSettings | None = None) -> FeetReport:  # fmt: skip
    """Hold the feet of `solution` in place where `contacts` (T, 4), in skeleton.FEET's order, say so.

    Changes the solution's pose. Legs without a mapped thigh, shin and foot are left alone.
    """
    settings = settings or FeetSettings()
    report = FeetReport()
    body, pose = solution.body, solution.pose
    floor = body.origin[2] + body.floor
    feet: dict[str, _Foot] = {}
    for n, side in enumerate((".L", ".R")):
        if all(r + side in body.chains for r in ("thigh", "shin", "foot")):
            feet[side] = _foot(solution, side, contacts[:, 2 * n : 2 * n + 2])
        else:
            report.notes.append(
                f"The leg {side} is not mapped from thigh to foot: its contacts are not held."
            )
    for foot in feet.values():
        _hold(foot, times, floor, settings, _STEP_HEIGHT * max(body.leg_length, 1e-6))
        _keep_above(foot, floor)
    planted = {side: foot.held.any(axis=1) for side, foot in feet.items()}
    report.planted = int(np.any([*planted.values()], axis=0).sum()) if planted else 0
    drop = _hip_drop(solution, feet, planted, times)
    report.lowered = float(drop.max(initial=0.0))
    move_hips(pose, solution.rig, body.chains["hips"][0], -drop[:, None] * Z)
    for side, foot in feet.items():
        missed = reach_ankle(solution, side, foot.ankle)
        report.out_of_reach += int(np.sum(planted[side] & (missed > 1e-3)))
        _set_foot(solution, side, foot, times, settings.blend)
    pose.head = solution.rig.forward(pose.rotation, pose.placed)
    return report


def reach_ankle(solution: Solution, side: str, target: np.ndarray) -> np.ndarray:
    """Bend one leg so that its ankle comes to `target` (T, 3); metres (T,) by which it fails."""
    return reach(
        solution,
        ("thigh" + side, "shin" + side, "foot" + side),
        target,
        quat_rotate(_turn(solution, "hips"), _front(solution)),
    )


def reach_wrist(solution: Solution, side: str, target: np.ndarray) -> np.ndarray:
    """The same for an arm. A straight arm bends with the elbow behind."""
    roles = ("upper_arm" + side, "forearm" + side, "hand" + side)
    return reach(solution, roles, target, -quat_rotate(_turn(solution, "hips"), _front(solution)))


def reach(
    solution: Solution, roles: tuple[str, str, str], target: np.ndarray, pole: np.ndarray
) -> np.ndarray:
    """Two-bone IK on parts of the target; all bones of a part's chain turn alike, so that the end
    keeps its own rotation and the parts in between their twist."""
    pose, chains = solution.pose, solution.body.chains
    a, b, c = (pose.head[:, chains[r][0]] for r in roles)
    line = normalize(c - a)
    own = (b - a) - np.sum((b - a) * line, axis=-1, keepdims=True) * line
    # the pole is a guide for straight limbs only: bent ones keep their own side to the full
    near = 0.02 * np.linalg.norm(c - a, axis=-1, keepdims=True)
    pole = normalize(own) + np.exp(-((np.linalg.norm(own, axis=-1, keepdims=True) / near) ** 2)) * pole
    bent = two_bone_ik(a, b, c, target, pole=pole)
    for role, turn in ((roles[0], bent.upper), (roles[1], bent.lower)):
        for i in chains[role]:
            pose.rotation[:, i] = normalize(quat_multiply(turn, pose.rotation[:, i]))
    pose.head = solution.rig.forward(pose.rotation, pose.placed)
    return np.linalg.norm(pose.head[:, chains[roles[2]][0]] - target, axis=-1)


def _front(solution: Solution) -> np.ndarray:
    """The rest body's forward."""
    return quat_rotate(solution.body.frame, Z)


def _turn(solution: Solution, role: str) -> np.ndarray:
    i = solution.body.chains[role][-1]
    return quat_multiply(solution.pose.rotation[:, i], quat_conjugate(solution.rig.rotation[i]))


def _foot(solution: Solution, side: str, held: np.ndarray) -> _Foot:
    body, pose = solution.body, solution.pose
    offset = body.sole(side)
    held = np.asarray(held, bool).copy()
    return _Foot(
        ankle=pose.head[:, body.chains["foot" + side][0]].copy(),
        turn=_turn(solution, "foot" + side),
        offset=offset,
        held=held,
        flat=held.all(axis=1),
        heading=normalize(quat_rotate(solution.align, offset[BALL] - offset[HEEL])),
        align=solution.align,
    )


def _hold(foot: _Foot, times: np.ndarray, floor: float, settings: FeetSettings, step: float) -> None:
    """Give every contact its place, then ease the frames in between towards it."""
    wanted_turn, wanted_ankle = foot.turn.copy(), foot.ankle.copy()
    wanted = [foot.point(HEEL), foot.point(BALL)]
    for start, stop in runs(foot.flat):
        foot.turn[start:stop] = _flat_turn(foot, wanted_turn[start:stop])
    _ease(foot.turn, wanted_turn, foot.flat, times, settings.blend)
    anchors = [held_places(wanted[p], foot.held[:, p], times) for p in (HEEL, BALL)]
    for p in (HEEL, BALL) if settings.on_floor else ():
        anchors[p][foot.held[:, p] & (np.abs(anchors[p][:, 2] - floor) < step), 2] = floor
    _join(foot, anchors)
    for p in (BALL, HEEL):  # where both hold they agree, see _join
        on = foot.held[:, p]
        foot.ankle[on] = anchors[p][on] - quat_rotate(foot.turn[on], foot.offset[p])
    held = foot.held.any(axis=1)
    shift = foot.ankle - wanted_ankle
    ease_vectors(shift, held, times, settings.blend)
    foot.ankle = np.where(held[:, None], foot.ankle, wanted_ankle + shift)


def _flat_turn(foot: _Foot, turn: np.ndarray) -> np.ndarray:
    """The upright rest foot turned about the vertical to the mean heading of some frames."""
    heading = quat_rotate(quat_multiply(turn, quat_conjugate(foot.align)), foot.heading)
    mean = normalize((heading * [1.0, 1.0, 0.0]).sum(axis=0))
    angle = np.arctan2(np.cross(foot.heading, mean)[2], foot.heading @ mean)
    return quat_multiply(quat_from_axis_angle(Z, angle), foot.align)


def held_places(points: np.ndarray, held: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Points (T, 3), on each stretch that is `held` (T,) the mean over it. Frames count for more the slower
    the point is: where a person made a contact longer than the foot stood, it stays where it stood."""
    out = points.copy()
    pace = np.linalg.norm(np.gradient(points, times, axis=0), axis=-1) if len(times) > 1 else np.zeros(1)
    weight = 1.0 / (pace**2 + _STANDS**2)
    for start, stop in runs(held):
        out[start:stop] = np.average(points[start:stop], axis=0, weights=weight[start:stop])
    return out


def _join(foot: _Foot, anchors: list[np.ndarray]) -> None:
    """Make heel and ball agree where both are down: the foot between them is rigid.

    Stretches are taken in time's order. The first flat stretch of a step settles both anchors;
    later ones of the same step keep the pivot that never left the floor.
    """
    settled = [np.zeros(len(foot.flat), bool), np.zeros(len(foot.flat), bool)]
    spans = [{f: (a, b) for a, b in runs(foot.held[:, p]) for f in range(a, b)} for p in (HEEL, BALL)]
    for start, _ in runs(foot.flat):
        arm = [quat_rotate(foot.turn[start], foot.offset[p]) for p in (HEEL, BALL)]
        fixed = [p for p in (HEEL, BALL) if settled[p][start]]
        if fixed:
            ankle = anchors[fixed[0]][start] - arm[fixed[0]]
        else:
            ankle = 0.5 * sum(anchors[p][start] - arm[p] for p in (HEEL, BALL))
        for p in (HEEL, BALL):
            a, b = spans[p][start]
            if settled[p][start]:
                a = start  # what was before keeps its place; a rigid foot may have turned since
            anchors[p][a:b] = ankle + arm[p]
            settled[p][a:b] = True


def _weights(
    held: np.ndarray, times: np.ndarray, blend: float
) -> list[tuple[slice, int, int, np.ndarray, np.ndarray]]:
    """Gaps between held frames: (frames, last held before or -1, first held after or -1, weight of
    each). A short gap passes from one to the other; in a long one both fade out."""
    out = []
    for a, b in runs(~held):
        before, after = a - 1, (b if b < len(held) else -1)
        t = times[a:b]

        def fade(x: np.ndarray) -> np.ndarray:
            x = np.clip(x, 0.0, 1.0)
            return 1.0 - x * x * (3.0 - 2.0 * x)

        span = max(blend, 1e-6)
        if before >= 0 and after >= 0 and times[after] - times[before] < 2.0 * span:
            first = fade((t - times[before]) / (times[after] - times[before]))
            second = 1.0 - first
        else:
            first = fade((t - times[before]) / span) if before >= 0 else np.zeros(b - a)
            second = fade((times[after] - t) / span) if after >= 0 else np.zeros(b - a)
        out.append((slice(a, b), before, after, first, second))
    return out


def ease_vectors(shift: np.ndarray, held: np.ndarray, times: np.ndarray, blend: float) -> None:
    """Fill `shift` (T, n) between held frames in place."""
    for frames, before, after, first, second in _weights(held, times, blend):
        value = np.zeros_like(shift[frames])
        if before >= 0:
            value += first[:, None] * shift[before]
        if after >= 0:
            value += second[:, None] * shift[after]
        shift[frames] = value


def _ease(turn: np.ndarray, wanted: np.ndarray, fixed: np.ndarray, times: np.ndarray, blend: float) -> None:
    """Ease the correction turn * wanted^-1 outside `fixed` frames, as rotation vectors; in place."""
    q = quat_multiply(turn, quat_conjugate(wanted))
    q = np.where(q[:, :1] < 0, -q, q)
    angle = rotation_angle(q)
    vector = normalize(q[:, 1:]) * angle[:, None]
    ease_vectors(vector, fixed, times, blend)
    angle = np.linalg.norm(vector, axis=-1)
    eased = quat_multiply(quat_from_axis_angle(normalize(vector), angle), wanted)
    turn[~fixed] = eased[~fixed]


def _keep_above(foot: _Foot, floor: float) -> None:
    """No free part of the foot sinks into the floor. A planted pivot stays and the foot turns about
    it; a free foot is raised."""
    for pivot, other in ((HEEL, BALL), (BALL, HEEL)):
        only = foot.held[:, pivot] & ~foot.held[:, other]
        if not only.any():
            continue
        at, far = foot.point(pivot, only), foot.point(other, only)
        sunk = np.minimum(far[:, 2] - np.minimum(floor, at[:, 2]), 0.0)
        turn = _lift(far - at, -sunk)
        foot.turn[only] = quat_multiply(turn, foot.turn[only])
        foot.ankle[only] = at - quat_rotate(foot.turn[only], foot.offset[pivot])
    free = ~foot.held.any(axis=1)
    lowest = np.minimum(foot.point(HEEL)[:, 2], foot.point(BALL)[:, 2])
    foot.ankle[free, 2] += np.maximum(floor - lowest[free], 0.0)


def _lift(arm: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Turns (T, 4) in the vertical planes of `arm` (T, 3) that raise its end by metres (T,)."""
    slope = np.arctan2(arm[:, 2], np.linalg.norm(arm[:, :2], axis=-1))
    height = np.clip((arm[:, 2] + by) / np.maximum(np.linalg.norm(arm, axis=-1), 1e-9), -1.0, 1.0)
    return quat_from_axis_angle(
        normalize(np.cross(arm, Z)), np.where(by > 0.0, np.arcsin(height) - slope, 0.0)
    )


def _hip_drop(
    solution: Solution, feet: dict[str, _Foot], planted: dict[str, np.ndarray], times: np.ndarray
) -> np.ndarray:
    """Metres (T,) to lower the hips by so that every planted ankle can be reached, smooth in time."""
    body, pose = solution.body, solution.pose
    need = np.zeros(len(times))
    for side, foot in feet.items():
        hip, knee, ankle = (pose.head[:, body.chains[r + side][0]] for r in ("thigh", "shin", "foot"))
        length = _REACH * (np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1))
        line = hip - foot.ankle
        across = np.linalg.norm(line[:, :2], axis=-1)
        highest = np.sqrt(np.maximum(length**2 - across**2, 0.0))
        need = np.maximum(need, np.where(planted[side], np.maximum(line[:, 2] - highest, 0.0), 0.0))
    if not need.any():
        return need
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    radius = int(np.clip(round(0.15 / step), 1, max(len(times) - 1, 1)))
    padded = np.pad(need, 2 * radius, mode="edge")
    # the largest need within reach of the kernel, then a mean over it: never less than the need
    widest = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1).max(axis=-1)
    kernel = np.hanning(2 * radius + 3)[1:-1]
    return np.convolve(widest, kernel / kernel.sum(), mode="valid")


def _set_foot(solution: Solution, side: str, foot: _Foot, times: np.ndarray, blend: float) -> None:
    pose, rig, chains = solution.pose, solution.rig, solution.body.chains
    before = _turn(solution, "foot" + side)
    change = quat_multiply(foot.turn, quat_conjugate(before))
    for i in chains["foot" + side]:
        pose.rotation[:, i] = normalize(quat_multiply(foot.turn, rig.rotation[i]))
    if "toe" + side not in chains:
        return
    toes = chains["toe" + side]
    wanted = [
        quat_multiply(change, quat_multiply(pose.rotation[:, i], quat_conjugate(rig.rotation[i])))
        for i in toes
    ]
    # a planted ball keeps the toes flat on the floor while the heel comes up
    flat = foot.turn.copy()
    for start, stop in runs(foot.held[:, BALL]):
        flat[start:stop] = _flat_turn(foot, foot.turn[start:stop])
    for i, q in zip(toes, wanted, strict=True):
        turned = np.where(foot.held[:, BALL][:, None], flat, q)
        _ease(turned, q, foot.held[:, BALL], times, blend)
        pose.rotation[:, i] = normalize(quat_multiply(turned, rig.rotation[i]))
    _bend_toes_up(solution, side, foot)


def _bend_toes_up(solution: Solution, side: str, foot: _Foot) -> None:
    """Toes that reach below the floor bend up at the ball, as those of a foot do that rolls off or
    brushes the floor in its swing. The ball itself is above the floor already."""
    body, pose, rig = solution.body, solution.pose, solution.rig
    first, *others = body.chains["toe" + side]
    tip = body.tip_of_sole(side)
    if tip is None:
        return
    ankle = pose.head[:, body.chains["foot" + side][0]]
    ball = ankle + quat_rotate(foot.turn, body.start("toe" + side) - body.start("foot" + side))
    turn = quat_multiply(pose.rotation[:, first], quat_conjugate(rig.rotation[first]))
    arm = quat_rotate(turn, tip)
    floor = body.origin[2] + body.floor
    floor = np.minimum(floor, np.where(foot.held[:, BALL], foot.point(BALL)[:, 2], floor))  # of lower steps
    up = _lift(arm, np.maximum(floor - (ball + arm)[:, 2], 0.0))
    for i in (first, *others):
        pose.rotation[:, i] = normalize(quat_multiply(up, pose.rotation[:, i]))
