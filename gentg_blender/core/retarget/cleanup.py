"""Clean-up of keyed motion: smoothing, fewer keys, in place, floor, loops, mirroring. Maths only."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
from .mapping import Mapping
from .rig import RigBone
from .sampling import basis_rotation

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


def rotation_error(
    values: np.ndarray, kept: np.ndarray, times: np.ndarray, mode: str = "QUATERNION"
) -> np.ndarray:
    """Radians (T,) between the rotations that channels (T, n) of a rotation mode give and what linear keys at indices
    `kept` make of them, which is how Blender plays them: each component by itself."""
    whole, played = (basis_rotation(mode, v) for v in (values, _between(values, kept, times)))
    return rotation_angle(quat_multiply(quat_conjugate(whole), played))


def vector_error(v: np.ndarray, kept: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Distances (T,) of vectors (T, n) from the line through their keys."""
    return np.linalg.norm(v - _between(v, kept, times), axis=-1)


def _between(values: np.ndarray, kept: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(times, times[kept], values[kept, k]) for k in range(values.shape[1])], axis=-1)


def reduce_keys(
    values: np.ndarray, times: np.ndarray, bound: float, *, mode: str = "", held: np.ndarray | None = None
) -> np.ndarray:
    """Indices of the keys to keep so that linear interpolation stays within `bound` at every key there was.

    values (T, n); with a rotation `mode` of Blender's they are its channels and `bound` is radians between rotations,
    else it is a distance in the values' own unit. Keys that are `held` (T,) until the next one stay, and so does that.
    Splits where the error is largest (Douglas and Peucker 1973), so that no key is kept without need.
    """
    last = len(times) - 1
    if last < 1:
        return np.arange(len(times))
    keep = {0, last}
    if held is not None:
        keep |= {int(i) for k in np.flatnonzero(held) for i in (k, min(k + 1, last))}
    fixed = sorted(keep)
    open_spans = list(zip(fixed, fixed[1:], strict=False))
    while open_spans:
        a, b = open_spans.pop()
        if b - a < 2:
            continue
        ends, part, at = np.array([0, b - a]), values[a : b + 1], times[a : b + 1]
        error = rotation_error(part, ends, at, mode) if mode else vector_error(part, ends, at)
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
    v: np.ndarray, times: np.ndarray, seconds: float, *, travel: np.ndarray | None = None
) -> np.ndarray:
    """The same for vectors (T, 3), which end where they began, `travel` (3,) further on: so a walk
    repeats from where it has come to."""
    miss = v[0] - v[-1] + (0.0 if travel is None else travel)
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


def flip_side(name: str) -> str:
    """A bone's name with left and right exchanged, in the usual spellings; else the name itself."""
    if word := re.search("left|right", name, re.IGNORECASE):
        old = word.group()
        new = "right" if old.lower() == "left" else "left"
        new = new.upper() if old.isupper() else new.capitalize() if old[0].isupper() else new
        return name[: word.start()] + new + name[word.end() :]
    letter = re.search(r"(?<![^._\- ])[lLrR](?![^._\- ])|^[lr](?=[A-Z])", name)
    if letter is None:
        return name
    swapped = letter.group().translate(str.maketrans("lLrR", "rRlL"))
    return name[: letter.start()] + swapped + name[letter.end() :]


def mirrored_bones(bones: Sequence[RigBone], mapping: Mapping) -> tuple[dict[str, str], np.ndarray]:
    """Each bone that has a twin on the other side -> that twin, by its part of the body or else by
    its name; and the normal (3,) of the mirror plane, in armature space."""
    names = {b.name for b in bones}
    twins = {n: flip_side(n) for n in names if flip_side(n) != n and flip_side(n) in names}
    for role, chain in mapping.bones.items():
        twins |= dict(zip(chain, mapping.bones.get(mirror_name(role), chain), strict=False))
    index = {b.name: i for i, b in enumerate(bones)}
    chains = {r: tuple(index[n] for n in c) for r, c in mapping.bones.items()}
    head, tail, q = (np.array([getattr(b, k) for b in bones], float) for k in ("head", "tail", "rotation"))
    left = quat_rotate(Body(chains, head, tail, q, np.zeros(3)).frame, np.array([1.0, 0.0, 0.0]))
    nearest = np.eye(3)[np.argmax(np.abs(left))]
    # rigs are built along an axis; what they deviate is the unevenness of their joints
    return twins, nearest if abs(left @ nearest) > np.cos(np.radians(10.0)) else left


def mirror_channel(
    values: np.ndarray, axes: np.ndarray | None, twin_axes: np.ndarray | None, normal: np.ndarray
) -> np.ndarray:
    """A bone's rotations (T, 4) or locations (T, 3) as its twin has them in a mirror.

    axes, twin_axes (4,): rest rotations of both bones in armature space, None for locations that
    are given along the armature's own axes; normal (3,): of the mirror plane. With B the channel
    and R the rest rotation, R B R^-1 is the change in armature space; there a mirror turns a
    vector v into v - 2 (v n) n and the axis of a rotation into the negative of that.
    """
    one = np.array([1.0, 0.0, 0.0, 0.0])
    axes, twin_axes = (one if a is None else a for a in (axes, twin_axes))

    def flipped(v: np.ndarray) -> np.ndarray:
        v = quat_rotate(axes, v)
        return quat_rotate(quat_conjugate(twin_axes), v - 2.0 * (v @ normal)[:, None] * normal)

    if values.shape[1] == 3:
        return flipped(values)
    return np.concatenate([values[:, :1], -flipped(values[:, 1:])], axis=1)
