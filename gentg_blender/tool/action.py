"""A capture's motion, confidence and contacts as the keys of F-curves, and keys written in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import bpy
import numpy as np

from ..core.confidence import mean_confidence, part_columns
from ..core.contract import Capture
from ..core.rotations import quat_conjugate, quat_continuous, quat_rotate
from ..core.timing import KeyPlan
from .compat import new_fcurve

_CONSTANT, _LINEAR = 0, 1  # values of Keyframe.interpolation

# Name of the animated custom property of each foot part, as people read it.
CONTACT_PROPERTIES = {
    "l_heel": "contact_heel.L", "l_foot_index": "contact_toe.L",
    "r_heel": "contact_heel.R", "r_foot_index": "contact_toe.R",
}  # fmt: skip
# The same for hands that an animator pins; captures have none of their own.
HAND_PROPERTIES = {"l_hand": "contact_hand.L", "r_hand": "contact_hand.R"}
PLANTED_PROPERTIES = {**CONTACT_PROPERTIES, **HAND_PROPERTIES}
CONFIDENCE_PREFIX = "confidence_"


@dataclass(frozen=True)
class Keys:
    """Keys of one property: frames (F,), values (F, size), interpolation (F,) or one for all."""

    frames: np.ndarray
    values: np.ndarray
    interpolation: np.ndarray | int = _LINEAR


@dataclass(frozen=True)
class Channel:
    """A property to animate, with a curve for each of its `size` components. Holds nothing of Blender's."""

    path: str
    group: str
    size: int
    keys: Callable[[], Keys]  # worked out when it is this channel's turn: some milliseconds each


def write_curve(
    bag: bpy.types.ActionChannelbag, path: str, index: int, group: str, frames: np.ndarray, values: np.ndarray,
    interpolation: np.ndarray | int = _LINEAR,
) -> bpy.types.FCurve:  # fmt: skip
    """A new F-curve with all its keys at once. frames, values (F,); handles are automatic (clamped)."""
    curve = new_fcurve(bag, path, index, group)
    fill_curve(curve, frames, values, interpolation)
    return curve


def fill_curve(
    curve: bpy.types.FCurve, frames: np.ndarray, values: np.ndarray, interpolation: np.ndarray | int = _LINEAR
) -> None:
    """The keys of an F-curve that has none yet, as `write_curve` takes them."""
    count = len(frames)
    points = curve.keyframe_points
    points.add(count)
    co = np.empty((count, 2), np.float32)
    co[:, 0], co[:, 1] = frames, values
    points.foreach_set("co", co.ravel())
    # one byte each, as Blender stores it: 15 times faster than any wider type
    points.foreach_set("interpolation", np.broadcast_to(np.asarray(interpolation, np.uint8), count).copy())
    curve.update()


def pose_channels(
    capture: Capture, plan: KeyPlan, rotation: np.ndarray, root: np.ndarray, near: np.ndarray | None = None
) -> Iterator[Channel]:
    """Location of the root bone and rotations of all bones, from rotation (T, B, 4) wxyz and root (T, 3) world.

    Quaternions never flip their sign from key to key. With `near` (T, B, 4) the signs follow the keys
    made of those instead, so that two actions can be blended by component. Keys are linear, since
    there is one on every frame; the last before a gap is constant, so that the pose is held and
    never drifts to where the person is seen again.
    """
    held = np.where(plan.hold, _CONSTANT, _LINEAR)

    def location() -> Keys:
        # in the root bone's rest axes, from its rest head, which is what PoseBone.location holds
        offset = plan.vectors(np.asarray(root, float)) - capture.rest_head[0]
        return Keys(
            plan.frames,
            quat_rotate(quat_conjugate(np.asarray(capture.rest_rotation[0], float)), offset),
            held,
        )

    def turn(bone: int) -> Keys:
        q = plan.rotations(np.asarray(rotation[:, bone], float))
        if near is None:
            return Keys(plan.frames, quat_continuous(q), held)
        other = quat_continuous(plan.rotations(np.asarray(near[:, bone], float)))
        return Keys(plan.frames, np.where(np.sum(q * other, axis=-1, keepdims=True) < 0, -q, q), held)

    for b, bone in enumerate(str(n) for n in capture.bone_names):
        path = f'pose.bones["{bpy.utils.escape_identifier(bone)}"].'
        if b == 0:
            yield Channel(path + "location", bone, 3, location)
        yield Channel(path + "rotation_quaternion", bone, 4, lambda b=b: turn(b))


def confidence_channels(capture: Capture, plan: KeyPlan) -> Iterator[Channel]:
    """The armature's properties "confidence_<part>", 0 to 1; 0 in gaps. See `add_properties`."""

    def keys(columns: list[int]) -> Keys:
        frames, order, gap = _with_gap_keys(plan)
        values = plan.vectors(mean_confidence(np.asarray(capture.sigma[:, columns], float)))
        values = np.concatenate([values, np.zeros(int(gap.sum()))])[order]
        constant = np.concatenate([plan.hold, np.ones(int(gap.sum()), bool)])[order]
        return Keys(frames, values[:, None], np.where(constant, _CONSTANT, _LINEAR))

    for part, columns in part_columns(capture.names).items():
        yield Channel(_property_path(CONFIDENCE_PREFIX + part), "Confidence", 1, lambda c=columns: keys(c))


def contact_channels(capture: Capture, plan: KeyPlan) -> Iterator[Channel]:
    """The armature's properties "contact_heel.L" and so on: True while that part of the foot is planted,
    False in gaps. Keys stand only where it changes, so that they are easy to edit."""

    def keys(column: int) -> Keys:
        frames, order, gap = _with_gap_keys(plan)
        planted = plan.nearest(np.asarray(capture.contacts[:, column], bool))
        planted = np.concatenate([planted, np.zeros(int(gap.sum()), bool)])[order]
        change = np.concatenate([[True], planted[1:] != planted[:-1]])
        return Keys(frames[change], planted[change, None], _CONSTANT)

    for column, foot in enumerate(capture.contact_names):
        yield Channel(_property_path(_contact_key(str(foot))), "Contacts", 1, lambda c=column: keys(c))


def add_properties(ob: bpy.types.Object, capture: Capture) -> None:
    """The custom properties that `confidence_channels` and `contact_channels` animate."""
    for part in part_columns(capture.names):
        key = CONFIDENCE_PREFIX + part
        ob[key] = 1.0
        ob.id_properties_ui(key).update(
            min=0.0, max=1.0, soft_min=0.0, soft_max=1.0,
            description="Chance that this part of the body lies within 10 cm of where the actor's was",
        )  # fmt: skip
    for foot in capture.contact_names:
        key = _contact_key(str(foot))
        ob[key] = False
        ob.id_properties_ui(key).update(description="This part of the foot is planted on the floor")


def _contact_key(foot: str) -> str:
    return CONTACT_PROPERTIES.get(foot, f"contact_{foot}")


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


def add_planted_property(ob: bpy.types.Object, part: str) -> None:
    """Give the armature the property of a part of the feet or hands, free, unless it has it."""
    name = PLANTED_PROPERTIES[part]
    if name not in ob:
        ob[name] = False
        what = (
            "This hand is held in its place"
            if part in HAND_PROPERTIES
            else "This part of the foot is planted on the floor"
        )
        ob.id_properties_ui(name).update(description=what)
