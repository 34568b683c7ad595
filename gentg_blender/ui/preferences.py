"""Preferences: where the backend is, its state, and what the doctor says."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, StringProperty

from ..core.contract import GentgError
from . import backend
from .session import session
from .widgets import draw_notices, draw_set_up, draw_text


def is_addon() -> bool:
    """Whether Blender runs us as an add-on, so that preferences have a place."""
    return backend.PACKAGE in bpy.context.preferences.addons


class GentgPreferences(bpy.types.AddonPreferences):
    bl_idname = backend.PACKAGE

    source: EnumProperty(
        name="Backend", default="MANAGED",
        items=(
            ("MANAGED", "Set Up by GenTG", "An environment of its own in Blender's user folder, never inside Blender's Python"),
            ("EXISTING", "Existing Environment", "An environment that you made yourself, for example with make"),
        ),
        description="Which Python environment runs the pose estimation",
    )  # fmt: skip
    existing_python: StringProperty(
        name="Python", subtype="FILE_PATH",
        description="The environment's Python: .venv/bin/python, or .venv\\Scripts\\python.exe on Windows",
    )  # fmt: skip
    base_python: StringProperty(
        name="Python 3.11", subtype="FILE_PATH",
        description="The Python that the environment is made from. Leave empty to find one",
    )  # fmt: skip
    build: EnumProperty(
        name="Build", default="DEFAULT",
        items=(
            ("DEFAULT", "Usual for This System", "On Windows and macOS the CPU build, on Linux the CUDA build, which is larger and runs "
             "without an NVIDIA card too"),
            ("INDEX", "From an Index", "Another build of PyTorch: type the address that PyTorch's Get Started page gives for CPU or CUDA"),
        ),
        description="Which build of PyTorch is installed",
    )  # fmt: skip
    index: StringProperty(
        name="Index", description="Address of the package index that holds the wanted CPU or CUDA build of PyTorch",
    )  # fmt: skip

    def draw(self, _context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "source")
        if self.source == "EXISTING":
            layout.prop(self, "existing_python")
        else:
            layout.prop(self, "base_python")
            layout.prop(self, "build")
            if self.build == "INDEX":
                layout.prop(self, "index")
        self._draw_state(layout.box())
        draw_notices(layout)
        self._draw_doctor(layout)

    def _draw_state(self, box: bpy.types.UILayout) -> None:
        box.use_property_split = False
        task = session.task
        if task is not None:
            box.progress(factor=task.fraction, text=task.text)
            box.operator("gentg.cancel", text="Cancel", icon="X")
            return
        problem = backend.problem()
        if problem:
            draw_text(box, problem, icon="ERROR", width=100)
        else:
            running = session.queue.backend
            text = (
                "The backend is ready."
                if running is None
                else f"The backend is running (process {running.pid})."
            )
            box.label(text=text, icon="CHECKMARK")
        managed = backend.chosen_python() is None
        if managed and not bpy.app.online_access and problem:
            draw_text(
                box,
                "Setting it up downloads packages. Allow Online Access under System > Network first.",
                icon="INTERNET_OFFLINE",
                width=100,
            )
            box.operator(
                "screen.userpref_show", text="Open System Preferences", icon="PREFERENCES"
            ).section = "SYSTEM"
        row = box.row(align=True)
        row.scale_y = 1.4 if managed and problem else 1.0
        if managed and problem:
            sub = row.row(align=True)
            sub.enabled = bpy.app.online_access
            draw_set_up(sub)
        else:
            if session.queue.backend is not None:
                row.operator("gentg.stop_backend", icon="PAUSE")
            if managed:
                row.operator("gentg.setup_backend", text="Repair", icon="FILE_REFRESH").mode = "REPAIR"
        if managed and backend.environment().marker() is not None:
            row.operator("gentg.setup_backend", text="Remove", icon="TRASH").mode = "REMOVE"

    def _draw_doctor(self, layout: bpy.types.UILayout) -> None:
        row = layout.row()
        row.enabled = not backend.problem() and session.task is None
        row.operator("gentg.doctor", icon="VIEWZOOM")
        if session.doctor:
            column = layout.box().column(align=True)
            column.scale_y = 0.8
            for line in session.doctor:
                draw_text(column, line, width=100)
            layout.operator("gentg.copy_doctor", icon="COPYDOWN")


def base_python(prefs: GentgPreferences | None) -> str:
    """The interpreter that the person chose for the environment, empty for finding one. Raises GentgError."""
    if prefs is None or not prefs.base_python:
        return ""
    path = bpy.path.abspath(prefs.base_python)
    if not path:
        raise GentgError("bad_request", "The chosen Python has no path.")
    return path


CLASSES = (GentgPreferences,)
