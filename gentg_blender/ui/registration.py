"""The list of classes, and the handlers that tie the backend's life to Blender's."""

from __future__ import annotations

import atexit

import bpy

from . import (
    map_properties,
    operators_backend,
    operators_cleanup,
    operators_estimate,
    operators_result,
    operators_retarget,
    panels,
    panels_cleanup,
    panels_result,
    panels_retarget,
    people,
    preferences,
    properties,
)
from .session import session

_MODULES = (properties, map_properties, preferences, operators_backend, operators_estimate, operators_result,
            operators_retarget, operators_cleanup, people, panels, panels_result, panels_retarget, panels_cleanup)  # fmt: skip


_registered: list[type] = []


def register() -> None:
    """On an error nothing stays registered."""
    try:
        for module in _MODULES:
            for cls in module.CLASSES:
                if cls is preferences.GentgPreferences and not preferences.is_addon():
                    continue  # run from a script: Blender has no place for preferences then
                bpy.utils.register_class(cls)
                _registered.append(cls)
        properties.attach()
        map_properties.attach()
        operators_cleanup.attach()
    except BaseException:
        _remove_classes()
        raise
    bpy.app.handlers.load_pre.append(_before_load)
    atexit.register(_at_exit)


def unregister() -> None:
    session.shut_down()
    atexit.unregister(_at_exit)
    bpy.app.handlers.load_pre.remove(_before_load)
    operators_cleanup.detach()
    people.detach()
    map_properties.detach()
    properties.detach()
    _remove_classes()


def _remove_classes() -> None:
    while _registered:
        bpy.utils.unregister_class(_registered.pop())


def _at_exit() -> None:
    """Python ends without `unregister`, as it does where bpy is a module: Blender's data is gone by now."""
    session.shut_down(data=False)


@bpy.app.handlers.persistent
def _before_load(*_) -> None:
    """Another file is about to be loaded: its jobs belong to the old one."""
    session.shut_down()
    session.forget()
