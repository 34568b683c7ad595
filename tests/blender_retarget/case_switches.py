"""In Blender: rigs of add-ons that are not at hand, made by their names: their switches are turned, FK and IK keyed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import (  # noqa: E402
    OURS,
    build,
    free_frames,
    knees_forward,
    limb_errors,
    make_rig,
    raises,
    rest_of,
    source,
    still,
)
from control_rig import control_rig, deforming  # noqa: E402

from gentg_blender.core.retarget.rig import RigBone  # noqa: E402
from gentg_blender.tool.retarget import RetargetSettings, recognise_rig, retarget_to_rig  # noqa: E402


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


# what IK controls are called, and what turns a limb to FK
MADE = {
    "auto_rig_pro": (
        {"hand": "c_hand_ik.{s}", "hand pole": "c_arms_pole.{s}", "foot": "c_foot_ik.{s}", "foot pole": "c_leg_pole.{s}",
         "foot toe": "c_toes_ik.{s}"},
        lambda limb, side: (f"c_{limb}_ik.{side.lower()}", "ik_fk_switch", 1.0),
    ),
    "cloudrig": (  # as in Snow's and older files; real_cloudrig.py has today's
        {"hand": "IK-MSTR-Wrist.{s}", "hand pole": "IK-POLE-UpperArm.{s}", "foot": "IK-MSTR-Foot.{s}",
         "foot pole": "IK-POLE-Thigh.{s}"},
        lambda limb, side: ("Properties", f"ik_{'left' if side == 'L' else 'right'}_"
                            f"{'upperarm' if limb == 'hand' else 'thigh'}", 0.0),
    ),
}  # fmt: skip


def test_fk_and_ik_with_the_rigs_own_switches():
    names = {r: deforming(r) for r in OURS}
    for preset, (controls, switch) in MADE.items():
        for height, arms, seed in ((1.1, 0.7, 3), (2.4, 0.3, 4)):
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            walk, capture = source(2.6)
            rig, _ = control_rig(preset, height, arms, seed, controls, switch)
            rest = rest_of(rig)
            assert recognise_rig(rig).preset == preset
            for use in ("FK", "IK"):
                free = RetargetSettings(feet=False, controls=use)
                result = retarget_to_rig(bpy.context, walk, rig, settings=free)
                assert not result.warnings, result.warnings
                error = limb_errors(walk, rig, names, free_frames(capture))
                bone, key, is_fk = switch("foot", "L")
                assert rig.pose.bones[bone][key] == (is_fk if use == "FK" else 1.0 - is_fk)
                retarget_to_rig(bpy.context, walk, rig, settings=RetargetSettings(controls=use))
                worst = still(rig, names, np.asarray(capture.contacts))
                knees_forward(rig, names, free_frames(capture))
                print(
                    f"  {preset} {height} m {use}: limbs {error:.4f} degrees, planted {1000 * worst:.3f} mm"
                )
                assert error < 1.0, (preset, height, use, error)
            assert np.abs(rest_of(rig) - rest).max() == 0.0


def test_a_cloudrig_metarig_is_refused_and_its_rig_is_not():
    walk, _ = source(0.5)
    meta, rig = (build(make_rig("cloudrig")[0], name) for name in ("META-Human", "RIG-Human"))
    meta["cloudrig"] = {"enabled": True}
    raises("'META-Human' is a CloudRig metarig", retarget_to_rig, bpy.context, walk, meta)
    raises("Press Generate Rig", retarget_to_rig, bpy.context, walk, meta)
    rig.data["is_generated_cloudrig"] = True
    raises("Select the generated rig 'RIG-Human'", retarget_to_rig, bpy.context, walk, meta)
    retarget_to_rig(bpy.context, walk, rig)
