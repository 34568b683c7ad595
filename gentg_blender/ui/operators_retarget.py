"""Retarget: recognise a rig, look at the map first, write the motion, plant the feet again."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import EnumProperty, FloatProperty, StringProperty

from ..core.contract import GentgError
from ..core.retarget import Mapping
from ..tool.retarget import (
    RetargetResult,
    RetargetSettings,
    recognise_rig,
    report_for,
    resolve_feet,
    retarget_to_rig,
)
from .map_properties import fill, read
from .operators_backend import report_error
from .operators_result import capture_armature
from .session import Notice, session


def _pair(context: bpy.types.Context, source: str, target: str) -> tuple[bpy.types.Object, bpy.types.Object]:
    """Source and target by name, else as chosen in the panel. Raises GentgError that says what to select."""

    def named(name: str) -> bpy.types.Object:
        ob = bpy.data.objects.get(name)
        if ob is None:
            raise GentgError("bad_request", f"There is no object named {name}.")
        return ob

    chosen = context.scene.gentg_retarget.target
    there = named(target) if target else chosen
    if there is None:
        raise GentgError(
            "bad_request", "No rig is chosen.", hint="Choose your character's armature under Rig."
        )
    here = named(source) if source else capture_armature(context)
    if here is None or here == there:
        raise GentgError(
            "bad_request",
            "It is not clear which capture to retarget.",
            hint="Select the captured armature in the list of captures.",
        )
    return here, there


class GENTG_OT_recognise(bpy.types.Operator):
    """Find out what rig this is and fill in its bone map. Nothing is animated yet"""

    bl_idname = "gentg.recognise"
    bl_label = "Recognise Rig"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        target = context.scene.gentg_retarget.target
        if target is None:
            self.report({"ERROR"}, "Choose your character's armature under Rig.")
            return {"CANCELLED"}
        try:
            found = recognise_rig(target)
        except GentgError as error:
            return report_error(self, error)
        bone_map = context.scene.gentg_retarget.map
        fill(bone_map, found.mapping)
        if found.method == "none":
            self.report(
                {"WARNING"}, "The rig was not recognised: fill in the bone map by hand, or load a saved one."
            )
        else:
            bone_map.label = found.label
            self.report({"INFO"}, f"{found.label}, {len(found.mapping.bones)} body parts mapped.")
        return {"FINISHED"}


class GENTG_OT_check_map(bpy.types.Operator):
    """List what would be mapped, what is missing and what is doubtful. Nothing is animated yet"""

    bl_idname = "gentg.check_map"
    bl_label = "Check Map"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        try:
            source, target = _pair(context, "", "")
            report = report_for(source, target, read(context.scene.gentg_retarget.map))
        except GentgError as error:
            return report_error(self, error)
        first, *lines = report.text().splitlines()
        session.notice(
            Notice(
                "ERROR" if report.problems else "WARNING" if lines else "INFO",
                f"{target.name}: {first}",
                tuple(lines),
            )
        )
        return {"FINISHED"}


class GENTG_OT_retarget(bpy.types.Operator):
    """Write the captured motion onto your rig's controls, as a new action. The rig's rest pose stays as it is"""

    bl_idname = "gentg.retarget"
    bl_label = "Retarget"
    bl_options = {"REGISTER", "UNDO"}

    source: StringProperty(
        description="Name of the captured armature; empty takes the panel's", options={"SKIP_SAVE"}
    )
    target: StringProperty(description="Name of the rig; empty takes the panel's", options={"SKIP_SAVE"})
    feet: EnumProperty(
        items=(("NEW", "Retarget", "Retarget the whole motion"), ("AGAIN", "Plant Feet Again", "Plant the feet again after contacts were edited")),
        description="What is solved", options={"SKIP_SAVE"},
    )  # fmt: skip
    match: EnumProperty(
        items=(("DIRECTIONS", "Directions", "Limbs point as the actor's do"), ("REACH", "Reach", "Hands and feet come to where the actor's were")),
        description="What is kept where proportions differ; left out, the panel's choice", options={"SKIP_SAVE"},
    )  # fmt: skip
    reach: FloatProperty(
        default=1.0,
        min=0.0,
        max=1.0,
        description="How far, from 0 to 1; left out, the panel's",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, _context, properties) -> str:
        if properties.feet == "AGAIN":
            return "Plant the feet again after the contact channels of the rig were edited, as a new action"
        return "Write the captured motion onto your rig's controls, as a new action. The rig's rest pose stays as it is"

    def execute(self, context):
        s = context.scene.gentg_retarget
        for name in ("match", "reach"):
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(s, name))
        try:
            if self.feet == "AGAIN":
                target = s.target if not self.target else bpy.data.objects.get(self.target)
                if target is None:
                    raise GentgError(
                        "bad_request", "No rig is chosen.", hint="Choose your character's armature under Rig."
                    )
                done = resolve_feet(context, target)
            else:
                source, target = _pair(context, self.source, self.target)
                reach = self.reach if self.match == "REACH" else 0.0
                settings = RetargetSettings(
                    root_motion=s.root_motion, feet=s.feet, blend=s.blend, controls=s.controls, twist_bones=s.twist_bones,
                    mirror=s.mirror, reach_hands=reach * s.reach_hands, reach_feet=reach * s.reach_feet,
                )  # fmt: skip
                done = retarget_to_rig(
                    context, source, target, read(s.map) if target == s.target else None, settings
                )
        except GentgError as error:
            return report_error(self, error)
        _tell(self, target, done)
        return {"FINISHED"}


def _tell(operator: bpy.types.Operator, target: bpy.types.Object, done: RetargetResult) -> None:
    text = f"{target.name}: {done.bones} controls keyed on frames {done.frames[0]:g} to {done.frames[-1]:g}."
    operator.report({"INFO"}, text)
    lines = tuple(dict.fromkeys(done.warnings))
    if done.scale and abs(done.scale - 1) > 0.01:
        lines = (f"The path is scaled by {done.scale:.2f}, the ratio of the legs.", *lines)
    session.notice(Notice("WARNING" if done.warnings else "INFO", text, lines))


class GENTG_OT_save_map(bpy.types.Operator):
    """Save the bone map to a file, for other rigs with the same names"""

    bl_idname = "gentg.save_map"
    bl_label = "Save Map"
    bl_options = {"INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def invoke(self, context, _event):
        target = context.scene.gentg_retarget.target
        self.filepath = bpy.path.clean_name(target.name if target else "rig") + " bone map.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        target = context.scene.gentg_retarget.target
        try:
            mapping = read(context.scene.gentg_retarget.map) if target is not None else None
            if mapping is None:
                raise GentgError(
                    "bad_request",
                    "There is no bone map to save.",
                    hint="Choose a rig and press Recognise Rig.",
                )
            mapping.save(bpy.path.abspath(self.filepath))
        except GentgError as error:
            return report_error(self, error)
        self.report({"INFO"}, f"Saved {self.filepath}")
        return {"FINISHED"}


class GENTG_OT_load_map(bpy.types.Operator):
    """Load a bone map that was saved before"""

    bl_idname = "gentg.load_map"
    bl_label = "Load Map"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def invoke(self, context, _event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        target = context.scene.gentg_retarget.target
        try:
            if target is None:
                raise GentgError(
                    "bad_request", "No rig is chosen.", hint="Choose your character's armature under Rig."
                )
            fill(context.scene.gentg_retarget.map, Mapping.load(Path(bpy.path.abspath(self.filepath))))
        except GentgError as error:
            return report_error(self, error)
        return {"FINISHED"}


CLASSES = (GENTG_OT_recognise, GENTG_OT_check_map, GENTG_OT_retarget, GENTG_OT_save_map, GENTG_OT_load_map)
