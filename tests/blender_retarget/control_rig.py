"""Rigs of add-ons that are not at hand: their published control names on a mechanism as control rigs have it.

Each limb has FK controls, an IK chain that seeks a control and a pole, and deforming bones that copy the one or the
other as the switch says.
"""

from __future__ import annotations

import bpy
import numpy as np
from case_retarget import build, make_rig
from mathutils import Vector

LIMBS = {"hand": ("upper_arm", "forearm", "hand"), "foot": ("thigh", "shin", "foot")}


def deforming(role: str) -> str:
    """The bone that the skin would follow."""
    return f"skin {role}"


def control_rig(preset: str, height: float, arms: float, seed: int, names: dict[str, str], switch) -> tuple:
    """An armature object and its chains. `names`: what IK controls are called, "hand", "hand pole", "foot", "foot pole"
    and perhaps "foot toe", with {s}; `switch(limb, side)`: bone and property, and the value that stands for FK."""
    bones, chains = make_rig(preset, height, arms, seed, fingers=False, twists=False, published=True)
    rig = build(bones, preset)
    bpy.ops.object.mode_set(mode="EDIT")
    edit = rig.data.edit_bones
    root = chains["root"][0]
    sides = dict(zip(("L", "R"), ("l", "r") if preset.startswith("auto") else ("L", "R"), strict=True))
    todo = []

    def add(name, head, tail, parent, hinge):
        bone = edit.new(name)
        bone.head, bone.tail = head, tail
        bone.align_roll(hinge.cross(bone.tail - bone.head).normalized() * -1.0)  # its x is the hinge
        bone.parent = edit.get(parent)
        return name

    for s, spelled in sides.items():
        for limb, roles in LIMBS.items():
            upper, lower, end = (chains[f"{r}.{s}"][0] for r in roles)
            a, b, c = (edit[n].head.copy() for n in (upper, lower, end))
            hinge = (b - a).cross(c - b).normalized()
            above = edit[upper].parent.name
            mech = [add(f"mech {roles[0]}.{s}", a, b, above, hinge), add(f"mech {roles[1]}.{s}", b, c, f"mech {roles[0]}.{s}", hinge)]  # fmt: skip
            control = edit.new(names[limb].replace("{s}", spelled))
            control.head, control.tail, control.roll = edit[end].head, edit[end].tail, edit[end].roll
            control.parent = edit[root]
            bend = (b - 0.5 * (a + c)).normalized()
            pole = add(names[f"{limb} pole"].replace("{s}", spelled), b + 0.4 * height * bend,
                       b + 0.45 * height * bend, root, hinge)  # fmt: skip
            mech.append(control.name)
            toe = names.get(f"{limb} toe", "").replace("{s}", spelled)
            if limb == "foot":
                fk = chains[f"toe.{s}"][0]
                ik = edit.new(toe or f"mech toe.{s}")
                ik.head, ik.tail, ik.roll, ik.parent = edit[fk].head, edit[fk].tail, edit[fk].roll, control
                mech.append(ik.name)
            parent = above
            for role, source, fk in zip((*roles, "toe"), mech, (upper, lower, end, chains.get(f"toe.{s}", ("",))[0]),
                                        strict=False):  # fmt: skip
                bone = edit.new(deforming(f"{role}.{s}"))
                bone.head, bone.tail, bone.parent = edit[fk].head, edit[fk].tail, edit[parent]
                parent = bone.name
                todo.append(("copy", bone.name, source, fk, switch(limb, s)))
            todo.append(("ik", mech[1], control.name, pole, hinge))
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone, key, value in {t[4] for t in todo if t[0] == "copy"}:
        if bone not in rig.pose.bones:
            bpy.ops.object.mode_set(mode="EDIT")
            own = edit.new(bone)
            own.head, own.tail = (1.0, 0.0, 0.0), (1.0, 0.0, 0.1)
            bpy.ops.object.mode_set(mode="OBJECT")
        rig.pose.bones[bone][key] = 1.0 - value  # files come with IK in use
    for kind, *what in todo:
        _copy(rig, *what) if kind == "copy" else _ik(rig, *what)
    bpy.context.view_layer.update()
    return rig, chains


def _copy(rig, name: str, ik: str, fk: str, switch: tuple[str, str, float]) -> None:
    """First as the IK bone, then as the FK control by the switch."""
    bone, key, is_fk = switch
    for source, driven in ((ik, False), (fk, True)):
        c = rig.pose.bones[name].constraints.new("COPY_TRANSFORMS")
        c.target, c.subtarget = rig, source
        if driven:
            driver = c.driver_add("influence").driver
            variable = driver.variables.new()
            variable.name = "x"
            variable.targets[0].id = rig
            variable.targets[0].data_path = f'pose.bones["{bone}"]["{key}"]'
            driver.expression = "x" if is_fk else "1 - x"


def _ik(rig, lower: str, control: str, pole: str, hinge: Vector) -> None:
    c = rig.pose.bones[lower].constraints.new("IK")
    c.target, c.subtarget, c.pole_target, c.pole_subtarget, c.chain_count = rig, control, rig, pole, 2
    upper = rig.pose.bones[lower].parent.bone
    axes = upper.matrix_local.to_3x3()
    to_pole = axes.inverted() @ (rig.data.bones[pole].head_local - upper.head_local)
    # the axis (cos, 0, sin) of the upper bone seeks the pole
    c.pole_angle = float(np.arctan2(to_pole.z, to_pole.x))
