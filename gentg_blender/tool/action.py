"""Actions: a capture's motion, confidence and contacts as keyframes, written in bulk."""

from __future__ import annotations

import bpy
import numpy as np

from ..core.confidence import part_confidence
from ..core.contract import Capture, GentgError
from ..core.rotations import quat_conjugate, quat_continuous, quat_rotate
from ..core.timing import KeyPlan
from .compat import new_channels, new_fcurve
from .transaction import Transaction

_CONSTANT, _LINEAR = 0, 1  # values of Keyframe.interpolation

# Name of the animated custom property of each foot part, as people read it.
CONTACT_PROPERTIES = {
    "l_heel": "contact_heel.L", "l_foot_index": "contact_toe.L",
    "r_heel": "contact_heel.R", "r_foot_index": "contact_toe.R",
}  # fmt: skip
CONFIDENCE_PREFIX = "confidence_"


def write_curve(
    bag: bpy.types.ActionChannelbag, path: str, index: int, group: str, frames: np.ndarray, values: np.ndarray,
    interpolation: np.ndarray | int = _LINEAR,
) -> bpy.types.FCurve:  # fmt: skip
    """One F-curve with all its keys at once. frames, values (F,); handles are automatic (clamped)."""
    curve = new_fcurve(bag, path, index, group)
    count = len(frames)
    points = curve.keyframe_points
    points.add(count)
    co = np.empty((count, 2), np.float32)
    co[:, 0], co[:, 1] = frames, values
    points.foreach_set("co", co.ravel())
    # one byte each, as Blender stores it: 15 times faster than any wider type
    points.foreach_set("interpolation", np.broadcast_to(np.asarray(interpolation, np.uint8), count).copy())
    curve.update()
    return curve


def pose_keys(
    capture: Capture, plan: KeyPlan, rotation: np.ndarray, root: np.ndarray, near: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Key values: rotations (F, B, 4) wxyz without sign flips, location (F, 3) of the root bone.

    rotation (T, B, 4), root (T, 3) world. With `near` (F, B, 4) the signs follow those instead,
    so that two actions can be blended by component. The location is in the root bone's rest
    axes, from its rest head, which is what `PoseBone.location` holds.
    """
    q = plan.rotations(np.asarray(rotation, float))
    if near is None:
        q = quat_continuous(q)
    else:
        q = np.where(np.sum(q * near, axis=-1, keepdims=True) < 0, -q, q)
    offset = plan.vectors(np.asarray(root, float)) - capture.rest_head[0]
    return q, quat_rotate(quat_conjugate(np.asarray(capture.rest_rotation[0], float)), offset)


def build_action(
    name: str, ob: bpy.types.Object, capture: Capture, plan: KeyPlan, rotation: np.ndarray, location: np.ndarray,
    made: Transaction,
) -> bpy.types.Action:  # fmt: skip
    """An action with a slot for `ob`: rotation (F, B, 4) and location (F, 3) from `pose_keys`.

    Keys are linear, since there is one on every frame; the last before a gap is constant, so
    that the pose is held and never drifts to where the person is seen again.
    """
    action = made.own(bpy.data.actions.new(name))
    bag = new_channels(action, ob, name)
    held = np.where(plan.hold, _CONSTANT, _LINEAR)
    for b, bone in enumerate(capture.bone_names):
        if ob.pose.bones.get(str(bone)) is None:
            raise GentgError("internal", f"The armature {ob.name} has no bone {bone}.")
        path = f'pose.bones["{bpy.utils.escape_identifier(str(bone))}"].'
        if b == 0:
            for axis in range(3):
                write_curve(bag, path + "location", axis, str(bone), plan.frames, location[:, axis], held)
        for axis in range(4):
            write_curve(bag, path + "rotation_quaternion", axis, str(bone), plan.frames, rotation[:, b, axis], held)
    action.use_frame_range = False
    return action


def add_confidence(ob: bpy.types.Object, action: bpy.types.Action, capture: Capture, plan: KeyPlan) -> None:
    """Animated custom properties "confidence_<part>" of the armature object, 0 to 1; 0 in gaps."""
    bag = action.layers[0].strips[0].channelbag(action.slots[0])
    frames, order, gap = _with_gap_keys(plan)
    for part, values in part_confidence(np.asarray(capture.sigma, float), capture.names).items():
        key = CONFIDENCE_PREFIX + part
        ob[key] = 1.0
        ob.id_properties_ui(key).update(
            min=0.0, max=1.0, soft_min=0.0, soft_max=1.0,
            description="Chance that this part of the body lies within 10 cm of where the actor's was",
        )  # fmt: skip
        sampled = np.concatenate([plan.vectors(values), np.zeros(int(gap.sum()))])[order]
        constant = np.concatenate([plan.hold, np.ones(int(gap.sum()), bool)])[order]
        write_curve(bag, _property_path(key), 0, "Confidence", frames, sampled,
                    np.where(constant, _CONSTANT, _LINEAR))


def add_contacts(ob: bpy.types.Object, action: bpy.types.Action, capture: Capture, plan: KeyPlan) -> None:
    """Animated custom properties "contact_heel.L" and so on: True while that part of the foot is
    planted, False in gaps. Keys stand only where it changes, so that they are easy to edit."""
    bag = action.layers[0].strips[0].channelbag(action.slots[0])
    frames, order, gap = _with_gap_keys(plan)
    for column, foot in enumerate(capture.contact_names):
        key = CONTACT_PROPERTIES.get(str(foot), f"contact_{foot}")
        ob[key] = False
        ob.id_properties_ui(key).update(description="This part of the foot is planted on the floor")
        planted = plan.nearest(np.asarray(capture.contacts[:, column], bool))
        planted = np.concatenate([planted, np.zeros(int(gap.sum()), bool)])[order]
        change = np.concatenate([[True], planted[1:] != planted[:-1]])
        write_curve(bag, _property_path(key), 0, "Contacts", frames[change], planted[change], _CONSTANT)


def _property_path(key: str) -> str:
    return f'["{bpy.utils.escape_identifier(key)}"]'


def _with_gap_keys(plan: KeyPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The plan's frames with one more just inside every gap.

    Returns all frames in order, the order (to sort [plan's keys, gap keys]) and a mask over the
    gaps that are long enough to take such a key.
    """
    inside = np.floor(plan.gaps[:, 0]) + 1.0 if len(plan.gaps) else np.zeros(0)
    fits = inside < plan.gaps[:, 1] - 1e-3 if len(plan.gaps) else np.zeros(0, bool)
    frames = np.concatenate([plan.frames, inside[fits]])
    order = np.argsort(frames, kind="stable")
    return frames[order], order, fits
