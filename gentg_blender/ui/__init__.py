"""Panels, operators, properties and preferences: thin. May import: bpy, `..core`, `..job`, `..tool`."""

from __future__ import annotations


def register() -> None:
    """Make everything known to Blender. Starts no process and touches no file."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Undo `register`, ending a running backend."""
    from . import registration

    registration.unregister()
