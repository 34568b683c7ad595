"""Clean-up of keyed motion for people. Every step makes a new action and keeps the one before it.

Smoothing and key reduction work on any rig's curves. In place, floor, loop and mirror change
where the body is: they work on rigs that one bone carries, such as our captures. A rig with IK
controls gets them by cleaning the capture and retargeting again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import bpy
import numpy as np

from ..core.contract import GentgError
from ..core.retarget.body import control_rig
from ..core.retarget.cleanup import (
    PARTS,
    floor_shift,
    in_place,
    loop_rotations,
    loop_vectors,
    mirror_motion,
    part_of,
    reduce_keys,
    smooth_rotations,
)
from ..core.retarget.feet import detect_contacts, sole_points
from ..core.retarget.keys import channels, smooth
from ..core.retarget.mapping import Mapping
from ..core.retarget.recognise import recognise
from ..core.retarget.sampling import basis_rotation
from ..core.retarget.solve import solve
from ..core.rotations import quat_continuous, quat_multiply, quat_rotate
from .compat import channelbag, new_channels, use_action
from .keying import rotation_channel, rotation_values, write_bone
from .rig_reader import read_bones, read_motion, require_motion

FROM = "gentg_from"  # custom property of an action: the one it was made from
STEP = "gentg_step"  # ... and by which clean-up step
IN_PLACE = "in place"


@dataclass
class Cleaned:
    """What a step made."""

    action: bpy.types.Action
    keys_before: int
    keys_after: int


@dataclass
class _Track:
    """One channel of one bone: its curves and keys."""

    bone: str
    channel: str
    curves: list[bpy.types.FCurve]
    frames: np.ndarray  # (T,)
    values: np.ndarray  # (T, n)


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
    roles = {n: r for r, c in (mapping or recognise(read_bones(ob)).mapping).bones.items() for n in c}
    rate = context.scene.render.fps / context.scene.render.fps_base

    def edit(ob: bpy.types.Object, track: _Track) -> np.ndarray:
        role = roles.get(track.bone)
        part = part_of(role) if role else "other"
        if role == "hips" and track.channel == "location":
            part = "path"
        width = seconds.get(part, 0.0)
        times = track.frames / rate
        if width <= 0.0 or len(times) < 3:
            return track.values
        if track.channel == "rotation_quaternion":
            return smooth_rotations(basis_rotation("QUATERNION", track.values), times, width)
        return smooth(track.values, times, width)

    return _edited(ob, "smoothed", edit)


def reduce_action(ob: bpy.types.Object, degrees: float = 0.5, millimetres: float = 2.0) -> Cleaned:
    """Fewer keys: what is left plays within `degrees` of every rotation and `millimetres` of every
    location, measured as Blender interpolates it."""
    if degrees <= 0.0 or millimetres <= 0.0:
        raise GentgError("bad_request", "The bounds of the key reduction must be above zero.")
    require_motion(ob)
    scale = float(np.cbrt(abs(np.linalg.det(np.array(ob.matrix_world)[:3, :3]))))
    old, new = _derive(ob, "reduced")
    before = after = 0
    for track in _tracks(new, ob):
        before += track.values.size
        if track.channel == "rotation_quaternion":
            keep = reduce_keys(
                quat_continuous(track.values), track.frames, np.radians(degrees), rotations=True
            )
        elif track.channel in ("rotation_euler", "rotation_axis_angle"):
            keep = reduce_keys(track.values, track.frames, np.radians(degrees))
        elif track.channel == "location":
            keep = reduce_keys(track.values, track.frames, 0.001 * millimetres / max(scale, 1e-9))
        else:
            keep = np.arange(len(track.frames))
        after += len(keep) * track.values.shape[1]
        if len(keep) < len(track.frames):
            _rewrite(new, ob, track, track.frames[keep], track.values[keep])
    use_action(ob, new)
    return Cleaned(new, before, after)


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


def revert(ob: bpy.types.Object) -> bpy.types.Action:
    """Go back to the action that the last clean-up step started from."""
    require_motion(ob)
    action = ob.animation_data.action
    earlier = action.get(FROM) if action is not None else None
    if earlier is None:
        raise GentgError("bad_request", f"The action of '{ob.name}' was not made by a clean-up step.")
    use_action(ob, earlier)
    return earlier


# --------------------------------------------------------------------------- steps on where the body is


def toggle_in_place(
    context: bpy.types.Context, ob: bpy.types.Object, *, sway: bool = True
) -> bpy.types.Action:
    """Take the travel out of the motion, or put it back where the last step took it out."""
    require_motion(ob)
    action = ob.animation_data.action
    if action is not None and action.get(STEP) == IN_PLACE:
        return revert(ob)

    def edit(turn: np.ndarray, place: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return turn, in_place(place, times, sway=sway)

    return _move_body(context, ob, IN_PLACE, edit)


def align_floor(context: bpy.types.Context, ob: bpy.types.Object) -> bpy.types.Action:
    """Bring planted feet to the floor, z = 0, and level a floor that leans."""
    mapping = _mapping(ob)
    motion, _ = read_motion(context, ob, mapping)
    planted = motion.contacts if motion.contacts is not None else detect_contacts(motion, height=1.0)
    points, held = [], []
    for n, side in enumerate((".L", ".R")):
        if "foot" + side in motion.body.chains:
            points += sole_points(motion, side)
            held += [planted[:, 2 * n], planted[:, 2 * n + 1]]
    if not points or not np.any(held):
        raise GentgError(
            "bad_request",
            f"No planted foot was found in the motion of '{ob.name}'.",
            hint="Set its contacts, or move it by hand.",
        )
    level, shift = floor_shift(np.stack(points, 1), np.stack(held, 1))

    def edit(turn: np.ndarray, place: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return quat_multiply(level, turn), quat_rotate(level, place) + shift

    return _move_body(context, ob, "on the floor", edit)


def make_loop(context: bpy.types.Context, ob: bpy.types.Object, seconds: float = 0.5, *,
              keep_travel: bool = True) -> bpy.types.Action:  # fmt: skip
    """Lead the end of the motion into its start over the last `seconds`; the travel goes on."""
    free = np.eye(3)[:2] if keep_travel else None

    def edit(turn: np.ndarray, place: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if seconds <= 0.0 or seconds > times[-1] - times[0]:
            raise GentgError(
                "bad_request", "The blend of a loop must be longer than nothing and shorter than the motion."
            )
        return loop_rotations(turn, times, seconds), loop_vectors(place, times, seconds, free=free)

    rate = context.scene.render.fps / context.scene.render.fps_base

    def others(_: bpy.types.Object, track: _Track) -> np.ndarray:
        if len(track.frames) < 3:
            return track.values
        times = track.frames / rate
        if track.channel == "rotation_quaternion":
            return loop_rotations(basis_rotation("QUATERNION", track.values), times, seconds)
        return loop_vectors(track.values, times, seconds)

    return _move_body(context, ob, "looped", edit, others)


def mirror_copy(context: bpy.types.Context, ob: bpy.types.Object) -> bpy.types.Action:
    """The same motion with left and right exchanged, as a new action."""
    mapping = _mapping(ob)
    bones = read_bones(ob)
    motion, frames = read_motion(context, ob, mapping)
    rig = control_rig(bones, mapping.used(), np.array(ob.matrix_world), name=f"'{ob.name}'")
    keys = channels(solve(mirror_motion(motion), rig, mapping, 1.0), motion.times)
    old = ob.animation_data.action
    new = bpy.data.actions.new(f"{old.name if old else ob.name} mirrored")
    bag = new_channels(new, ob)
    for name, values in keys.location.items():
        write_bone(bag, name, "location", frames, values)
    for name, q in keys.rotation.items():
        mode = ob.pose.bones[name].rotation_mode
        write_bone(bag, name, rotation_channel(mode), frames, rotation_values(mode, q))
    _note(ob, old, new, "mirrored")
    use_action(ob, new)
    return new


# --------------------------------------------------------------------------- inside


def _mapping(ob: bpy.types.Object) -> Mapping:
    require_motion(ob)
    found = recognise(read_bones(ob))
    if found.method == "none":
        raise GentgError(
            "bad_request", f"The rig '{ob.name}' was not recognised.", hint="Select a captured armature."
        )
    if (
        any(not c.mute for n in found.mapping.used() for c in ob.pose.bones[n].constraints)
        or found.preset == "rigify"
    ):
        raise GentgError(
            "bad_request",
            f"'{ob.name}' is a control rig: its controls cannot be moved as one.",
            hint="Clean up the captured armature and retarget it again.",
        )
    return found.mapping


def _derive(ob: bpy.types.Object, step: str) -> tuple[bpy.types.Action, bpy.types.Action]:
    """The action and a copy of it to change, noted as made from it."""
    require_motion(ob)
    old = ob.animation_data.action
    if old is None:
        raise GentgError(
            "bad_request",
            f"'{ob.name}' has no action of its own to clean up.",
            hint="Select its strip in the NLA editor and enter tweak mode, or assign its action.",
        )
    new = old.copy()
    new.name = f"{old.name} {step}"
    _note(ob, old, new, step)
    return old, new


def _note(ob: bpy.types.Object, old: bpy.types.Action | None, new: bpy.types.Action, step: str) -> None:
    if old is not None:
        old.use_fake_user = True
        new[FROM] = old
    new[STEP] = step


def _slot(action: bpy.types.Action, ob: bpy.types.Object) -> bpy.types.ActionSlot:
    """The slot of a copied action that moves `ob`: of the same identifier as the one in use."""
    used = ob.animation_data.action_slot
    return next(
        (s for s in action.slots if used is not None and s.identifier == used.identifier), action.slots[0]
    )


def _tracks(action: bpy.types.Action, ob: bpy.types.Object) -> list[_Track]:
    """Bone channels whose curves all have their keys at the same frames."""
    slot = _slot(action, ob)
    groups: dict[tuple[str, str], list[bpy.types.FCurve]] = {}
    for curve in channelbag(action, slot).fcurves:
        head, _, channel = curve.data_path.rpartition(".")
        if curve.data_path.startswith('pose.bones["') and channel in (
            "location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle"
        ):  # fmt: skip
            groups.setdefault(
                (bpy.utils.unescape_identifier(head[len('pose.bones["') : -2]), channel), []
            ).append(curve)
    tracks = []
    for (bone, channel), curves in groups.items():
        curves.sort(key=lambda c: c.array_index)
        co = [np.empty(2 * len(c.keyframe_points), np.float32) for c in curves]
        for c, values in zip(curves, co, strict=True):
            c.keyframe_points.foreach_get("co", values)
        size = 4 if channel in ("rotation_quaternion", "rotation_axis_angle") else 3
        if (
            len(curves) == size
            and len({len(v) for v in co}) == 1
            and all(np.allclose(v[::2], co[0][::2]) for v in co)
        ):
            tracks.append(_Track(bone, channel, curves, co[0][::2].astype(float),
                                 np.stack([v[1::2] for v in co], -1).astype(float)))  # fmt: skip
    return tracks


def _edited(ob, step: str, edit: Callable[[bpy.types.Object, _Track], np.ndarray]) -> Cleaned:
    """A copy of the action with the values of its bone channels changed, keys where they were."""
    _, new = _derive(ob, step)
    count = 0
    try:
        for track in _tracks(new, ob):
            count += track.values.size
            _set_values(track, edit(ob, track))
    except Exception:
        bpy.data.actions.remove(new)
        raise
    use_action(ob, new)
    return Cleaned(new, count, count)


def _set_values(track: _Track, values: np.ndarray) -> None:
    if values is track.values:
        return
    for k, curve in enumerate(track.curves):
        co = np.stack([track.frames, values[:, k]], -1).astype(np.float32)
        curve.keyframe_points.foreach_set("co", co.ravel())
        curve.update()


def _rewrite(action, ob, track: _Track, frames: np.ndarray, values: np.ndarray) -> None:
    """Replace a channel's keys."""
    bag = channelbag(action, _slot(action, ob))
    constant = {}
    for curve in track.curves:
        # the last key before a gap is constant, so that the pose holds there
        kinds = np.empty(len(curve.keyframe_points), np.int32)
        curve.keyframe_points.foreach_get("interpolation", kinds)
        constant[curve.array_index] = kinds[np.searchsorted(track.frames, frames)]
    for curve in track.curves:
        bag.fcurves.remove(curve)
    write_bone(bag, track.bone, track.channel, frames, values, [constant[k] for k in sorted(constant)])


def _move_body(context, ob, step: str, edit, others=None) -> bpy.types.Action:
    """Edit where the bone that carries the body is, in the world, and perhaps all other channels."""
    mapping = _mapping(ob)
    _, new = _derive(ob, step)
    try:
        tracks = _tracks(new, ob)
        moving = {
            t.bone: t for t in tracks if t.channel == "location" and np.ptp(t.values, axis=0).max() > 1e-6
        }
        carrier = next((n for r in ("root", "hips") for n in mapping.bones.get(r, ()) if n in moving), None)
        if carrier is None:
            raise GentgError(
                "bad_request",
                f"Neither the root nor the hips of '{ob.name}' travel.",
                hint="If the object itself carries the motion, put the root motion on a bone.",
            )
        bones = read_bones(ob)
        rig = control_rig(bones, [carrier], np.array(ob.matrix_world), name=f"'{ob.name}'")
        place_track = moving[carrier]
        mode = ob.pose.bones[carrier].rotation_mode
        turn_track = next(
            (t for t in tracks if t.bone == carrier and t.channel == rotation_channel(mode)), None
        )
        if turn_track is None or len(turn_track.frames) != len(place_track.frames):
            raise GentgError(
                "bad_request",
                f"The bone {carrier} is not keyed in both rotation and location.",
                hint="Key both on the same frames.",
            )
        times = place_track.frames * context.scene.render.fps_base / context.scene.render.fps
        local = {0: basis_rotation(mode, turn_track.values)}
        rotation, head = rig.posed(local, {0: place_track.values}, len(times))
        turn, place = edit(rotation[:, 0], head[:, 0], times)
        rotation, head = np.stack([turn], 1), np.stack([place], 1)
        _set_values(turn_track, rotation_values(mode, quat_continuous(rig.local_rotation(rotation, 0))))
        _set_values(place_track, rig.location(rotation, head, 0))
        for track in tracks:
            if others is not None and track is not turn_track and track is not place_track:
                _set_values(track, others(ob, track))
    except Exception:
        bpy.data.actions.remove(new)
        raise
    use_action(ob, new)
    return new
