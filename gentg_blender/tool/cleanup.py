"""Clean-up of keyed motion for people. Every step makes a new action and keeps the one before it.

Smoothing and key reduction work on any rig's curves. In place, floor, loop and mirror change where
the body is; on control rigs they move FK and IK controls together, as they were measured to hang
on each other (posed_rig.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import bpy
import numpy as np

from ..core.contract import GentgError
from ..core.retarget.cleanup import (
    PARTS,
    floor_shift,
    in_place,
    loop_rotations,
    loop_vectors,
    mirror_channel,
    mirrored_bones,
    part_of,
    reduce_keys,
    smooth_rotations,
)
from ..core.retarget.contacts import detect_contacts, sole_points
from ..core.retarget.keys import smooth
from ..core.retarget.mapping import Mapping
from ..core.rotations import quat_continuous, quat_multiply, quat_rotate
from .action import PLANTED_PROPERTIES
from .keying import rotation_channel, rotation_values
from .posed_rig import PosedRig, map_of, read_posed, write_posed
from .rig_reader import read_bones, require_motion
from .tracks import STEP, ActionEdit, Track, earlier_action, revert

IN_PLACE = "in place"


@dataclass
class Cleaned:
    """What a step made."""

    action: bpy.types.Action
    keys_before: int
    keys_after: int


# --------------------------------------------------------------------------- steps on any rig


def smooth_action(
    context: bpy.types.Context,
    ob: bpy.types.Object,
    seconds: dict[str, float],
    mapping: Mapping | None = None,
) -> Cleaned:
    """Smooth each part of the body by its own strength: part (see core.retarget.cleanup.PARTS, and
    "other" for unmapped controls) -> seconds. Parts that are not named stay as they are."""
    if unknown := set(seconds) - set(PARTS) - {"other"}:
        raise GentgError(
            "bad_request",
            f"There is no part named {', '.join(sorted(unknown))}.",
            hint=f"Known are: {', '.join(PARTS)}, other.",
        )
    if not any(width > 0.0 for width in seconds.values()):
        raise GentgError(
            "bad_request",
            "No part of the body is to be smoothed.",
            hint="Give at least one part some seconds.",
        )
    require_motion(ob)
    roles = {n: r for r, c in (mapping or map_of(ob)).bones.items() for n in c}
    rate = context.scene.render.fps / context.scene.render.fps_base
    count = 0
    with ActionEdit(ob, "smoothed") as edit:
        for track in edit.tracks.values():
            count += track.values.size
            role = roles.get(track.bone)
            part = part_of(role) if role else "other"
            if role == "hips" and track.channel == "location":
                part = "path"
            width, times = seconds.get(part, 0.0), track.frames / rate
            if width <= 0.0 or len(times) < 3:
                continue
            if track.turns:
                edit.put_rotation(track, smooth_rotations(edit.rotation(track), times, width))
            else:
                edit.put(track, smooth(track.values, times, width))
    return Cleaned(edit.new, count, count)


def reduce_action(ob: bpy.types.Object, degrees: float = 0.5, millimetres: float = 2.0) -> Cleaned:
    """Fewer keys: what is left plays within `degrees` of every rotation and `millimetres` of every
    location, measured as Blender interpolates it."""
    if degrees <= 0.0 or millimetres <= 0.0:
        raise GentgError("bad_request", "The bounds of the key reduction must be above zero.")
    require_motion(ob)
    scale = float(np.cbrt(abs(np.linalg.det(np.array(ob.matrix_world)[:3, :3]))))
    before = after = 0
    with ActionEdit(ob, "reduced") as edit:
        for track in edit.tracks.values():
            values, mode = track.values, track.mode(ob.pose.bones[track.bone].rotation_mode)
            if mode == "QUATERNION":
                values = quat_continuous(values)
            bound = np.radians(degrees) if mode else 0.001 * millimetres / max(scale, 1e-9)
            keep = reduce_keys(values, track.frames, bound, mode=mode, held=track.held)
            before += values.size
            after += len(keep) * values.shape[1]
            if len(keep) < len(track.frames):
                edit.put(track, values[keep], track.frames[keep], track.held[keep])
    return Cleaned(edit.new, before, after)


def to_nla(ob: bpy.types.Object, name: str = "") -> bpy.types.NlaStrip:
    """Push the action down to a strip in a new NLA track, so that it can be layered and moved."""
    require_motion(ob)
    data = ob.animation_data
    if data.action is None:
        raise GentgError(
            "bad_request", f"'{ob.name}' plays NLA strips already.", hint="Assign an action first."
        )
    action, slot = data.action, data.action_slot
    track = data.nla_tracks.new()
    track.name = name or action.name
    start, end = action.frame_range
    strip = track.strips.new(action.name, int(np.floor(start)), action)
    if slot is not None:
        strip.action_slot = slot
    strip.action_frame_start, strip.action_frame_end = start, end
    strip.frame_start, strip.frame_end = start, end
    data.action = None
    return strip


# --------------------------------------------------------------------------- steps on where the body is


def is_in_place(ob: bpy.types.Object) -> bool:
    """Whether the travel was taken out by the last step, so that it can be put back."""
    action = ob.animation_data.action if ob.animation_data is not None else None
    return action is not None and action.get(STEP) == IN_PLACE and earlier_action(ob) is not None


def toggle_in_place(
    context: bpy.types.Context, ob: bpy.types.Object, *, sway: bool = True
) -> bpy.types.Action:
    """Take the travel out of the motion, or put it back where the last step took it out."""
    require_motion(ob)
    if is_in_place(ob):
        return revert(ob)

    def edit(posed: PosedRig) -> tuple[np.ndarray, np.ndarray]:
        place = posed.head[:, posed.carrier()]
        shift = in_place(place, posed.times, sway=sway) - place
        return posed.rotation, posed.head + shift[:, None]

    return _move_body(context, ob, IN_PLACE, edit)


def align_floor(context: bpy.types.Context, ob: bpy.types.Object) -> bpy.types.Action:
    """Bring planted feet to the floor, z = 0, and level a floor that leans."""

    def edit(posed: PosedRig) -> tuple[np.ndarray, np.ndarray]:
        motion = posed.motion()
        planted = posed.contacts if posed.contacts is not None else detect_contacts(motion, height=1.0)
        points, held = [], []
        for n, side in enumerate((".L", ".R")):
            if "foot" + side in posed.body.chains:
                points += sole_points(motion, side)
                held += [planted[:, 2 * n], planted[:, 2 * n + 1]]
        if not points or not np.any(held):
            raise GentgError(
                "bad_request",
                f"No planted foot was found in the motion of '{ob.name}'.",
                hint="Set its contacts, or move it by hand.",
            )
        level, shift = floor_shift(np.stack(points, 1), np.stack(held, 1))
        return quat_multiply(level, posed.rotation), quat_rotate(level, posed.head) + shift

    return _move_body(context, ob, "on the floor", edit)


def make_loop(context: bpy.types.Context, ob: bpy.types.Object, seconds: float = 0.5, *,
              keep_travel: bool = True) -> bpy.types.Action:  # fmt: skip
    """Lead the end of the motion into its start over the last `seconds`; the travel goes on."""
    require_motion(ob)
    with ActionEdit(ob, "looped") as edit:
        posed = read_posed(context, ob)
        length = posed.times[-1] - posed.times[0]
        if seconds <= 0.0 or seconds > length:
            raise GentgError(
                "bad_request", "The blend of a loop must be longer than nothing and shorter than the motion."
            )
        rig, carrier = posed.rig, posed.carrier()
        above = posed.above(carrier)
        # what rides on the body loops as it is, the body and what stands free of it in the world
        free = [i for i in range(len(rig.names)) if i not in above and carrier not in posed.above(i)]
        free_names = {rig.names[i] for i in free}
        rate = context.scene.render.fps / context.scene.render.fps_base
        local = {i: loop_rotations(rig.local_rotation(posed.rotation, i), posed.times, seconds)
                 for i in range(len(rig.names))}  # fmt: skip
        place = {i: rig.location(posed.rotation, posed.head, i) for i in range(len(rig.names))}
        rotation, head = rig.posed(local, place, len(posed.times))
        way = posed.head[-1, carrier] - posed.head[0, carrier]
        travel = way * [1.0, 1.0, 0.0] * keep_travel
        for i in free:
            head[:, i] = loop_vectors(posed.head[:, i], posed.times, seconds, travel=travel)
        for (bone, channel), track in edit.tracks.items():
            if len(track.frames) < 3 and bone not in free_names:
                continue
            if channel == "location" and bone in free_names:
                i = rig.index(bone)
                edit.put(track, rig.location(rotation, head, i), posed.frames, posed.held)
            elif len(track.frames) >= 3 and track.turns:
                edit.put_rotation(track, loop_rotations(edit.rotation(track), track.frames / rate, seconds))
            elif len(track.frames) >= 3:
                edit.put(track, loop_vectors(track.values, track.frames / rate, seconds))
    return edit.new


def mirror_copy(context: bpy.types.Context, ob: bpy.types.Object) -> bpy.types.Action:
    """The same motion with left and right exchanged, as a new action: every channel of a bone goes
    to its twin, contacts too. Right for any bone rolls, FK and IK."""
    require_motion(ob)
    mapping, bones = map_of(ob), read_bones(ob)
    twins, normal = mirrored_bones(bones, mapping)
    rest = {b.name: np.array(b.rotation, float) for b in bones}
    with ActionEdit(ob, "mirrored") as edit:
        if any(
            c.data_path in ("location", "rotation_euler", "rotation_quaternion") for c in edit.bag.fcurves
        ):
            raise GentgError(
                "bad_request",
                f"The object '{ob.name}' is animated itself.",
                hint="Retarget with Mirror and the root motion on the hips instead.",
            )
        old = list(edit.tracks.values())
        values = {id(t): edit.rotation(t) if t.turns else t.values for t in old}
        for track in old:
            for curve in track.curves:
                edit.bag.fcurves.remove(curve)
            track.curves = []
        for track in old:
            bone, twin = track.bone, twins.get(track.bone, track.bone)
            axes = [
                rest[b] if track.turns or ob.data.bones[b].use_local_location else None for b in (bone, twin)
            ]
            _put_mirrored(edit, track, twin, mirror_channel(values[id(track)], *axes, normal))
        _swap_contacts(edit)
    return edit.new


def _put_mirrored(edit: ActionEdit, track: Track, twin: str, values: np.ndarray) -> None:
    channel = track.channel
    if track.turns:
        mode = edit.mode(twin)
        channel, values = rotation_channel(mode), rotation_values(mode, quat_continuous(values))
    edit.tracks.pop((twin, channel), None)
    edit.add(twin, channel, track.frames, values, track.held)


def _swap_contacts(edit: ActionEdit) -> None:
    curves = edit.contact_curves()
    for foot, curve in curves.items():
        curve.data_path = "gentg_" + foot  # two curves never have one path
    for foot, curve in curves.items():
        twin = {"l": "r", "r": "l"}[foot[0]] + foot[1:]
        curve.data_path = f'["{PLANTED_PROPERTIES[twin]}"]'


def _move_body(
    context: bpy.types.Context, ob: bpy.types.Object, step: str,
    edit: Callable[[PosedRig], tuple[np.ndarray, np.ndarray]],
) -> bpy.types.Action:  # fmt: skip
    """Move the body as a whole: what carries it, and all that stands free of that in the world."""
    with ActionEdit(ob, step) as change:
        posed = read_posed(context, ob)
        above = sorted(posed.above(posed.carrier()))
        rotation, head = edit(posed)
        rotation, head = rotation.copy(), head.copy()
        rotation[:, above], head[:, above] = posed.rotation[:, above], posed.head[:, above]
        write_posed(change, posed, rotation, head)
    return change.new


__all__ = [
    "Cleaned", "align_floor", "is_in_place", "make_loop", "mirror_copy", "reduce_action", "revert", "smooth_action",
    "to_nla", "toggle_in_place",
]  # fmt: skip
