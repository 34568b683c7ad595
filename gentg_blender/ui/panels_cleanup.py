"""Clean-up in the 3D View's sidebar."""

from __future__ import annotations

import bpy

from ..tool.action import PLANTED_PROPERTIES
from ..tool.cleanup import is_in_place
from ..tool.contacts import has_contacts
from .operators_cleanup import PART_NAMES, SMOOTHED, animated_armature, unusable_reason
from .panels import _Sidebar
from .widgets import draw_text, panel_width


class _CleanUp(_Sidebar):
    bl_space_type = "VIEW_3D"
    bl_options = {"DEFAULT_CLOSED"}


class GENTG_PT_cleanup(_CleanUp, bpy.types.Panel):
    bl_idname = "GENTG_PT_cleanup"
    bl_label = "Clean-up"
    bl_order = 5  # between Retarget and Export

    def draw(self, context) -> None:
        layout, s, ob = self.layout, context.scene.gentg_cleanup, animated_armature(context)
        if why := unusable_reason(context):
            draw_text(layout, why, icon="INFO", width=panel_width(context))
        if ob is None:
            return
        action = ob.animation_data.action if ob.animation_data else None
        if action is not None:
            layout.label(text=action.name, icon="ACTION")
        layout.operator("gentg.revert_cleanup", icon="LOOP_BACK")
        column = _column(layout)
        column.prop(s, "degrees")
        column.prop(s, "millimetres")
        layout.operator("gentg.reduce_keys", icon="KEYFRAME")
        column = _column(layout)
        column.prop(s, "loop_seconds")
        column.prop(s, "keep_travel")
        layout.operator("gentg.make_loop", icon="FILE_REFRESH")
        _column(layout).prop(s, "sway")
        back = is_in_place(ob)
        layout.operator(
            "gentg.in_place", text="Travel Again" if back else "In Place", icon="CON_LOCLIMIT", depress=back
        )
        layout.separator()
        column = layout.column(align=True)
        column.operator("gentg.align_floor", icon="MESH_GRID")
        column.operator("gentg.mirror", icon="MOD_MIRROR")
        column.operator("gentg.to_nla", icon="NLA_PUSHDOWN")


class GENTG_PT_smoothing(_CleanUp, bpy.types.Panel):
    bl_idname = "GENTG_PT_smoothing"
    bl_parent_id = "GENTG_PT_cleanup"
    bl_label = "Smoothing"

    def draw(self, context) -> None:
        column, s = _column(self.layout), context.scene.gentg_cleanup
        for part in SMOOTHED:
            column.prop(s, part)
        self.layout.operator("gentg.smooth", icon="MOD_SMOOTH")


class GENTG_PT_contacts(_CleanUp, bpy.types.Panel):
    bl_idname = "GENTG_PT_contacts"
    bl_parent_id = "GENTG_PT_cleanup"
    bl_label = "Contacts"

    def draw(self, context) -> None:
        layout, ob = self.layout, animated_armature(context)
        if ob is None:
            return
        if has_contacts(ob):
            column = layout.column(heading="Planted")
            column.use_property_split = True  # with the diamonds that key a contact
            for part, name in PLANTED_PROPERTIES.items():
                if name in ob:
                    column.prop(ob, f'["{name}"]', text=PART_NAMES[part])
        else:
            draw_text(layout, "No contacts are keyed here yet.", icon="INFO", width=panel_width(context))
        layout.operator("gentg.mark_contact", icon="CON_FLOOR")
        _column(layout).prop(context.scene.gentg_cleanup, "blend")
        layout.operator("gentg.relock_feet", icon="LOCKED")


def _column(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    column = layout.column()
    column.use_property_split, column.use_property_decorate = True, False
    return column


CLASSES = (GENTG_PT_cleanup, GENTG_PT_smoothing, GENTG_PT_contacts)
