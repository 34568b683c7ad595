"""Estimate Pose in the sequencer's and the 3D View's sidebar."""

from __future__ import annotations

import os

import bpy

from ..tool import strips
from . import backend
from .people import draw_person
from .session import session
from .widgets import draw_jobs, draw_notices, draw_set_up, draw_text, panel_width


class _Sidebar:
    bl_region_type = "UI"
    bl_category = "GenTG"


class _Estimate(_Sidebar):
    """What both editors show; they differ in where the clip comes from."""

    bl_label = "Estimate Pose"

    def draw(self, context) -> None:
        layout, width = self.layout, panel_width(context)
        if self._draw_backend(layout, width):
            self.draw_source(context, layout, width)
            draw_person(layout, context.scene.gentg, *self.clip_of(context), width)
            column = layout.column()
            column.use_property_split = True
            column.use_property_decorate = False
            settings = context.scene.gentg
            column.prop(settings, "quality")
            column.prop(settings, "existing")
            self.draw_button(context, layout)
        draw_jobs(layout, width)
        draw_notices(layout, width)

    def _draw_backend(self, layout: bpy.types.UILayout, width: int) -> bool:
        """The backend's state where it is not ready; returns whether an estimate can be started."""
        task = session.task
        if task is not None:
            box = layout.box()
            draw_text(box, task.text, width=width)
            box.progress(factor=task.fraction, text=f"{task.fraction:.0%}")
            box.operator("gentg.cancel", text="Cancel", icon="X")
            return False
        problem = backend.problem()
        if not problem:
            return True
        box = layout.box()
        draw_text(box, problem, icon="INFO", width=width)
        if backend.chosen_python() is None:
            if bpy.app.online_access:
                row = box.row()
                row.scale_y = 1.4
                draw_set_up(row)
            else:
                draw_text(
                    box,
                    "Allow Online Access in Preferences > System first.",
                    icon="INTERNET_OFFLINE",
                    width=width,
                )
        box.operator("gentg.open_preferences", icon="PREFERENCES")
        return False


class GENTG_PT_sequencer(_Estimate, bpy.types.Panel):
    bl_idname = "GENTG_PT_sequencer"
    bl_space_type = "SEQUENCE_EDITOR"

    @classmethod
    def poll(cls, context):
        return context.space_data.view_type in {"SEQUENCER", "SEQUENCER_PREVIEW"}

    def draw_source(self, context, layout, width) -> None:
        chosen = strips.selected_strips(context)
        usable = [s for s in chosen if not strips.unusable_reason(s)]
        box = layout.box()
        if not strips.shows_scene(context):
            draw_text(
                box, "The sequencer shows no scene yet. Choose one in its header.", icon="INFO", width=width
            )
        elif not chosen:
            draw_text(box, strips.NO_STRIP, icon="INFO", width=width)
        elif not usable:
            draw_text(box, strips.unusable_reason(chosen[0]), icon="INFO", width=width)
        elif len(usable) == 1:
            box.label(text=usable[0].name, icon="FILE_MOVIE" if usable[0].type == "MOVIE" else "RENDERLAYERS")
            first, last = strips.shown_frames(usable[0])
            box.label(text=f"Frames {first} to {last}", icon="BLANK1")
        else:
            box.label(text=f"{len(usable)} strips, one after another", icon="FILE_MOVIE")

    def clip_of(self, context) -> tuple[str, str]:
        """Path of the clip whose people can be picked ("" = none), and what Find People gets for it."""
        usable = [s for s in strips.selected_strips(context) if not strips.unusable_reason(s)]
        return (os.fspath(strips.clip_path(strips.sequencer_scene(context), usable[0])) if usable else ""), ""

    def draw_button(self, context, layout) -> None:
        row = layout.row()
        row.scale_y = 1.5
        row.enabled = any(not strips.unusable_reason(s) for s in strips.selected_strips(context))
        text = "Add to Queue" if session.busy else "Estimate Pose"
        row.operator("gentg.estimate_pose", text=text, icon="ARMATURE_DATA").filepath = ""


class GENTG_PT_view3d(_Estimate, bpy.types.Panel):
    bl_idname = "GENTG_PT_view3d"
    bl_space_type = "VIEW_3D"

    def draw_source(self, context, layout, width) -> None:
        settings = context.scene.gentg
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "clip")
        column.prop(settings, "start_frame")

    def clip_of(self, context) -> tuple[str, str]:
        """As in the sequencer, for the chosen file."""
        clip = context.scene.gentg.clip
        return (bpy.path.abspath(clip) if clip else ""), clip

    def draw_button(self, context, layout) -> None:
        clip = context.scene.gentg.clip
        row = layout.row()
        row.scale_y = 1.5
        row.enabled = bool(clip)
        text = "Choose a Clip First" if not clip else "Add to Queue" if session.busy else "Estimate Pose"
        row.operator("gentg.estimate_pose", text=text, icon="ARMATURE_DATA").filepath = clip


class _Options(_Sidebar):
    """Folded: what seldom needs a change."""

    bl_options = {"DEFAULT_CLOSED"}

    def column(self, context):
        layout = self.layout.column()
        layout.use_property_split = True
        layout.use_property_decorate = False
        return layout, context.scene.gentg


class _Person(_Options):
    bl_label = "Person and Camera"

    def draw(self, context) -> None:
        column, s = self.column(context)
        row = column.row(heading="Height")
        row.prop(s, "use_height", text="")
        sub = row.row()
        sub.enabled = s.use_height
        sub.prop(s, "height", text="")
        column.prop(s, "camera")
        if s.camera == "FOCAL":
            column.prop(s, "focal")
        elif s.camera == "TYPED":
            column.prop(s, "fov")


class _Motion(_Options):
    bl_label = "Motion"

    def draw(self, context) -> None:
        column, s = self.column(context)
        column.prop(s, "correction")
        column.prop(s, "smoothing")
        column.prop(s, "foot_lock")


class _Result(_Options):
    bl_label = "Result in the Scene"

    def draw(self, context) -> None:
        column, s = self.column(context)
        column.prop(s, "add_camera")
        sub = column.column()
        sub.enabled = s.add_camera
        sub.prop(s, "show_clip")
        column.prop(s, "before")
        column.prop(s, "markers")


class _Advanced(_Options):
    bl_label = "Advanced"

    def draw(self, context) -> None:
        column, s = self.column(context)
        column.prop(s, "device")
        column.prop(s, "detector")
        if s.detector == "FOLDER":
            column.prop(s, "detector_folder")
        column.prop(s, "seed")
        if session.queue.backend is not None and not session.busy:
            column.operator("gentg.stop_backend", icon="PAUSE")


def _sub_panels() -> tuple[type, ...]:
    """The folded panels once for each editor."""
    out = []
    for parent in (GENTG_PT_sequencer, GENTG_PT_view3d):
        for base in (_Person, _Motion, _Result, _Advanced):
            name = f"{parent.bl_idname}_{base.__name__.strip('_').lower()}"
            out.append(type(name, (base, bpy.types.Panel), {
                "bl_idname": name, "bl_parent_id": parent.bl_idname, "bl_space_type": parent.bl_space_type,
            }))  # fmt: skip
    return tuple(out)


class GENTG_OT_open_preferences(bpy.types.Operator):
    """Open GenTG's preferences"""

    bl_idname = "gentg.open_preferences"
    bl_label = "Open Preferences"
    bl_options = {"INTERNAL"}

    def execute(self, _context):
        if backend.preferences() is None:
            self.report(
                {"ERROR"},
                f"GenTG runs from a script here. Name the backend's Python in {backend.PYTHON_VARIABLE}.",
            )
            return {"CANCELLED"}
        return bpy.ops.preferences.addon_show(module=backend.PACKAGE)


CLASSES = (GENTG_OT_open_preferences, GENTG_PT_sequencer, GENTG_PT_view3d, *_sub_panels())
