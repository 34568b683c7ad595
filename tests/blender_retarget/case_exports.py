"""In Blender: every preset read back by Blender's own importers, from captures and from control rigs."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import build, make_rig, raises, read_back, rigify, source, striding  # noqa: E402

from gentg_blender.tool.export import motion_range  # noqa: E402
from gentg_blender.tool.exporters import PRESET, export_armature, export_many, export_presets, has_usd  # noqa: E402
from gentg_blender.tool.result import ImportSettings, import_capture  # noqa: E402
from gentg_blender.tool.retarget import RetargetSettings, retarget_to_rig  # noqa: E402
from gentg_blender.tool.rig_reader import key_frames  # noqa: E402

IMPORTERS = {
    "fbx python": lambda p: bpy.ops.import_scene.fbx(filepath=p, anim_offset=0.0, automatic_bone_orientation=False),
    "fbx c++": lambda p: bpy.ops.wm.fbx_import(filepath=p, anim_offset=0.0),
    "bvh": lambda p: bpy.ops.import_anim.bvh(filepath=p, global_scale=0.01, axis_forward="-Z", axis_up="Y",
                                             update_scene_fps=False),
    "gltf": lambda p: bpy.ops.import_scene.gltf(filepath=p),
    "usd": lambda p: bpy.ops.wm.usd_import(filepath=p),
}  # fmt: skip


def imported(how, path):
    before = set(bpy.data.objects)
    IMPORTERS[how](str(path))
    obs = [o for o in set(bpy.data.objects) - before if o.type == "ARMATURE"]
    assert len(obs) == 1, (how, obs)
    return obs[0]


def readers(preset):
    return ["fbx python", "fbx c++"] if preset.startswith("fbx") else [preset]


def compare(ob, names, truth, frames, limit=0.002):
    keys = key_frames(ob)
    shift = keys[0] - frames[0]
    assert abs((keys[-1] - keys[0]) - (frames[-1] - frames[0])) <= 1.0, (keys[0], keys[-1])
    got = read_back(ob, names, [f + shift for f in frames])
    worst = float(np.abs(got - truth).max())
    assert worst < limit, worst
    return worst


def test_captures_come_back():
    for preset in [p.key for p in export_presets()]:
        for how in readers(preset):
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            walk, capture = source(1.0)
            state = (
                bpy.context.scene.frame_start,
                bpy.context.scene.frame_end,
                bpy.context.scene.frame_current,
            )
            selected = [o.name for o in bpy.context.view_layer.objects if o.select_get()]
            names = [b.name for b in walk.data.bones]
            frames = list(range(1, 31))
            truth = read_back(walk, names, frames)
            bpy.context.scene.frame_set(state[2])
            path = Path(bpy.app.tempdir) / (
                "out" + next(p.suffix for p in export_presets() if p.key == preset)
            )
            export_armature(bpy.context, walk, path, preset)
            scene = bpy.context.scene
            assert (scene.frame_start, scene.frame_end, scene.frame_current) == state
            assert [o.name for o in bpy.context.view_layer.objects if o.select_get()] == selected
            assert walk.data.pose_position == "POSE"
            back = imported(how, path)
            theirs = (
                [n.replace(".", "_") for n in names] if preset == "usd" else names
            )  # USD has no dots in names
            worst = compare(back, theirs, truth, frames)
            top = max((back.matrix_world @ b.head_local).z for b in back.data.bones)
            ours = max((walk.matrix_world @ b.head_local).z for b in walk.data.bones)
            print(f"  {preset} by {how}: {1000 * worst:.3f} mm")
            if preset != "bvh":  # a BVH's rest pose stands at its own origin
                assert abs(top - ours) < 0.01 * ours


def at_seconds(ob, names, seconds, rate):
    """World heads (T, N, 3) at times of a clock that counts frames at `rate`, between frames too."""
    out = np.zeros((len(seconds), len(names), 3))
    for t, frame in enumerate(np.asarray(seconds) * rate):
        bpy.context.scene.frame_set(int(frame), subframe=float(frame % 1.0))
        posed = ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
        out[t] = [posed.matrix_world @ posed.pose.bones[n].head for n in names]
    return out


def test_ntsc_rates_keep_their_seconds(tmp):
    """Imported into a scene of a whole rate: an error of 0.1 % would be a frame and a half here and more.

    The older FBX importer is right with the preset made for it, and the newer one with either."""
    both, names = ("fbx python", "fbx c++"), ["hips", "hand.L", "foot.R"]
    for fps, preset, hows in (
        (30, "fbx_blender", ["fbx c++"]), (24, "gltf", ["gltf"]), (24, "fbx_blender_legacy", both),
        (30, "fbx_blender_legacy", both), (60, "fbx_blender_legacy", both),
    ):  # fmt: skip
        true, path = fps / 1.001, tmp / f"walk{PRESET[preset].suffix}"
        for how in hows:
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            capture = striding(60.0 if fps < 60 else 30.0, true)
            walk = import_capture(
                bpy.context, capture, ImportSettings(name="walk", camera=False, set_rate=True)
            ).armature
            render = bpy.context.scene.render
            ours = key_frames(walk) / true
            if how == hows[0]:
                export_armature(bpy.context, walk, path, preset)
            assert render.fps == fps and abs(render.fps_base - 1.001) < 1e-6
            render.fps, render.fps_base = 30, 1.0
            back = imported(how, path)
            rate = render.fps / render.fps_base  # importers set it to the file's
            theirs = key_frames(back) / rate
            some = theirs[:: len(theirs) // 12]
            off = at_seconds(back, names, some, rate) - at_seconds(
                walk, names, some - theirs[0] + ours[0], true
            )
            got, want = np.ptp(theirs), np.ptp(ours)
            print(
                f"  {preset} at {true:.3f} by {how}: {got:.4f} s of {want:.4f} s, joints {1000 * np.abs(off).max():.2f} mm"
            )
            assert abs(got - want) < 1.0 / true and np.abs(off).max() < 0.002, (preset, how)
            assert preset != "fbx_blender_legacy" or (render.fps, render.fps_base) == (fps, 1.0)


def test_control_rigs_export_their_deforming_bones(tmp):
    for motion_on in ("root", "hips"):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        walk, capture = source(1.0)
        meta, rig = rigify()
        retarget_to_rig(bpy.context, walk, rig, settings=RetargetSettings(root_motion=motion_on))
        names = [
            f"DEF-{n}"
            for n in ("spine", "spine.003", "upper_arm.L", "forearm.R.001", "hand.L", "shin.R", "foot.L")
        ]
        frames = list(range(1, 31))
        truth = read_back(rig, names, frames)
        for preset in export_presets():
            if preset.key.startswith("fbx_blender") or (motion_on == "hips" and preset.key != "bvh"):
                continue  # all bones as they are; formats in which any bone may travel
            path = tmp / f"rig_{preset.key}{preset.suffix}"
            export_armature(bpy.context, rig, path, preset.key)
            back = imported(readers(preset.key)[0], path)
            if preset.key != "gltf":
                assert not any(b.name.startswith(("MCH-", "VIS_")) for b in back.data.bones)
            theirs = [re.sub(r"\W", "_", n) for n in names] if preset.key == "usd" else names
            worst = compare(back, theirs, truth, frames)
            print(f"  Rigify, motion on the {motion_on}, {preset.key}: {1000 * worst:.3f} mm")


def test_bvh_of_a_rig_whose_root_has_more_than_the_hips(tmp):
    """The root stays then, and the hips have position channels of their own."""
    walk, capture = source(1.0)
    bones, chains = make_rig("unreal_5", 1.8, 0.5, 3)
    bones.append(replace(bones[0], name="ik_foot_root", parent="root"))
    rig = build(bones)
    retarget_to_rig(bpy.context, walk, rig)
    names, frames = ["pelvis", "head", "hand_l", "foot_r"], list(range(1, 31))
    truth = read_back(rig, names, frames)
    export_armature(bpy.context, rig, tmp / "ue.bvh", "bvh")
    back = imported("bvh", tmp / "ue.bvh")
    assert back.data.bones["pelvis"].parent.name == "root"
    compare(back, names, truth, frames)


def test_batches_go_on_after_a_failure(tmp):
    walk, capture = source(0.5)
    bones, chains = make_rig("mixamo")
    target = build(bones, "still")
    report = export_many(bpy.context, [target, walk], tmp, "bvh")
    assert [p.name for p in report.written] == ["walk.bvh"] and "no animation" in report.failed["still"]
    raises("no export preset", export_many, bpy.context, [walk], tmp, "obj")


def test_wrong_exports_are_refused(tmp):
    walk, capture = source(0.5)
    cube = bpy.data.objects.new("Cube", bpy.data.meshes.new("Cube"))
    raises("a mesh", export_armature, bpy.context, cube, tmp / "a.fbx")
    raises("ends before", export_armature, bpy.context, walk, tmp / "a.fbx", "fbx_unity", (5, 1))
    if not has_usd():
        raises("without USD", export_armature, bpy.context, walk, tmp / "a.usdc", "usd")
    assert not list(tmp.iterdir()) and motion_range(walk) == (1, 15)
