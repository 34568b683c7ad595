"""Clean-up: one operator a step, each a new action and one undo step.

Pressed in the panel a step takes the panel's values; called from a script it takes its keywords.
"""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from ..core.contract import GentgError
from ..core.skeleton import FEET
from ..tool import cleanup, contacts
from ..tool.action import HAND_PROPERTIES
from ..tool.tracks import earlier_action, revert
from .operators_backend import report_error
from .operators_result import capture_armature

_HELP = {
    "path": "the way of the body through the scene", "trunk": "hips, spine and chest", "head": "neck and head",
    "arms": "shoulders and arms", "hands": "hands", "legs": "thighs and shins", "feet": "feet and toes",
    "other": "controls that the bone map does not name",
}  # fmt: skip
SMOOTHED = tuple(_HELP)  # parts of the body with a strength of their own
PART_NAMES = dict(zip((*FEET, *HAND_PROPERTIES), ("Left Heel", "Left Toe", "Right Heel", "Right Toe", "Left Hand", "Right Hand"),
                      strict=True))  # fmt: skip
_PARTS = tuple((part.upper(), name, f"The {name.lower()}") for part, name in PART_NAMES.items())


def _strength(part: str):
    return FloatProperty(
        name=part.capitalize(),
        default=0.0,
        min=0.0,
        soft_max=1.0,
        max=10.0,
        step=1,
        precision=2,
        unit="TIME_ABSOLUTE",
        description=f"Smooth {_HELP[part]} over this many seconds, without lag. 0 leaves this as it is",
    )


class _Smoothing:
    path: _strength("path")
    trunk: _strength("trunk")
    head: _strength("head")
    arms: _strength("arms")
    hands: _strength("hands")
    legs: _strength("legs")
    feet: _strength("feet")
    other: _strength("other")


class _Reduction:
    degrees: FloatProperty(
        name="Degrees", default=0.5, min=0.001, soft_max=5.0, max=45.0, precision=2,
        description="No rotation may differ from the full motion by more than this",
    )  # fmt: skip
    millimetres: FloatProperty(
        name="Millimetres", default=2.0, min=0.01, soft_max=20.0, max=1000.0, precision=2,
        description="No location may differ from the full motion by more than this",
    )  # fmt: skip


class _InPlace:
    sway: BoolProperty(
        name="Keep Sway", default=True, description="Keep what is quicker than a stride, such as the hips' sway, and take out the travel alone",
    )  # fmt: skip


class _Loop:
    loop_seconds: FloatProperty(
        name="Blend", default=0.5, min=0.01, max=60.0, step=5, precision=2, unit="TIME_ABSOLUTE",
        description="The last seconds, in which the motion is led into its start",
    )  # fmt: skip
    keep_travel: BoolProperty(
        name="Keep Travel", default=True, description="Let the body end where it has come to instead of where it began",
    )  # fmt: skip


class _Lock:
    blend: FloatProperty(
        name="Ease", default=0.15, min=0.0, max=1.0, step=1, precision=2, unit="TIME_ABSOLUTE",
        description="Seconds in which a foot eases into and out of its place",
    )  # fmt: skip


class GentgCleanupSettings(_Smoothing, _Reduction, _InPlace, _Loop, _Lock, bpy.types.PropertyGroup):
    """What the panel's buttons take."""


def animated_armature(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active armature, else the only capture in the scene."""
    ob = context.object
    return ob if ob is not None and ob.type == "ARMATURE" else capture_armature(context)


def unusable_reason(context: bpy.types.Context) -> str:
    """Why no step can be taken now; "" where one can."""
    ob = animated_armature(context)
    if ob is None:
        return "Select the armature to clean up."
    if ob.library is not None:
        return f"'{ob.name}' is linked from another file and cannot be animated here."
    data = ob.animation_data
    if data is None or (data.action is None and not data.nla_tracks):
        return f"'{ob.name}' has no animation."
    if data.action is None:
        return f"'{ob.name}' plays NLA strips. Tweak one or assign its action first."
    return ""


class _Step:
    """What all steps share. `_run` takes the step and returns what to tell."""

    bl_options = {"REGISTER", "UNDO"}
    taken: tuple[str, ...] = ()  # properties that the panel holds too

    @classmethod
    def poll(cls, context):
        if why := unusable_reason(context):
            cls.poll_message_set(why)
            return False
        return True

    def invoke(self, context, _event):
        for name in self.taken:
            setattr(self, name, getattr(context.scene.gentg_cleanup, name))
        return self.execute(context)

    def execute(self, context):
        ob = animated_armature(context)
        try:
            told = self._run(context, ob)
        except GentgError as error:
            return report_error(self, error)
        self.report({"INFO"}, f"{ob.name}: {told}")
        return {"FINISHED"}


class GENTG_OT_smooth(_Smoothing, _Step, bpy.types.Operator):
    """Smooth each part of the body by its own strength, as a new action"""

    bl_idname = "gentg.smooth"
    bl_label = "Smooth"
    taken = SMOOTHED

    def _run(self, context, ob) -> str:
        seconds = {part: getattr(self, part) for part in SMOOTHED if getattr(self, part) > 0.0}
        done = cleanup.smooth_action(context, ob, seconds)
        return f"smoothed {', '.join(seconds)} in '{done.action.name}'."


class GENTG_OT_reduce_keys(_Reduction, _Step, bpy.types.Operator):
    """Leave out keys that the motion does not need within these bounds, as a new action"""

    bl_idname = "gentg.reduce_keys"
    bl_label = "Reduce Keys"
    taken = ("degrees", "millimetres")

    def _run(self, context, ob) -> str:
        done = cleanup.reduce_action(ob, self.degrees, self.millimetres)
        return f"{done.keys_after} keys are left of {done.keys_before}."


class GENTG_OT_in_place(_InPlace, _Step, bpy.types.Operator):
    """Take the travel out of the motion, as a new action, or put it back if that was the last step"""

    bl_idname = "gentg.in_place"
    bl_label = "In Place"
    taken = ("sway",)

    def _run(self, context, ob) -> str:
        back = cleanup.is_in_place(ob)
        cleanup.toggle_in_place(context, ob, sway=self.sway)
        return "travels again." if back else "moves on the spot."


class GENTG_OT_align_floor(_Step, bpy.types.Operator):
    """Bring planted feet to the floor and level it where it leans, as a new action"""

    bl_idname = "gentg.align_floor"
    bl_label = "Align to Floor"

    def _run(self, context, ob) -> str:
        cleanup.align_floor(context, ob)
        return "stands on the floor."


class GENTG_OT_make_loop(_Loop, _Step, bpy.types.Operator):
    """Lead the end of the motion into its start, as a new action"""

    bl_idname = "gentg.make_loop"
    bl_label = "Make Loop"
    taken = ("loop_seconds", "keep_travel")

    def _run(self, context, ob) -> str:
        cleanup.make_loop(context, ob, self.loop_seconds, keep_travel=self.keep_travel)
        return "loops."


class GENTG_OT_mirror(_Step, bpy.types.Operator):
    """Exchange left and right, as a new action"""

    bl_idname = "gentg.mirror"
    bl_label = "Mirrored Copy"

    def _run(self, context, ob) -> str:
        return f"mirrored as '{cleanup.mirror_copy(context, ob).name}'."


class GENTG_OT_to_nla(_Step, bpy.types.Operator):
    """Push the action down to an NLA strip, to layer, move and repeat it"""

    bl_idname = "gentg.to_nla"
    bl_label = "To NLA Strip"

    name: StringProperty(
        name="Name", description="Name of the new NLA track; empty takes the action's", options={"SKIP_SAVE"}
    )

    def _run(self, context, ob) -> str:
        return f"the strip '{cleanup.to_nla(ob, self.name).name}' plays now."


class GENTG_OT_revert_cleanup(_Step, bpy.types.Operator):
    """Go back to the action that the last clean-up step was made from. Nothing is deleted"""

    bl_idname = "gentg.revert_cleanup"
    bl_label = "Step Back"

    @classmethod
    def poll(cls, context):
        if why := unusable_reason(context):
            cls.poll_message_set(why)
        elif earlier_action(animated_armature(context)) is None:
            cls.poll_message_set("The present action was not made by a clean-up step.")
        else:
            return True
        return False

    def _run(self, context, ob) -> str:
        return f"'{revert(ob).name}' plays again."


class GENTG_OT_mark_contact(_Step, bpy.types.Operator):
    """Mark a part of a foot, or a hand, as planted or free over some frames, on the armature's contact channel"""

    bl_idname = "gentg.mark_contact"
    bl_label = "Mark Contact"

    part: EnumProperty(name="Part", items=_PARTS, description="Which part of which foot, or which hand")
    planted: BoolProperty(
        name="Planted", default=True, description="Whether it is planted on these frames or free"
    )
    first: IntProperty(name="First Frame", description="Where it begins", options={"SKIP_SAVE"})
    last: IntProperty(
        name="Last Frame", description="Where it ends, this frame included", options={"SKIP_SAVE"}
    )

    def invoke(self, context, _event):
        scene = context.scene
        preview = scene.use_preview_range
        self.first = scene.frame_preview_start if preview else scene.frame_current
        self.last = scene.frame_preview_end if preview else scene.frame_current + 5
        return context.window_manager.invoke_props_dialog(self)

    def _run(self, context, ob) -> str:
        contacts.mark_contact(ob, self.part.lower(), self.first, self.last, self.planted)
        return f"marked on frames {self.first} to {self.last}. Re-lock to see it."


class GENTG_OT_relock_feet(_Lock, _Step, bpy.types.Operator):
    """Hold feet, and hands that are marked, in place by their contact channels as they are keyed now, as a new action"""

    bl_idname = "gentg.relock_feet"
    bl_label = "Re-lock Feet"
    taken = ("blend",)

    def _run(self, context, ob) -> str:
        done = contacts.lock_feet_again(context, ob, self.blend)
        for warning in done.warnings:
            self.report({"WARNING"}, warning)
        return f"feet held on {done.feet.planted} frames in '{done.action.name}'."


CLASSES = (
    GentgCleanupSettings, GENTG_OT_smooth, GENTG_OT_reduce_keys, GENTG_OT_in_place, GENTG_OT_align_floor,
    GENTG_OT_make_loop, GENTG_OT_mirror, GENTG_OT_to_nla, GENTG_OT_revert_cleanup, GENTG_OT_mark_contact,
    GENTG_OT_relock_feet,
)  # fmt: skip


def attach() -> None:
    bpy.types.Scene.gentg_cleanup = PointerProperty(type=GentgCleanupSettings)


def detach() -> None:
    del bpy.types.Scene.gentg_cleanup
