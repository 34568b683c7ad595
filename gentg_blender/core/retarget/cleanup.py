"""Clean-up of keyed motion: smoothing, fewer keys, in place, floor, loops, mirroring. Maths only."""

from __future__ import annotations

import numpy as np

from ..rotations import (
    normalize,
    quat_between,
    quat_conjugate,
    quat_continuous,
    quat_multiply,
    quat_rotate,
    quat_slerp,
    rotation_angle,
)
from ..skeleton import mirror_name
from .body import Body, SourceMotion, Z
from .keys import smooth

# Parts of the body that take a smoothing strength of their own -> the roles in them.
PARTS: dict[str, tuple[str, ...]] = {
    "path": ("root",),
    "trunk": ("hips", "spine", "chest"),
    "head": ("neck", "head"),
    "arms": ("shoulder", "upper_arm", "forearm"),
    "hands": ("hand",),
    "legs": ("thigh", "shin"),
    "feet": ("foot", "toe"),
}


def part_of(role: str) -> str:
    """The part that a role belongs to."""
    return next(part for part, roles in PARTS.items() if role.split(".")[0] in roles)


def smooth_rotations(q: np.ndarray, times: np.ndarray, seconds: float) -> np.ndarray:
    """Zero-phase Gaussian mean of unit quaternions (T, 4), see `keys.smooth`."""
    return normalize(smooth(quat_continuous(q), times, seconds))


def rotation_error(q: np.ndarray, kept: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Radians (T,) between rotations and what linear keys at indices `kept` make of them, which is
    how Blender plays quaternion curves: each component by itself, then normalised."""
    return rotation_angle(quat_multiply(quat_conjugate(q), normalize(_between(q, kept, times))))


def vector_error(v: np.ndarray, kept: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Distances (T,) of vectors (T, n) from the line through their keys."""
    return np.linalg.norm(v - _between(v, kept, times), axis=-1)


def _between(values: np.ndarray, kept: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(times, times[kept], values[kept, k]) for k in range(values.shape[1])], axis=-1)


def reduce_keys(
    values: np.ndarray, times: np.ndarray, bound: float, *, rotations: bool = False
) -> np.ndarray:
    """Indices of the keys to keep so that linear interpolation stays within `bound` everywhere.

    values (T, n); `bound` in radians for rotations (T, 4), else in the values' own unit. Splits
    where the error is largest (Douglas and Peucker 1973), so that no key is kept without need.
    """
    last = len(times) - 1
    if last < 1:
        return np.arange(len(times))
    keep = {0, last}
    open_spans = [(0, last)]
    while open_spans:
        a, b = open_spans.pop()
        if b - a < 2:
            continue
        ends = np.array([0, b - a])
        error = (rotation_error if rotations else vector_error)(values[a : b + 1], ends, times[a : b + 1])
        worst = int(np.argmax(error[1:-1])) + 1
        if error[worst] > bound:
            keep.add(a + worst)
            open_spans += [(a, a + worst), (a + worst, b)]
    return np.array(sorted(keep))


def in_place(path: np.ndarray, times: np.ndarray, *, sway: bool = True, up: np.ndarray = Z) -> np.ndarray:
    """Take the travel out of a path (T, 3): all of it, or, with `sway`, what is slower than a stride."""
    level = path - (path @ up)[:, None] * up
    travel = smooth(level, times, 1.5) if sway else level
    return path - travel + level[0]


def floor_shift(points: np.ndarray, planted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What brings planted foot points to z = 0: a rotation (4,) and then a shift (3,).

    points (T, P, 3), planted (T, P). A plane is fitted to the planted points; it is levelled where
    they spread far enough (0.5 m both ways) to say something about a tilt, otherwise only raised.
    """
    at = points[planted]
    if len(at) == 0:
        return np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3)
    centre = at.mean(axis=0)
    _, size, axes = np.linalg.svd(at - centre, full_matrices=False)
    turn = np.array([1.0, 0.0, 0.0, 0.0])
    if len(at) >= 3 and size[1] / np.sqrt(len(at)) > 0.25:
        normal = axes[2] * (1.0 if axes[2, 2] >= 0 else -1.0)
        if normal[2] > np.cos(np.radians(20.0)):
            turn = quat_between(normal, Z)
    return turn, np.array([0.0, 0.0, -float(np.median(quat_rotate(turn, at)[:, 2]))])


def _ramp(times: np.ndarray, seconds: float) -> np.ndarray:
    """0, rising smoothly to 1 over the last `seconds`."""
    x = np.clip(1.0 - (times[-1] - times) / max(seconds, 1e-9), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def loop_rotations(q: np.ndarray, times: np.ndarray, seconds: float) -> np.ndarray:
    """Lead the end of rotations (T, 4) into their start over the last `seconds`."""
    miss = quat_multiply(quat_conjugate(q[-1]), q[0])
    miss = miss if miss[0] >= 0 else -miss
    return quat_continuous(
        quat_multiply(q, quat_slerp(np.broadcast_to([1.0, 0, 0, 0], q.shape), np.broadcast_to(miss, q.shape),
                                    _ramp(times, seconds)))
    )  # fmt: skip


def loop_vectors(
    v: np.ndarray, times: np.ndarray, seconds: float, *, free: np.ndarray | None = None
) -> np.ndarray:
    """The same for vectors (T, 3); along the directions in `free` (n, 3) the travel is kept, so
    that a walk repeats where it has come to."""
    miss = v[0] - v[-1]
    if free is not None:
        for axis in free:
            miss = miss - (miss @ axis) * axis
    return v + _ramp(times, seconds)[:, None] * miss


def mirror_motion(motion: SourceMotion) -> SourceMotion:
    """The motion seen in a mirror across the x = 0 plane through the object's origin; what the left
    did the right does. As a source for any rig, the same one included."""
    flip = np.array([-1.0, 1.0, 1.0])
    turn_flip = np.array([1.0, 1.0, -1.0, -1.0])
    body, origin = motion.body, motion.body.origin
    chains = {mirror_name(role): chain for role, chain in body.chains.items()}
    mirrored = Body(chains, (body.head - origin) * flip + origin, (body.tail - origin) * flip + origin,
                    body.rotation * turn_flip, origin)  # fmt: skip
    contacts = None if motion.contacts is None else motion.contacts[:, [2, 3, 0, 1]]
    return SourceMotion(mirrored, (motion.head - origin) * flip + origin, motion.rotation * turn_flip,
                        motion.times, contacts)  # fmt: skip
