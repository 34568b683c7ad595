"""What follows an estimate: select it, import a saved one, retarget it, export it."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..core.contract import GentgError, load_capture
from ..core.filming_check import check_filming
from ..tool.export import export_fbx
from ..tool.result import TAG, ImportSettings, import_capture
from .operators_backend import report_error
from .session import session


def capture_armature(context: bpy.types.Context) -> bpy.types.Object | None:
    """The armature of an import that is meant: the active object, else the only one in the scene."""
    ob = context.object
    if ob is not None and ob.type == "ARMATURE" and TAG in ob:
        return ob
    ours = [o for o in context.scene.objects if o.type == "ARMATURE" and TAG in o]
    return ours[0] if len(ours) == 1 else None


class GENTG_OT_select_result(bpy.types.Operator):
    """Select this capture's armature"""

    bl_idname = "gentg.select_result"
    bl_label = "Select"
    bl_options = {"UNDO", "INTERNAL"}

    armature: StringProperty(options={"SKIP_SAVE"})

    def execute(self, context):
        ob = context.scene.objects.get(self.armature)
        if ob is None or ob.name not in context.view_layer.objects:
            self.report({"ERROR"}, "The armature is not in this view layer.")
            return {"CANCELLED"}
        if context.object is not None and context.object.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        for other in context.selected_objects:
            other.select_set(False)
        ob.select_set(True)
        context.view_layer.objects.active = ob
        return {"FINISHED"}


class GENTG_OT_import_capture(bpy.types.Operator):
    """Animate an armature with a result file (.npz) that GenTG wrote before, or gentg on the command line"""

    bl_idname = "gentg.import_capture"
    bl_label = "Import Capture"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.npz", options={"HIDDEN"})

    def invoke(self, context, _event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        path, s = Path(bpy.path.abspath(self.filepath)), context.scene.gentg
        try:
            capture = load_capture(path)
            made = import_capture(context, capture, ImportSettings(
                name=path.stem, start_frame=s.start_frame, existing=s.existing.lower(), before=s.before, markers=s.markers,
                camera=s.add_camera, capture_file=path))  # fmt: skip
        except GentgError as error:
            return report_error(self, error)
        session.findings[path.stem] = check_filming(capture)
        for warning in made.warnings:
            self.report({"WARNING"}, warning)
        self.report({"INFO"}, f"Keys on frames {made.first_frame:g} to {made.last_frame:g}.")
        return {"FINISHED"}


class GENTG_OT_export(bpy.types.Operator):
    """Write the animated armature to a file that other programs read"""

    bl_idname = "gentg.export"
    bl_label = "Export Animation"
    bl_options = {"REGISTER"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.fbx", options={"HIDDEN"})

    @classmethod
    def poll(cls, context):
        if context.object is None or context.object.type != "ARMATURE":
            cls.poll_message_set("Select the armature that holds the animation.")
            return False
        return True

    def invoke(self, context, _event):
        if not self.filepath:
            base = os.path.dirname(bpy.data.filepath) or os.path.expanduser("~")
            self.filepath = os.path.join(base, bpy.path.clean_name(context.object.name) + ".fbx")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        path = Path(bpy.path.abspath(self.filepath)) if self.filepath else None
        try:
            if path is None:
                raise GentgError("bad_request", "No file is named to export to.", hint="Give a file path.")
            written = export_fbx(context, path, context.object)
        except GentgError as error:
            return report_error(self, error)
        self.report({"INFO"}, f"Wrote {written}")
        return {"FINISHED"}


CLASSES = (GENTG_OT_select_result, GENTG_OT_import_capture, GENTG_OT_export)
