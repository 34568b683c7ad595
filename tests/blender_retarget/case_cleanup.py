"""In Blender: clean-up steps measured on the evaluated armature, and that nothing is lost."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import angle, build, make_rig, raises, read_back, rigify, source  # noqa: E402

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


def test_control_rigs():
    walk, _ = source(2.0)
    meta, rig = rigify()
    retarget_to_rig(bpy.context, walk, rig, settings=RetargetSettings(mirror=True))
    left = read_back(rig, ["ORG-hand.L", "ORG-upper_arm.L"], FRAMES)
    right = read_back(walk, ["hand.R", "upper_arm.R"], FRAMES)
    a, b = left[:, 0] - left[:, 1], (right[:, 0] - right[:, 1]) * [-1, 1, 1]
    assert angle(a, b).max() < 5.0  # ends of two-bone chains of other proportions
    raises("is a control rig", toggle_in_place, bpy.context, rig)
    smooth_action(bpy.context, rig, {"arms": 0.2, "other": 0.2})
    reduce_action(rig)


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
