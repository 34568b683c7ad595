"""Feet that are no longer planted, back to where they were before the backend locked them.

A capture keeps the motion from before its foot lock. Where a contact of the import was taken away that motion
takes over for the foot, its leg and the hips' place; all the rest of the action stays what it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np

from ..core.contract import Capture, GentgError, load_capture
from ..core.retarget.body import SourceMotion
from ..core.retarget.contacts import runs
from ..core.retarget.feet import reach_ankle
from ..core.retarget.solve import Solution
from ..core.rotations import quat_conjugate, quat_multiply, quat_slerp, rotation_angle
from ..core.skeleton import FEET
from ..core.timing import KeyPlan, TimeMap, plan_keys
from .action import pose_channels
from .posed_rig import PosedRig, read_posed
from .result import CAPTURE, KEYS, TAG, TIMES

LEG = ("thigh", "shin", "foot", "toe")
_SAME = 1e-3  # radians, metres: an action that is nearer to the import's than this is the import's


def unlock_feet(
    ob: bpy.types.Object, posed: PosedRig, solution: Solution, blend: float, now: np.ndarray | None = None
) -> list[str]:
    """Move the pose of `solution` where contacts that the import of `ob` had are missing in `posed.contacts`.

    The change eases in over `blend` seconds from contacts that are left, and out over as many where the lock was fading.
    With `now` (T, 4), the contacts that `ob` keys itself, feet that it has freed already are left alone. Returns what could not be freed and why, for people: nothing is changed there. Objects that no
    import made are left alone.
    """
    if TAG not in ob:
        return []
    try:
        capture, plan = _imported(ob)
    except GentgError as error:
        return [f"Where a contact was taken away the foot stays as it is: {error}"]
    at, known = _find(plan, posed.frames)
    names = [str(n) for n in capture.contact_names]
    was = np.stack([plan.nearest(capture.contacts[:, names.index(f)])[at] & known for f in FEET], -1)
    removed = (was & ~posed.contacts & (True if now is None else now)).reshape(-1, 2, 2).any(-1)
    if not removed.any():
        return []
    if capture.local_rotation_free is None:
        return ["Where a contact was taken away the foot stays as it is, since the capture holds no motion from before "
                "the foot lock. Estimate the clip again with Lock Feet on."]  # fmt: skip
    imported = _posed_as(posed, capture, plan, at, capture.local_rotation, capture.root)
    own = known & _same(posed, *imported)
    planted = posed.contacts.reshape(-1, 2, 2).any(-1)
    share = [_share(removed[:, n], planted[:, n], posed.times, blend) for n in (0, 1)]
    notes = []
    for start, stop in runs(np.maximum(*share) > 0.0):
        if not own[start:stop].all():
            notes.append(
                f"Between frames {posed.frames[start]:g} and {posed.frames[stop - 1]:g} the legs or the hips were changed since "
                "the import: where a contact was taken away the foot stays as it is."
            )
            share[0][start:stop] = share[1][start:stop] = 0.0
    if np.any(share):
        free = _posed_as(posed, capture, plan, at, capture.local_rotation_free, capture.root_free)
        _blend(posed, solution, *free, share)
    return notes


def unlocked_motion(
    context: bpy.types.Context, source: bpy.types.Object, motion: SourceMotion, names: list[str],
    contacts: np.ndarray, blend: float,
) -> tuple[SourceMotion, list[str]]:  # fmt: skip
    """A capture's motion, of its bones `names`, for a rig on which `contacts` (T, 4) are left of the capture's: feet that
    stand no more on the rig move as before the backend's lock. The capture's own action is not changed.

    The motion comes back as it is, with the reasons for people, where that cannot be done.
    """
    if TAG not in source or motion.contacts is None or not (motion.contacts & ~contacts).any():
        return motion, []
    posed = read_posed(context, source)
    at = [posed.rig.index(n) for n in names if n in posed.rig.names]
    if len(at) < len(names) or np.abs(posed.head[:, at] - motion.head).max() > _SAME:
        return motion, [f"'{source.name}' is moved by more than its keys: where a contact was taken away the foot moves as "
                        "the capture's does."]  # fmt: skip
    posed.contacts = contacts
    solution = posed.solution()
    notes = unlock_feet(source, posed, solution, blend, motion.contacts)
    pose = solution.pose
    return replace(motion, head=pose.head[:, at], rotation=pose.rotation[:, at]), notes


def _imported(ob: bpy.types.Object) -> tuple[Capture, KeyPlan]:
    """The capture that the armature was made of and where its keys were set. Raises GentgError."""
    if CAPTURE not in ob or TIMES not in ob:
        raise GentgError("bad_request", f"'{ob.name}' does not tell which capture file it was made of, and when it plays.",
                         hint="Import the capture file again.")  # fmt: skip
    capture = load_capture(Path(ob[CAPTURE]))
    plan = plan_keys(capture.timestamps, capture.seen, TimeMap.from_json(ob[TIMES]), ob[KEYS])
    if set(FEET) - {str(n) for n in capture.contact_names}:
        raise GentgError("bad_request", "The capture lacks contacts of the feet.", file=ob[CAPTURE])
    return capture, plan


def _find(plan: KeyPlan, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For scene frames (T,): the plan's key nearest to each, and whether it stands there."""
    after = np.clip(np.searchsorted(plan.frames, frames), 0, len(plan) - 1)
    before = np.maximum(after - 1, 0)
    at = np.where(np.abs(plan.frames[before] - frames) < np.abs(plan.frames[after] - frames), before, after)
    return at, np.abs(plan.frames[at] - frames) < 1e-2


def _posed_as(
    posed: PosedRig, capture: Capture, plan: KeyPlan, at: np.ndarray, rotation: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rig's controls, rotation (T, N, 4) and head (T, N, 3), in a motion of the capture's as an import keys it."""
    rig, local, location = posed.rig, {}, {}
    for channel in pose_channels(capture, plan, rotation, root):
        if channel.group in rig.names:
            values = channel.keys().values[at]
            (local if channel.size == 4 else location)[rig.index(channel.group)] = values
    return rig.posed(local, location, len(at))


def _same(posed: PosedRig, rotation: np.ndarray, head: np.ndarray) -> np.ndarray:
    """(T,) whether hips and legs of the rig are posed like that."""
    chains = posed.body.chains
    legs = [i for r in LEG for s in (".L", ".R") for i in chains.get(r + s, ())]
    at = [chains["hips"][0], *legs]
    turned = rotation_angle(quat_multiply(quat_conjugate(rotation[:, at]), posed.rotation[:, at]))
    moved = np.linalg.norm(head[:, at] - posed.head[:, at], axis=-1) / posed.rig.space.scale
    return (np.maximum(turned, moved) < _SAME).all(axis=1)


def _share(removed: np.ndarray, planted: np.ndarray, times: np.ndarray, blend: float) -> np.ndarray:
    """How much (T,) of the free motion one foot takes: all where a contact was removed, nothing where
    it is planted as before, smooth in between."""
    if not removed.any():
        return np.zeros(len(times))

    def fade(mask: np.ndarray) -> np.ndarray:
        if not mask.any():
            return np.ones(len(times))
        on = times[mask]
        k = np.clip(np.searchsorted(on, times), 1, max(len(on) - 1, 1))
        away = np.minimum(np.abs(times - on[k - 1]), np.abs(times - on[np.minimum(k, len(on) - 1)]))
        x = np.clip(away / max(blend, 1e-6), 0.0, 1.0)
        return x * x * (3.0 - 2.0 * x)

    return (1.0 - fade(removed)) * fade(planted & ~removed)


def _blend(
    posed: PosedRig, solution: Solution, rotation: np.ndarray, head: np.ndarray, share: list[np.ndarray]
) -> None:
    """Take over the free motion by `share` of each foot: the hips' place by the larger, legs about their own."""
    rig, pose, chains = posed.rig, solution.pose, posed.body.chains
    legs = {
        side: amount
        for side, amount in zip((".L", ".R"), share, strict=True)
        if all(r + side in chains for r in LEG[:3])
    }
    ankles = {}
    for side, amount in legs.items():
        ankle = chains["foot" + side][0]
        ankles[side] = pose.head[:, ankle] + amount[:, None] * (head[:, ankle] - pose.head[:, ankle])
        for i in (i for r in LEG for i in chains.get(r + side, ())):
            pose.rotation[:, i] = quat_slerp(pose.rotation[:, i], rotation[:, i], amount)
    hips = chains["hips"][0]
    place = pose.placed[hips]
    pose.placed[hips] = place + np.maximum(*share)[:, None] * (head[:, hips] - place)
    pose.head = rig.forward(pose.rotation, pose.placed)
    for side, ankle in ankles.items():
        reach_ankle(solution, side, ankle)


__all__ = ["LEG", "unlock_feet", "unlocked_motion"]
