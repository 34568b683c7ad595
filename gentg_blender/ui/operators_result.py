"""What follows an estimate: select it, import a saved one, retarget it, export it."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..core.contract import GentgError
from ..tool.exporters import PRESET, export_armature, export_many, export_presets
from ..tool.result import TAG, ImportSettings, check_scene
from .import_queue import arrival_of_saved
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
    bl_options = {"REGISTER"}  # the undo step is made when the animation is there

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.npz", options={"HIDDEN"})
    wait: BoolProperty(
        name="Wait", options={"SKIP_SAVE", "HIDDEN"},
        description="Return only when the animation is there. Always so when Blender runs in the background",
    )  # fmt: skip

    def invoke(self, context, _event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        path, s = Path(bpy.path.abspath(self.filepath)), context.scene.gentg
        settings = ImportSettings(
            name=path.stem, start_frame=s.start_frame, existing=s.existing.lower(), before=s.before, markers=s.markers,
            camera=s.add_camera,
        )  # fmt: skip
        try:
            check_scene(context.scene)
            if not path.is_file():
                raise GentgError("no_such_file", "The capture file does not exist.", file=path)
            arrival = arrival_of_saved(context.scene, path, settings)
        except GentgError as error:
            return report_error(self, error)
        session.arriving.append(arrival)
        session.watch()
        if bpy.app.background or self.wait:
            session.wait()
            if arrival.context.failed is not None:
                return report_error(self, arrival.context.failed)
            made = arrival.context.result
            for warning in made.warnings:
                self.report({"WARNING"}, warning)
            self.report({"INFO"}, f"Keys on frames {made.first_frame:g} to {made.last_frame:g}.")
        elif context.window is not None:
            bpy.ops.gentg.escape("INVOKE_DEFAULT")
        return {"FINISHED"}


def _presets(_self, _context) -> list[tuple[str, str, str]]:
    # Blender keeps no reference to the texts of a dynamic enumeration: somebody must
    _presets.kept = [(p.key, p.label, p.description) for p in export_presets()]
    return _presets.kept


class GENTG_OT_export(bpy.types.Operator):
    """Write the animated armature to a file that other programs read"""

    bl_idname = "gentg.export"
    bl_label = "Export Animation"
    bl_options = {"REGISTER"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    check_existing: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default="*.fbx;*.bvh;*.glb;*.usdc", options={"HIDDEN"})
    preset: EnumProperty(
        name="For", items=_presets, description="Which program reads the file: sets format, units and axes"
    )

    batch: BoolProperty(
        name="Every Selected Armature",
        description="Write each selected armature to a file of its own name in the chosen folder",
    )

    @classmethod
    def poll(cls, context):
        if context.object is None or context.object.type != "ARMATURE":
            cls.poll_message_set("Select the armature that holds the animation.")
            return False
        return True

    def invoke(self, context, _event):
        if not self.filepath:
            base = os.path.dirname(bpy.data.filepath) or os.path.expanduser("~")
            self.filepath = os.path.join(base, bpy.path.clean_name(context.object.name))
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, _context) -> bool:
        """The file's ending follows the preset."""
        path = os.path.splitext(self.filepath)[0] + PRESET[self.preset].suffix
        changed, self.filepath = path != self.filepath, path
        return changed

    def execute(self, context):
        chosen = [o for o in context.selected_objects if o.type == "ARMATURE"]
        try:
            if not self.filepath:
                raise GentgError("bad_request", "No file is named to export to.", hint="Give a file path.")
            path = Path(bpy.path.abspath(self.filepath)).with_suffix(PRESET[self.preset].suffix)
            if not self.batch:
                written = [export_armature(context, context.object, path, self.preset)]
            else:
                batch = export_many(context, chosen, path.parent, self.preset)
                written = batch.written
                for name, why in batch.failed.items():
                    self.report({"ERROR"}, f"{name}: {why}")
        except GentgError as error:
            return report_error(self, error)
        if written:
            self.report({"INFO"}, f"Wrote {', '.join(map(str, written))}")
        return {"FINISHED"} if written else {"CANCELLED"}


CLASSES = (GENTG_OT_select_result, GENTG_OT_import_capture, GENTG_OT_export)
