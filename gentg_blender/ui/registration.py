"""The list of classes, and the handlers that tie the backend's life to Blender's."""

from __future__ import annotations

import atexit

import bpy

from . import operators_backend, operators_estimate, operators_result, panels, panels_result, preferences, properties
from .session import session

_MODULES = (properties, preferences, operators_backend, operators_estimate, operators_result, panels, panels_result)


def register() -> None:
    for module in _MODULES:
        for cls in module.CLASSES:
            if cls is preferences.GentgPreferences and not preferences.is_addon():
                continue  # run from a script: Blender has no place for preferences then
            bpy.utils.register_class(cls)
    properties.attach()
    bpy.app.handlers.load_pre.append(_before_load)
    atexit.register(session.shut_down)


def unregister() -> None:
    session.shut_down()
    atexit.unregister(session.shut_down)
    if _before_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_before_load)
    properties.detach()
    for module in reversed(_MODULES):
        for cls in reversed(module.CLASSES):
            if hasattr(cls, "bl_rna") and cls.is_registered:
                bpy.utils.unregister_class(cls)


@bpy.app.handlers.persistent
def _before_load(*_) -> None:
    """Another file is about to be loaded: its jobs belong to the old one."""
    session.shut_down()
    session.forget()
