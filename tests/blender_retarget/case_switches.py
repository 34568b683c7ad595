"""In Blender: rigs of add-ons that are not at hand, made by their names: their switches are turned to FK."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
from case_retarget import build, make_rig, source  # noqa: E402

from gentg_blender.core.retarget.rig import RigBone  # noqa: E402
from gentg_blender.tool.retarget import retarget_to_rig  # noqa: E402


def rig_with_properties(preset: str, properties: dict[str, dict[str, float]]):
    bones, _ = make_rig(preset, 1.8, 0.5, 3)
    bones += [RigBone(name, None, (1.0, 0, 0), (1.0, 0, 0.1), (1.0, 0, 0, 0)) for name in properties]
    rig = build(bones, preset)
    for name, values in properties.items():
        for key, value in values.items():
            rig.pose.bones[name][key] = value
    return rig


def check(preset: str, properties: dict[str, dict[str, float]], fk: float) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    walk, _ = source(0.5)
    rig = rig_with_properties(preset, properties)
    result = retarget_to_rig(bpy.context, walk, rig)
    assert not result.warnings, result.warnings
    bpy.context.scene.frame_set(5)
    for name, values in properties.items():
        for key in values:
            assert rig.pose.bones[name][key] == (fk if key != "other" else 0.5), (name, key)


def test_cloudrig_of_each_generation():
    rain = ("ik_spine", "ik_arm_left", "ik_arm_right", "ik_leg_left", "ik_leg_right")
    snow = ("ik_spine", "ik_left_upperarm", "ik_right_upperarm", "ik_left_thigh", "ik_right_thigh")
    for bone, names in (("Properties_IKFK", rain), ("Properties", snow)):
        check("cloudrig", {bone: {**dict.fromkeys(names, 1.0), "other": 0.5}}, 0.0)


def test_auto_rig_pro():
    hands = {f"c_{part}_ik.{side}": {"ik_fk_switch": 0.0} for part in ("hand", "foot") for side in "lr"}
    check("auto_rig_pro", hands, 1.0)
