"""In Blender: a rig that CloudRig itself generated, retargeted to and read back. Run by test_real_rigs.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import free_frames, knees_forward, limb_errors, raises, rest_of, source, still  # noqa: E402

from gentg_blender.tool.retarget import RetargetSettings, recognise_rig, retarget_to_rig  # noqa: E402

FILE = os.environ["GENTG_CLOUDRIG"]
NAMES = {f"{role}.{s}": f"DEF-{name}.{s}" for s in "LR" for role, name in (
    ("upper_arm", "UpperArm_1"), ("forearm", "Forearm_1"), ("hand", "Wrist"), ("thigh", "Thigh_1"),
    ("shin", "Knee_1"), ("foot", "Foot"), ("toe", "Toes"))}  # fmt: skip


def human(height: float | None = None):
    """The metarig and the rig in the file, the object scaled to a body of this height."""
    with bpy.data.libraries.load(FILE) as (there, here):
        here.objects = [n for n in there.objects if n.startswith(("META-", "RIG-"))]
    for ob in here.objects:
        bpy.context.scene.collection.objects.link(ob)
    meta, rig = sorted(here.objects, key=lambda ob: ob.name)
    if height:
        rig.scale = [height / max(b.tail_local.z for b in meta.data.bones)] * 3
    bpy.context.view_layer.update()
    return meta, rig


def test_fk_and_ik_of_every_size():
    for height in (1.1, None, 2.4):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        meta, rig = human(height)
        walk, capture = source()
        rest, found = rest_of(rig), recognise_rig(rig)
        assert found.preset == "cloudrig" and not found.doubtful
        for controls in ("FK", "IK"):
            result = retarget_to_rig(
                bpy.context, walk, rig, settings=RetargetSettings(feet=False, controls=controls)
            )
            error = limb_errors(walk, rig, NAMES, free_frames(capture))
            result = retarget_to_rig(bpy.context, walk, rig, settings=RetargetSettings(controls=controls))
            worst = still(rig, NAMES, np.asarray(capture.contacts))
            knees_forward(rig, NAMES, free_frames(capture))
            print(f"  CloudRig {height or 'as it comes'} {controls}: limbs {error:.4f} degrees, planted {1000 * worst:.3f} mm, "
                  f"{result.bones} controls")  # fmt: skip
            assert error < 1.0 and not result.warnings, (error, result.warnings)
            bpy.context.scene.frame_set(10)
            value = rig.pose.bones["Properties"]["ik_left_thigh"]
            assert value == (controls == "IK")
        assert np.abs(rest_of(rig) - rest).max() == 0.0


def test_the_metarig_is_refused():
    meta, rig = human()
    walk, _ = source(0.5)
    raises(f"Select the generated rig '{rig.name}'", retarget_to_rig, bpy.context, walk, meta)
