"""Results in the 3D View's sidebar: what was captured, before and after, filming check, export."""

from __future__ import annotations

import bpy

from ..core.filming_check import findings_from_json
from ..tool.before_after_layers import has_before
from ..tool.result import TAG, find_imports
from .import_queue import FINDINGS
from .operators_result import capture_armature
from .panels import _Sidebar
from .widgets import draw_text, panel_width

_LEVEL_ICON = {"good": "CHECKMARK", "hint": "INFO", "problem": "ERROR"}


class GENTG_PT_results(_Sidebar, bpy.types.Panel):
    bl_idname = "GENTG_PT_results"
    bl_label = "Captures"
    bl_space_type = "VIEW_3D"

    def draw(self, context) -> None:
        layout, width = self.layout, panel_width(context)
        found = find_imports(context.scene)
        if not found:
            draw_text(
                layout,
                "No captures in this scene yet. Estimate a clip above, or import a saved one.",
                icon="INFO",
                width=width,
            )
        column = layout.column(align=True)
        for collection in found:
            for ob in collection.objects:
                if ob.type == "ARMATURE" and TAG in ob:
                    column.operator(
                        "gentg.select_result",
                        text=ob.name,
                        icon="ARMATURE_DATA",
                        depress=ob == context.object,
                    ).armature = ob.name
        layout.operator("gentg.import_capture", icon="IMPORT")
        ob = capture_armature(context)
        if ob is None:
            return
        layout.prop(ob, "gentg_show_confidence")
        if has_before(ob):
            layout.prop(ob, "gentg_mix", slider=True)
        else:
            draw_text(
                layout,
                "No before and after: the correction was off, or changed nothing.",
                icon="INFO",
                width=width,
            )
        self._draw_findings(layout, ob, width)

    def _draw_findings(self, layout, ob, width) -> None:
        findings = findings_from_json(ob.get(FINDINGS, ""))
        if not findings:
            return
        box = layout.box()
        box.label(text="Filming Check", icon="CAMERA_DATA")
        for finding in findings:
            draw_text(box, finding.what, icon=_LEVEL_ICON[finding.level], width=width)
            if finding.advice:
                draw_text(box, finding.advice, icon="BLANK1", width=width)


class GENTG_PT_export(_Sidebar, bpy.types.Panel):
    bl_idname = "GENTG_PT_export"
    bl_label = "Export"
    bl_space_type = "VIEW_3D"
    bl_order = 10  # below Retarget
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context) -> None:
        layout, width = self.layout, panel_width(context)
        ob = context.object
        if ob is None or ob.type != "ARMATURE":
            draw_text(layout, "Select the armature that holds the animation.", icon="INFO", width=width)
        layout.operator_menu_enum("gentg.export", "preset", icon="EXPORT")


CLASSES = (GENTG_PT_results, GENTG_PT_export)
