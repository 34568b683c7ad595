"""Blender's side of GenTG. Imports bpy only inside register(), since the backend imports `core` without Blender."""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = ("ui", "cli")  # registered in this order, unregistered in reverse
_registered: list[ModuleType] = []


def register() -> None:
    """Called by Blender when the extension is switched on. On an error nothing stays registered."""
    try:
        for name in _MODULES:
            module = importlib.import_module(f".{name}", __name__)
            module.register()
            _registered.append(module)
    except BaseException:
        unregister()
        raise


def unregister() -> None:
    """Called by Blender when the extension is switched off."""
    while _registered:
        _registered.pop().unregister()
