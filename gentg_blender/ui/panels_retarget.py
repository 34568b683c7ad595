"""Retarget in the 3D View's sidebar."""

from __future__ import annotations

import bpy

from ..tool.retarget import RECIPE
from .operators_result import capture_armature
from .panels import _Sidebar
from .widgets import draw_text, panel_width


class GENTG_UL_bone_map(bpy.types.UIList):
    """Body part on the left, bones on the right."""

    def draw_item(self, _context, layout, _data, item, _icon, _active_data, _active_property):
        split = layout.split(factor=0.4)
        split.label(
            text=item.name.replace("_", " ").replace(".L", " left").replace(".R", " right").capitalize()
        )
        split.prop(item, "bones", text="", emboss=False)


class GENTG_PT_retarget(_Sidebar, bpy.types.Panel):
    bl_idname = "GENTG_PT_retarget"
    bl_label = "Retarget to Your Rig"
    bl_space_type = "VIEW_3D"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context) -> None:
        layout, width, s = self.layout, panel_width(context), context.scene.gentg_retarget
        source = capture_armature(context)
        if source is None:
            draw_text(layout, "Select the captured armature to retarget.", icon="INFO", width=width)
        else:
            layout.label(text=f"From {source.name}", icon="ARMATURE_DATA")
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(s, "target")
        if s.target is None:
            return
        column.prop(s, "root_motion")
        column.prop(s, "controls")
        column.prop(s, "feet")
        if s.feet:
            column.prop(s, "blend")
        column.prop(s, "twist_bones")
        column.prop(s, "mirror")
        column.prop(s, "match")
        if s.match == "REACH":
            column.prop(s, "reach")
            row = column.row(heading="For")
            row.prop(s, "reach_hands", toggle=True)
            row.prop(s, "reach_feet", toggle=True)
        row = layout.row()
        row.scale_y = 1.5
        row.enabled = source is not None and source != s.target
        row.operator("gentg.retarget", icon="ARMATURE_DATA").feet = "NEW"
        if RECIPE in s.target:
            layout.operator("gentg.retarget", text="Plant Feet Again", icon="CON_FLOOR").feet = "AGAIN"


class GENTG_PT_bone_map(_Sidebar, bpy.types.Panel):
    bl_idname = "GENTG_PT_bone_map"
    bl_parent_id = "GENTG_PT_retarget"
    bl_label = "Bone Map"
    bl_space_type = "VIEW_3D"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        return context.scene.gentg_retarget.target is not None

    def draw(self, context) -> None:
        layout, bone_map = self.layout, context.scene.gentg_retarget.map
        row = layout.row(align=True)
        row.operator("gentg.recognise", icon="VIEWZOOM")
        row.operator("gentg.check_map", icon="CHECKMARK")
        if bone_map.rows:
            if bone_map.label:
                layout.label(text=bone_map.label, icon="OUTLINER_OB_ARMATURE")
            layout.template_list("GENTG_UL_bone_map", "", bone_map, "rows", bone_map, "active", rows=8)
        else:
            draw_text(
                layout,
                "Recognised when you retarget. Press Recognise Rig to see and edit the map.",
                width=panel_width(context),
            )
        row = layout.row(align=True)
        row.operator("gentg.load_map", icon="FILE_FOLDER")
        row.operator("gentg.save_map", icon="FILE_TICK")


CLASSES = (GENTG_UL_bone_map, GENTG_PT_retarget, GENTG_PT_bone_map)
