"""In Blender: a known walk onto every preset's rig, of a child and of a giant, read back from the evaluated rig.

The rigs have the published names, hang together as published, stand in the rest pose they come in or in a T-pose, with
random rolls, in the rotation modes that Blender has. Generated Rigify and CloudRig have cases of their own.
"""

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
    rest_of,
    source,
    still,
    turned_up,
)
from mathutils import Matrix  # noqa: E402
from rig_factory import BY_FBX, REST_POSE  # noqa: E402

from gentg_blender.core.retarget.presets import PRESETS  # noqa: E402
from gentg_blender.tool.retarget import RetargetSettings, recognise_rig, retarget_to_rig  # noqa: E402

MODES = ("QUATERNION", "XYZ", "ZXY", "AXIS_ANGLE", "YZX", "XZY", "YXZ", "ZYX")


def published(preset: str, height: float, arms: float, seed: int):
    """An armature as that program's files bring it, and the true map."""
    fbx = preset in BY_FBX
    turn = (0.5**0.5, -(0.5**0.5), 0.0, 0.0) if fbx else (1.0, 0.0, 0.0, 0.0)
    bones, chains = make_rig(preset, height, arms, seed, turn=turn, unit=0.01 if fbx else 1.0, published=True)
    place = Matrix.Translation((1.0, 2.0, 0.0)) @ Matrix.Rotation(0.3 * seed, 4, "Z")
    target = build(bones, preset, place @ turned_up() if fbx else place)
    for n, bone in enumerate(target.pose.bones):
        bone.rotation_mode = MODES[(n + seed) % len(MODES)]
    return target, chains


def test_every_preset_at_every_size_and_rest_pose():
    lines = []
    for n, preset in enumerate(p.key for p in PRESETS):
        natural = REST_POSE.get(preset, (0.0, 0.0, 0.0))[0]
        for height, arms in ((1.1, natural or 0.8), (2.4, 0.0)):
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            walk, capture = source(2.6)
            target, chains = published(preset, height, arms, n + 1)
            rest = rest_of(target)
            found = recognise_rig(target)
            assert found.preset == preset and found.mapping.bones == chains, (preset, found.label)
            names = {r: c[0] for r, c in chains.items()}
            for s in "LR":
                names.setdefault(f"toe.{s}", names[f"foot.{s}"])
            result = retarget_to_rig(bpy.context, walk, target, settings=RetargetSettings(feet=False))
            error = limb_errors(walk, target, {r: names[r] for r in OURS}, free_frames(capture))
            assert error < 1.0 and not result.warnings, (preset, height, error, result.warnings)
            result = retarget_to_rig(bpy.context, walk, target)
            worst = still(target, names, np.asarray(capture.contacts))
            knees_forward(target, names, free_frames(capture))
            assert not result.warnings, (preset, height, result.warnings)
            assert np.abs(rest_of(target) - rest).max() == 0.0
            assert not any(b.constraints for b in target.pose.bones)
            lines.append((preset, height, error, 1000 * worst, 1000 * result.feet.lowered))
            print(
                "  {} {} m: limbs {:.4f} degrees, planted {:.3f} mm, hips lowered {:.0f} mm".format(
                    *lines[-1]
                )
            )
    print(
        f"  worst of {len(lines)} rigs: {max(x[2] for x in lines):.4f} degrees, {max(x[3] for x in lines):.3f} mm"
    )
