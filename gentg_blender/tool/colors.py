"""Uncertainty as bone colours: drivers from the animated confidence of each part of the body."""

from __future__ import annotations

import bpy

from ..core.confidence import body_part
from .action import CONFIDENCE_PREFIX

CERTAIN = (0.2, 0.95, 0.35)  # colour of a bone at confidence 1 ...
DOUBTFUL = (1.0, 0.2, 0.1)  # ... and at 0
_PARTS = ("normal", "select", "active")
_PATH = ".color.custom."
_BRIGHTER = {"normal": 0.0, "select": 0.25, "active": 0.45}  # towards white, so that selection still shows


def shows_confidence(ob: bpy.types.Object) -> bool:
    """Whether `show_confidence` is on for this armature."""
    return any(_is_ours(curve) for curve in _drivers(ob))


def show_confidence(ob: bpy.types.Object, show: bool) -> None:
    """Colour the bones from green (sure) to red (doubtful) as the animation plays, or by side again.

    Visible in pose mode, as all bone colours are. Bones of parts without confidence stay as they are.
    """
    for curve in _drivers(ob):
        if _is_ours(curve):
            ob.animation_data.drivers.remove(curve)
    for bone in ob.pose.bones:
        key = CONFIDENCE_PREFIX + body_part(bone.name)
        if key not in ob:
            continue
        if not show:
            bone.color.palette = "DEFAULT"  # the bone's own colour, that of its side
            continue
        bone.color.palette = "CUSTOM"
        for part in _PARTS:
            for channel in range(3):
                _drive(ob, bone, part, channel, key)


def _drive(ob: bpy.types.Object, bone: bpy.types.PoseBone, part: str, channel: int, key: str) -> None:
    lift = _BRIGHTER[part]
    sure, doubtful = (c + (1.0 - c) * lift for c in (CERTAIN[channel], DOUBTFUL[channel]))
    # by hand, since Blender finds no path for `driver_add` to a bone's colours
    path = f"{bone.path_from_id()}{_PATH}{part}"
    driver = (ob.animation_data or ob.animation_data_create()).drivers.new(path, index=channel).driver
    driver.type = "SCRIPTED"
    variable = driver.variables.new()
    variable.name, variable.type = "c", "SINGLE_PROP"
    variable.targets[0].id = ob
    variable.targets[0].data_path = f'["{bpy.utils.escape_identifier(key)}"]'
    # plain arithmetic, which Blender evaluates without Python and without asking for permission
    driver.expression = f"{doubtful:.4f} + c * {sure - doubtful:.4f}"


def _is_ours(curve: bpy.types.FCurve) -> bool:
    return _PATH in curve.data_path


def _drivers(ob: bpy.types.Object) -> list[bpy.types.FCurve]:
    return list(ob.animation_data.drivers) if ob.animation_data else []
