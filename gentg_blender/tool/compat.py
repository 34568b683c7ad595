"""What differs between Blender 4.5 and 5.2, in one place."""

from __future__ import annotations

import bpy


def new_channels(
    action: bpy.types.Action, owner: bpy.types.ID, slot_name: str = ""
) -> bpy.types.ActionChannelbag:
    """Give `action` a layer, a keyframe strip and a slot for `owner`; return the slot's channels.

    The action is not assigned to `owner`; see `use_action`.
    """
    return new_slot(action, owner.id_type, slot_name or owner.name)


def new_slot(action: bpy.types.Action, id_type: str, name: str) -> bpy.types.ActionChannelbag:
    """The same for an owner that does not exist yet: `id_type` is "OBJECT", "CAMERA" and so on."""
    slot = action.slots.new(id_type, name)
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True)


def channelbag(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> bpy.types.ActionChannelbag | None:
    """The channels of one slot, or None."""
    for layer in action.layers:
        for strip in layer.strips:
            if strip.type == "KEYFRAME" and (bag := strip.channelbag(slot)) is not None:
                return bag
    return None


def use_action(owner: bpy.types.ID, action: bpy.types.Action) -> None:
    """Make `action` the active one of `owner`, with the first slot that suits it.

    Assigning alone leaves the slot empty when the names differ, and then nothing moves.
    """
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    if data.action_slot is None and data.action_suitable_slots:
        data.action_slot = data.action_suitable_slots[0]


def new_fcurve(bag: bpy.types.ActionChannelbag, path: str, index: int, group: str) -> bpy.types.FCurve:
    """A new F-curve in a group. `fcurves.new` takes the group's name from 5.0 on only."""
    curve = bag.fcurves.new(path, index=index)
    curve.group = bag.groups.get(group) or bag.groups.new(group)
    return curve
