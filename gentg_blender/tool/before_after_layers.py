"""Before and after in one armature: TGT alone and the corrected motion as two NLA layers.

An imported armature plays its corrected action and keeps the uncorrected one in a muted NLA
track. `set_mix` turns both into layers and sets the upper one's influence, which animators
can also key; `clear_mix` goes back to the plain action.
"""

from __future__ import annotations

import bpy

from ..core.contract import GentgError

BEFORE_TRACK = "GenTG before"
AFTER_TRACK = "GenTG after"


def add_before(ob: bpy.types.Object, action: bpy.types.Action) -> None:
    """Keep `action` as the armature's uncorrected motion, muted."""
    data = ob.animation_data or ob.animation_data_create()
    _add_track(data, BEFORE_TRACK, action).mute = True


def has_before(ob: bpy.types.Object | None) -> bool:
    """Whether `ob` has an uncorrected motion to mix with."""
    return bool(ob and ob.animation_data and _strip(ob.animation_data, BEFORE_TRACK))


def get_mix(ob: bpy.types.Object) -> float | None:
    """The amount of correction, 0 to 1; None while the plain corrected action plays."""
    strip = _strip(ob.animation_data, AFTER_TRACK) if ob.animation_data else None
    if strip is None:
        return None
    return float(strip.fcurves.find("influence").evaluate(bpy.context.scene.frame_current))


def set_mix(ob: bpy.types.Object, amount: float) -> None:
    """Play `amount` of the corrected motion over the uncorrected one: 0 is before, 1 is after.

    Raises GentgError("bad_request") when `ob` has no uncorrected motion or no action of its own,
    or when an animator keyed the influence.
    """
    if not 0.0 <= amount <= 1.0:
        raise GentgError("bad_request", "The mix lies between 0 and 1.")
    if not has_before(ob):
        raise GentgError(
            "bad_request",
            f"{ob.name} has no motion from before the correction to mix with.",
            hint="Select an armature that GenTG imported with the correction switched on.",
        )
    data = ob.animation_data
    strip = _strip(data, AFTER_TRACK)
    if strip is None:
        if data.action is None:
            raise GentgError(
                "bad_request", f"{ob.name} has no action to mix.", hint="Assign its corrected action again."
            )
        strip = _add_track(data, AFTER_TRACK, data.action).strips[0]
        strip.use_animated_influence = True
        data.action = None
    # Blender computes a strip's influence from its blends unless it is animated, so that a
    # constant one is a curve with a single key
    keys = strip.fcurves.find("influence").keyframe_points
    if len(keys) > 1:
        raise GentgError(
            "bad_request",
            f"The mix of {ob.name} is animated.",
            hint="Edit the keys of the strip's influence in the NLA editor, or delete them.",
        )
    if len(keys) == 1:
        keys[0].co.y = amount
    else:
        keys.insert(strip.frame_start, amount)
    strip.fcurves.find("influence").update()
    data.nla_tracks[BEFORE_TRACK].mute = False
    ob.update_tag()


def clear_mix(ob: bpy.types.Object) -> None:
    """Play the corrected action alone again. Does nothing without a mix."""
    data = ob.animation_data
    strip = _strip(data, AFTER_TRACK) if data else None
    if strip is None:
        return
    action, slot = strip.action, strip.action_slot
    data.nla_tracks.remove(data.nla_tracks[AFTER_TRACK])
    data.nla_tracks[BEFORE_TRACK].mute = True
    data.action = action
    data.action_slot = slot
    ob.update_tag()


def _add_track(data: bpy.types.AnimData, name: str, action: bpy.types.Action) -> bpy.types.NlaTrack:
    track = data.nla_tracks.new()
    track.name = name
    start, end = action.frame_range
    strip = track.strips.new(action.name, int(start), action)
    if strip.action_slot is None:
        strip.action_slot = strip.action_suitable_slots[0]
    strip.action_frame_start, strip.action_frame_end = start, end
    strip.frame_start, strip.frame_end = start, end
    strip.blend_type, strip.extrapolation = "REPLACE", "HOLD"
    strip.use_auto_blend = False
    return track


def _strip(data: bpy.types.AnimData, name: str) -> bpy.types.NlaStrip | None:
    track = data.nla_tracks.get(name)
    return track.strips[0] if track is not None and len(track.strips) else None
