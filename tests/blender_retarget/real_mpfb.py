"""In Blender: MPFB's own rigs, real bones of real proportions, retargeted to and read back. Run by test_real_rigs.py."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import OURS, free_frames, knees_forward, limb_errors, rest_of, source, still  # noqa: E402

from gentg_blender.tool.retarget import RetargetSettings, recognise_rig, retarget_to_rig  # noqa: E402

FOLDER = Path(os.environ["GENTG_MPFB"])
PRESETS = {"default": "makehuman", "default_no_toes": "makehuman", "cmu_mb": "bvh_cmu", "game_engine": "unreal_4",
           "mixamo": "mixamo", "mixamo_unity": "mixamo"}  # fmt: skip


def load(name: str, height: float):
    """The rig as MPFB fits it to its base mesh, scaled to a body of this height."""
    bones = json.loads((FOLDER / f"rig.{name}.json").read_text())
    bones = bones.get("bones", bones)
    data = bpy.data.armatures.new(name)
    ob = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(ob)
    bpy.context.view_layer.objects.active = ob
    bpy.ops.object.mode_set(mode="EDIT")
    for key, bone in bones.items():
        edit = data.edit_bones.new(key)
        edit.head, edit.tail = bone["head"]["default_position"], bone["tail"]["default_position"]
        edit.roll = bone["roll"]
    for key, bone in bones.items():
        data.edit_bones[key].parent = data.edit_bones.get(bone["parent"])
        data.edit_bones[key].use_connect = bone["use_connect"]
    bpy.ops.object.mode_set(mode="OBJECT")
    ob.scale = [height / np.ptp([z for b in data.bones for z in (b.head_local.z, b.tail_local.z)])] * 3
    bpy.context.view_layer.update()
    return ob


def test_rigs_of_every_size():
    for name, preset in PRESETS.items():
        for height in (1.1, 1.7, 2.4):
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            walk, capture = source(2.6)
            rig = load(name, height)
            rest, found = rest_of(rig), recognise_rig(rig)
            assert found.preset == preset and not found.doubtful, (name, found)
            names = {r: found.mapping.bones[r][0] for r in OURS if r in found.mapping.bones}
            for s in "LR":
                names.setdefault(f"toe.{s}", names[f"foot.{s}"])
            retarget_to_rig(bpy.context, walk, rig, settings=RetargetSettings(feet=False))
            error = limb_errors(walk, rig, names, free_frames(capture))
            result = retarget_to_rig(bpy.context, walk, rig)
            worst = still(rig, names, np.asarray(capture.contacts))
            knees_forward(rig, names, free_frames(capture))
            print(f"  {name} {height} m: {len(found.mapping.bones)} parts, limbs {error:.4f} degrees, planted {1000 * worst:.3f} mm, "
                  f"hips lowered {1000 * result.feet.lowered:.0f} mm")  # fmt: skip
            assert error < 1.0 and not result.warnings, (name, error, result.warnings)
            assert np.abs(rest_of(rig) - rest).max() == 0.0
