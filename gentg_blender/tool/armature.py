"""The armature: bones in the rest pose of a capture, their collections, colours and locks."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from ..core.contract import Capture, GentgError
from ..core.rotations import quat_to_matrix
from .transaction import Transaction

_CONNECTED = 1e-5  # metres between a bone's head and its parent's tail that still join them
_REST_TOLERANCE = 1e-3  # largest entry by which Blender's rest axes may differ from the contract's
_SIDES = {".L": ("Left", "THEME04"), ".R": ("Right", "THEME01")}
_MIDDLE = ("Middle", "THEME03")


def build_armature(
    context: bpy.types.Context,
    capture: Capture,
    name: str,
    collection: bpy.types.Collection,
    made: Transaction,
) -> bpy.types.Object:
    """An armature object at the world's origin whose rest pose is the capture's.

    It is linked to `collection`, which must lie in `context`'s view layer, and left active in
    object mode. Bone axes equal `rest_rotation`, lengths equal the distance head to tail.
    Raises GentgError("bad_request") for bones without length or axes off their own direction.
    """
    rest = quat_to_matrix(np.asarray(capture.rest_rotation, float))
    _check_rest(capture, rest)
    data = made.own(bpy.data.armatures.new(name))
    ob = made.own(bpy.data.objects.new(name, data))
    collection.objects.link(ob)
    _activate(context, ob)
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        _add_bones(data, capture, rest)
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    _verify(data, capture, rest)
    _dress(ob)
    return ob


def _check_rest(capture: Capture, rest: np.ndarray) -> None:
    names = [str(n) for n in capture.bone_names]
    if len(set(names)) != len(names):
        raise GentgError("bad_request", "The capture names two bones alike.")
    along = np.asarray(capture.rest_tail, float) - np.asarray(capture.rest_head, float)
    length = np.linalg.norm(along, axis=1)
    for i in np.flatnonzero(length < 1e-4):
        raise GentgError(
            "bad_request", f"The bone {names[i]} has no length.", hint="Estimate the clip again."
        )
    off = np.abs(rest[:, :, 1] - along / length[:, None]).max(axis=1)
    for i in np.flatnonzero(off > _REST_TOLERANCE):
        raise GentgError(
            "bad_request",
            f"The rest axes of {names[i]} do not follow the bone.",
            hint="Estimate the clip again.",
        )


def _activate(context: bpy.types.Context, ob: bpy.types.Object) -> None:
    """Make `ob` the only selected and the active object, leaving whatever mode was on."""
    layer = context.view_layer
    active = layer.objects.active
    if active is not None and active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for other in layer.objects:
        other.select_set(False)
    layer.objects.active = ob
    ob.select_set(True)


def _add_bones(data: bpy.types.Armature, capture: Capture, rest: np.ndarray) -> None:
    bones = []
    for i, name in enumerate(capture.bone_names):
        bone = data.edit_bones.new(str(name))
        bone.head = Vector(capture.rest_head[i].tolist())
        bone.tail = Vector(capture.rest_tail[i].tolist())
        bone.align_roll(Vector(rest[i, :, 2].tolist()))
        parent = int(capture.bone_parents[i])
        if parent >= 0:
            bone.parent = bones[parent]
            gap = np.linalg.norm(capture.rest_head[i] - capture.rest_tail[parent])
            bone.use_connect = bool(gap < _CONNECTED)
        bones.append(bone)


def _verify(data: bpy.types.Armature, capture: Capture, rest: np.ndarray) -> None:
    """Blender drops bones that are too short and derives axes from the roll: make sure it did well."""
    for i, name in enumerate(capture.bone_names):
        bone = data.bones.get(str(name))
        if bone is None or np.abs(np.array(bone.matrix_local.to_3x3()) - rest[i]).max() > _REST_TOLERANCE:
            raise GentgError("internal", f"Blender did not take the rest pose of the bone {name}.")


def _dress(ob: bpy.types.Object) -> None:
    """Collections, colours, locks: rotations only but for the root, so that limbs stay rigid."""
    data = ob.data
    data.display_type = "OCTAHEDRAL"
    ob.show_in_front = True
    collections = {label: data.collections.new(label) for label, _ in (_MIDDLE, *_SIDES.values())}
    for bone in data.bones:
        label, palette = _SIDES.get(bone.name[-2:], _MIDDLE)
        collections[label].assign(bone)
        bone.color.palette = palette
    for bone in ob.pose.bones:
        bone.rotation_mode = "QUATERNION"
        bone.lock_scale = (True, True, True)
        if bone.parent is not None:
            bone.lock_location = (True, True, True)
