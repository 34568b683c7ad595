"""A control rig's motion on a plain skeleton of its deforming bones, for as long as an export takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import bpy
import numpy as np

from ..core.retarget.body import control_rig
from ..core.retarget.rig import RigBone, deform_skeleton
from ..core.rotations import quat_continuous, quat_to_matrix
from .compat import new_channels, use_action
from .keying import write_bone
from .rig_reader import motion_of_bones, read_bones

_STILL = 1e-5  # metres: below that a bone stays where its parent carries it


@contextmanager
def baked_skeleton(
    context: bpy.types.Context, ob: bpy.types.Object, first: int, last: int
) -> Iterator[bpy.types.Object]:
    """A temporary armature of the same name with the deforming bones of `ob`, moving as they do
    in the world on every frame from first to last. The object has no transform of its own."""
    bones = deform_skeleton(read_bones(ob))
    names = [b.name for b in bones]
    frames = np.arange(first, last + 1, dtype=float)
    motion = motion_of_bones(context, ob, names, frames)
    body = motion.body
    rest = [
        replace(b, head=tuple(body.head[i]), tail=tuple(body.tail[i]), rotation=tuple(body.rotation[i]),
                inherit_rotation=True, local_location=True)
        for i, b in enumerate(bones)
    ]  # fmt: skip
    name, active = ob.name, context.view_layer.objects.active
    selected = [o for o in context.view_layer.objects if o.select_get()]
    mode = active.mode if active is not None else "OBJECT"
    made: list[bpy.types.ID] = []
    try:
        ob.name = name + " (rig)"
        copy = _build(context, name, rest, made)
        action = bpy.data.actions.new(name)
        made.append(action)
        _key(copy, action, rest, names, motion, frames)
        use_action(copy, action)
        context.view_layer.update()
        yield copy
    finally:
        for block in reversed(made):
            bpy.data.batch_remove([block])
        ob.name = name
        for o in selected:
            o.select_set(True)
        context.view_layer.objects.active = active
        if active is not None and mode != "OBJECT":
            bpy.ops.object.mode_set(mode=mode)


def _build(context, name: str, bones: Sequence[RigBone], made: list) -> bpy.types.Object:
    layer = context.view_layer
    if layer.objects.active is not None and layer.objects.active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    data = bpy.data.armatures.new(name)
    made.append(data)
    ob = bpy.data.objects.new(name, data)
    made.append(ob)
    context.scene.collection.objects.link(ob)
    for o in layer.objects:
        o.select_set(False)
    layer.objects.active = ob
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        for b in bones:
            bone = data.edit_bones.new(b.name)
            bone.head, bone.tail = b.head, b.tail
            bone.align_roll(quat_to_matrix(np.array(b.rotation))[:, 2].tolist())
            bone.parent = data.edit_bones.get(b.parent) if b.parent else None
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    for bone in ob.pose.bones:
        bone.rotation_mode = "QUATERNION"
    return ob


def _key(ob, action, bones, names: list[str], motion, frames: np.ndarray) -> None:
    rig = control_rig(bones, names, np.eye(4))
    order = [names.index(n) for n in rig.names]
    rotation, head = motion.rotation[:, order], motion.head[:, order]
    bag = new_channels(action, ob)
    for i, name in enumerate(rig.names):
        write_bone(bag, name, "rotation_quaternion", frames, quat_continuous(rig.local_rotation(rotation, i)))
        place = rig.location(rotation, head, i)
        if rig.parents[i] < 0 or np.abs(place).max() > _STILL:  # stretching rigs move joints a little
            write_bone(bag, name, "location", frames, place)
