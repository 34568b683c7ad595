"""Controls of a target rig beyond its FK bones: switches, IK controls, and what rides on what."""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Vector

from ..core.retarget.body import ControlRig, control_rig
from ..core.retarget.keys import IkChain
from ..core.retarget.mapping import Mapping
from ..core.retarget.presets import PRESET, Switch
from ..core.retarget.recognise import squeeze
from ..core.retarget.rig import RigBone
from .rig_probe import is_control_rig, probe


def controls_of(ob: bpy.types.Object, mapping: Mapping) -> tuple[list[Switch], list[IkChain]]:
    """Switches and IK controls of the map's preset that this rig has, sides written out."""
    preset = PRESET.get(mapping.preset)
    if preset is None:
        return [], []
    switches, limbs = [], []
    for side, suffix in zip(preset.sides, (".L", ".R"), strict=True):
        for s in preset.switches:
            bone = ob.pose.bones.get(_found(ob, s.bone.replace("{s}", side)))
            if bone is not None and s.name in bone:
                switches.append(Switch(bone.name, s.name, s.value, s.ik_value))
        for limb in preset.ik:
            upper, lower = ("upper_arm", "forearm") if limb.end == "hand" else ("thigh", "shin")
            names = [_found(ob, n.replace("{s}", side)) for n in (limb.control, limb.pole, limb.toe)]
            if not names[0] or any(r + suffix not in mapping.bones for r in (upper, lower, limb.end)):
                continue
            up, hinge = _pole_axes(ob, names[1])
            toe_role = "toe" + suffix if names[2] and "toe" + suffix in mapping.bones else ""
            limbs.append(IkChain(upper + suffix, lower + suffix, limb.end + suffix, names[0], names[1], toe_role,
                                 names[2] if toe_role else "", up, hinge))  # fmt: skip
    return list(dict.fromkeys(switches)), limbs


def _pole_axes(ob: bpy.types.Object, pole: str) -> tuple[tuple | None, tuple | None]:
    """From the IK constraint that seeks this pole: the upper bone's axis that turns to it, and the
    lower bone's hinge, both in rest pose and armature space. (None, None) where there is none."""
    for bone in ob.pose.bones:
        for c in bone.constraints:
            if c.type == "IK" and pole and c.pole_subtarget == pole and bone.parent is not None:
                axes = bone.parent.bone.matrix_local.to_3x3()
                up = axes @ Vector((math.cos(c.pole_angle), 0.0, math.sin(c.pole_angle)))
                return tuple(up), tuple(bone.bone.matrix_local.to_3x3().col[0])
    return None, None


def stretchy_bones(ob: bpy.types.Object, limbs: list[IkChain]) -> list[str]:
    """Bones of the limbs' IK chains that Blender's solver may stretch."""
    poles = {limb.pole for limb in limbs if limb.pole}
    found = []
    for bone in ob.pose.bones:
        if any(c.type == "IK" and c.pole_subtarget in poles for c in bone.constraints):
            found += [b.name for b in (bone, bone.parent) if b is not None and b.ik_stretch > 0.0]
    return found


def _found(ob: bpy.types.Object, spellings: str) -> str:
    """The first of the names between `|` that the rig has, in whatever case and with whatever separators;
    "" where it has none."""
    if not spellings:
        return ""
    for name in spellings.split("|"):
        if name in ob.pose.bones:
            return name
    squeezed = {squeeze(b.name): b.name for b in reversed(ob.pose.bones)}
    return next((squeezed[s] for s in map(squeeze, spellings.split("|")) if s in squeezed), "")


def measured_rig(
    context, ob: bpy.types.Object, bones: list[RigBone], mapping: Mapping, switches: list[Switch],
    limbs: list[IkChain], warnings: list[str],
) -> ControlRig:  # fmt: skip
    """The rig reduced to what is keyed. Where constraints decide what rides on what it is measured,
    and controls that do so only in part are told in `warnings`."""
    wanted = mapping.used() + [n for limb in limbs for n in (limb.control, limb.pole, limb.toe) if n]
    parents = None
    if is_control_rig(ob, wanted):
        measured = probe(context, ob, wanted, switches)
        parents = measured.parents
        ignored = {n for limb in limbs for n in (limb.control, limb.pole, limb.toe) if n}
        for control, driver in measured.partial:
            if control not in ignored and driver not in ignored:
                warnings.append(
                    f"{control} follows {driver} only in part: its constraints may pull it off the motion."
                )
    return control_rig(bones, wanted, np.array(ob.matrix_world), parents, f"'{ob.name}'")
