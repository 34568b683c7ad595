"""In Blender: clean-up steps measured on the evaluated armature, and that nothing is lost."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import build, make_rig, raises, read_back, rigify, source  # noqa: E402

from gentg_blender.tool.cleanup import (  # noqa: E402
    align_floor,
    make_loop,
    mirror_copy,
    reduce_action,
    revert,
    smooth_action,
    to_nla,
    toggle_in_place,
)
from gentg_blender.tool.retarget import RetargetSettings, retarget_to_rig  # noqa: E402

FRAMES = list(range(1, 61, 3))


def heads(ob, names=None):
    return read_back(ob, names or [b.name for b in ob.data.bones], FRAMES)


def test_smoothing_touches_only_its_parts():
    walk, _ = source(2.0)
    before, old = heads(walk), walk.animation_data.action
    result = smooth_action(bpy.context, walk, {"arms": 0.5, "hands": 0.5})
    after = heads(walk)
    names = [b.name for b in walk.data.bones]
    assert np.abs(after - before)[:, names.index("hand.L")].max() > 0.01
    assert np.abs(after - before)[:, names.index("foot.L")].max() < 1e-6
    assert result.action != old and old.use_fake_user
    assert revert(walk) == old and np.abs(heads(walk) - before).max() < 1e-6
    raises("no part named tail", smooth_action, bpy.context, walk, {"tail": 1.0})
    raises("not made by a clean-up", revert, walk)


def test_fewer_keys_within_the_bound():
    walk, _ = source(2.0)
    names = [b.name for b in walk.data.bones]

    def axes():
        out = []
        for f in FRAMES:
            bpy.context.scene.frame_set(f)
            out.append([b.matrix_basis.to_quaternion() for b in walk.pose.bones])
        return np.array(out)

    before, place = axes(), heads(walk, ["hips"])
    result = reduce_action(walk, 1.0, 5.0)
    after = axes()
    error = 2 * np.degrees(np.arccos(np.clip(np.abs(np.sum(before * after, -1)), 0, 1)))
    assert error.max() < 1.05 and len(names) == error.shape[1]
    assert np.linalg.norm(heads(walk, ["hips"]) - place, axis=-1).max() < 0.0051
    print(f"  {result.keys_before} keys became {result.keys_after}")
    assert result.keys_after < 0.6 * result.keys_before


def test_in_place_and_back():
    walk, _ = source(2.0)
    before = heads(walk)
    toggle_in_place(bpy.context, walk)
    assert np.ptp(heads(walk, ["hips"])[:, 0, 1]) < 0.1 < 1.5 < np.ptp(before[:, 0, 1])
    toggle_in_place(bpy.context, walk)
    assert np.abs(heads(walk) - before).max() < 1e-6


def test_floor():
    walk, capture = source(4.0)
    action = walk.animation_data.action
    from gentg_blender.tool.compat import channelbag

    toes = heads(walk, ["toe.L", "toe.R"])[:, :, 2].min()
    bone = walk.pose.bones["hips"]
    lift = bone.bone.matrix_local.to_3x3().inverted() @ __import__("mathutils").Vector((0, 0, 0.2))
    for k in range(3):
        curve = channelbag(action, action.slots[0]).fcurves.find('pose.bones["hips"].location', index=k)
        for p in curve.keyframe_points:
            p.co.y += lift[k]
        curve.update()
    assert heads(walk, ["toe.L", "toe.R"])[:, :, 2].min() > toes + 0.19
    align_floor(bpy.context, walk)
    assert abs(heads(walk, ["toe.L", "toe.R"])[:, :, 2].min() - toes) < 0.02


def test_loop_closes():
    walk, _ = source(2.0)
    make_loop(bpy.context, walk, 0.4)
    ends = read_back(walk, [b.name for b in walk.data.bones], [1, 60])
    travel = ends[1, :1] - ends[0, :1]
    assert abs(travel[0, 2]) < 1e-4 and abs(travel[0, 1]) > 1.0
    assert np.abs(ends[1] - travel - ends[0]).max() < 1e-4
    raises("shorter than the motion", make_loop, bpy.context, walk, 9.0)


def test_mirrored_copy():
    walk, _ = source(2.0)
    before = heads(walk, ["hand.L", "hand.R", "foot.L", "foot.R"])
    mirror_copy(bpy.context, walk)
    after = heads(walk, ["hand.R", "hand.L", "foot.R", "foot.L"])
    assert np.abs(after - before * [-1, 1, 1]).max() < 1e-3


CONTROLS = ["ORG-hand.L", "ORG-hand.R", "ORG-foot.L", "ORG-foot.R", "ORG-spine.003", "ORG-spine"]


def retargeted_rigify(controls="FK", seconds=2.0):
    walk, capture = source(seconds)
    meta, rig = rigify()
    retarget_to_rig(bpy.context, walk, rig, settings=RetargetSettings(controls=controls))
    return rig, heads(rig, CONTROLS)


def test_control_rigs_move_as_one_with_fk_and_ik():
    for controls in ("FK", "IK"):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        rig, before = retargeted_rigify(controls)
        limit = 1e-4 if controls == "FK" else 2e-3
        assert np.ptp(before[:, 5, 1]) > 1.5
        toggle_in_place(bpy.context, rig)
        after = heads(rig, CONTROLS)
        shift = after - before
        assert np.ptp(after[:, 5, 1]) < 0.1
        assert np.abs(shift - shift[:, 5:]).max() < limit  # every part of the body by the same
        toggle_in_place(bpy.context, rig)
        assert np.abs(heads(rig, CONTROLS) - before).max() < 1e-6
        mirror_copy(bpy.context, rig)
        swapped = heads(rig, [CONTROLS[i] for i in (1, 0, 3, 2, 4, 5)])
        assert np.abs(swapped - before * [-1, 1, 1]).max() < limit, np.abs(
            swapped - before * [-1, 1, 1]
        ).max()
        revert(rig)
        make_loop(bpy.context, rig, 0.4)
        ends = read_back(rig, CONTROLS, [1, 60])
        travel = (ends[1, 5] - ends[0, 5]) * [1, 1, 0]
        assert travel[1] < -1.0 and np.abs(ends[1] - travel - ends[0]).max() < limit
        revert(rig)
        smooth_action(bpy.context, rig, {"arms": 0.2, "other": 0.2})
        reduce_action(rig)


def test_a_control_rig_comes_down_to_the_floor():
    rig, before = retargeted_rigify(seconds=4.0)
    action = rig.animation_data.action
    from gentg_blender.tool.compat import channelbag

    for name in ("torso", "foot_ik.L", "foot_ik.R", "hand_ik.L", "hand_ik.R"):
        bone = rig.pose.bones[name].bone
        axes = np.array(bone.matrix_local.to_3x3()) if bone.use_local_location else np.eye(3)
        lift = axes.T @ [0.0, 0.0, 0.2]
        for k in range(3):
            curve = channelbag(action, action.slots[0]).fcurves.find(
                f'pose.bones["{name}"].location', index=k
            )
            for p in curve.keyframe_points:
                p.co.y += lift[k]
            curve.update()
    align_floor(bpy.context, rig)
    assert np.abs(heads(rig, CONTROLS) - before).max() < 0.02


def test_a_retargeted_plain_rig_with_a_root_bone():
    walk, _ = source(2.0)
    bones, chains = make_rig("unreal_4", 1.8, 0.5, 3)
    target = build(bones)
    target.pose.bones["pelvis"].rotation_mode = "ZXY"
    retarget_to_rig(bpy.context, walk, target, settings=RetargetSettings(root_motion="root"))
    names = ["pelvis", "hand_l", "hand_r", "foot_l", "foot_r"]
    before = heads(target, names)
    toggle_in_place(bpy.context, target)
    assert np.ptp(heads(target, names)[:, 0, 1]) < 0.15
    toggle_in_place(bpy.context, target)
    mirror_copy(bpy.context, target)
    after = heads(target, ["pelvis", "hand_r", "hand_l", "foot_r", "foot_l"])
    assert np.abs(after - before * [-1, 1, 1]).max() < 1e-4


def test_an_error_leaves_the_action_that_played():
    walk, _ = source(1.0)
    action, count = walk.animation_data.action, len(bpy.data.actions)
    raises("shorter than the motion", make_loop, bpy.context, walk, 9.0)
    raises("No part of the body", smooth_action, bpy.context, walk, {"arms": 0.0})
    assert walk.animation_data.action == action and len(bpy.data.actions) == count
    assert walk.animation_data.action_slot is not None


def test_pushed_down_plays_the_same():
    walk, _ = source(2.0)
    before = heads(walk)
    for track in walk.animation_data.nla_tracks:
        track.mute = True
    strip = to_nla(walk)
    assert walk.animation_data.action is None and strip.action is not None
    assert np.abs(heads(walk) - before).max() < 1e-5
    bones, chains = make_rig("mixamo")
    raises("has no animation", reduce_action, build(bones))
