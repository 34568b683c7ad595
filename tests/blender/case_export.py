"""In Blender: what was exported, read back by both FBX importers and from the saved file."""

from __future__ import annotations

import bpy
import numpy as np
from case_import import posed, raises, truth
from mathutils import Vector
from walking import HEIGHT, walking

from gentg_blender.core.skeleton import BONES
from gentg_blender.tool import export
from gentg_blender.tool.result import ImportSettings, import_capture

IMPORTERS = {
    "python": lambda path: bpy.ops.import_scene.fbx(filepath=path, anim_offset=0.0),
    "c++": lambda path: bpy.ops.wm.fbx_import(filepath=path, anim_offset=0.0),
}


def fresh(fps: int = 30, base: float = 1.0):
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = fps, base


def round_trip(tmp, fps: float, importer: str) -> dict[str, float]:
    c = walking(60 / fps, fps, gap=(20, 24))
    fresh()
    r = import_capture(bpy.context, c, ImportSettings(name="walk", set_rate=True))
    rate = (bpy.context.scene.render.fps, bpy.context.scene.render.fps_base)
    path = export.export_fbx(bpy.context, tmp / "walk.fbx", r.armature)
    assert [p.name for p in tmp.iterdir()] == ["walk.fbx"]
    fresh(*rate)
    assert IMPORTERS[importer](str(path)) == {"FINISHED"}
    arms = [o for o in bpy.data.objects if o.type == "ARMATURE"]
    assert len(arms) == 1
    ob = arms[0]
    assert {b.name for b in ob.data.bones} == set(BONES)
    for i, name in enumerate(BONES):
        parent = ob.data.bones[name].parent
        assert (parent.name if parent else None) == (
            BONES[c.bone_parents[i]] if c.bone_parents[i] >= 0 else None
        )
    first, last = ob.animation_data.action.frame_range
    want = truth(c)
    worst = 0.0
    # the Python importer multiplies seconds by `fps` alone and forgets fps_base
    stretch = bpy.context.scene.render.fps_base if importer == "python" else 1.0
    for i in (0, 7, 19, 30, 59):
        heads = posed(ob, first + i * stretch)[:, 0]
        worst = max(worst, np.abs(heads - want[i, :, 0]).max())
    crown = (ob.matrix_world @ ob.data.bones["head"].tail_local).z
    world = ob.matrix_world.to_3x3() @ (
        ob.data.bones["toe.L"].tail_local - ob.data.bones["foot.L"].head_local
    )
    left = (ob.matrix_world @ ob.data.bones["hand.L"].head_local).x
    assert world.y < -0.1 and abs(world.x) < 0.01, "the feet point to -Y"
    assert left > 0.5, "left is +X"
    rest = max(np.linalg.norm(ob.matrix_world @ ob.data.bones[n].head_local - Vector(c.rest_head[i]))
               for i, n in enumerate(BONES))  # fmt: skip
    assert rest < 1e-3, f"the rest pose is off by {rest} m"
    return {"frames": last - first, "first": first, "joints": worst, "height": crown}


def test_fbx_round_trip(tmp):
    for importer in IMPORTERS:
        for fps in (30.0, 29.97, 24.0):
            folder = tmp / f"{importer}{fps}"
            folder.mkdir()
            got = round_trip(folder, fps, importer)
            print(
                f"FBX, {importer} importer, {fps} fps: {got['frames']:.2f} frames of 59, joints off by at most "
                f"{got['joints'] * 1000:.4f} mm, height {got['height']:.4f} m of {HEIGHT}"
            )
            assert abs(got["frames"] - 59) <= 1, got
            assert got["joints"] < 1e-3, got
            assert abs(got["height"] - HEIGHT) < 0.01 * HEIGHT, got


def test_export_changes_nothing_in_the_scene(tmp):
    fresh()
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 500, 600
    scene.frame_set(550)
    r = import_capture(bpy.context, walking(1.0), ImportSettings())
    other = bpy.data.objects.new("other", None)
    scene.collection.objects.link(other)
    r.armature.select_set(False)
    other.select_set(True)
    bpy.context.view_layer.objects.active = other
    export.export_fbx(bpy.context, tmp / "w.fbx", r.armature)
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (500, 600, 550)
    assert bpy.context.view_layer.objects.active == other
    assert [o for o in bpy.context.view_layer.objects if o.select_get()] == [other]
    fresh()
    bpy.ops.import_scene.fbx(filepath=str(tmp / "w.fbx"))
    assert [o.type for o in bpy.data.objects] == ["ARMATURE"]


def test_export_says_what_is_missing(tmp):
    r = import_capture(bpy.context, walking(0.2), ImportSettings())
    raises("bad_request", export.export_fbx, bpy.context, tmp / "a.fbx", r.camera)
    r.armature.animation_data_clear()
    raises("bad_request", export.export_fbx, bpy.context, tmp / "a.fbx", r.armature)
    (tmp / "file").write_text("")
    r = import_capture(bpy.context, walking(0.2), ImportSettings())
    raises("not_writable", export.export_fbx, bpy.context, tmp / "file" / "a.fbx", r.armature)
    raises("not_writable", export.save_blend, tmp / "file" / "a.blend")
    assert [p.name for p in tmp.iterdir()] == ["file"]


def test_saved_file_opens_with_the_motion(tmp):
    c = walking(1.0)
    r = import_capture(bpy.context, c, ImportSettings(name="walk", set_rate=True, set_range=True))
    frame = r.first_frame
    export.save_blend(tmp / "walk.blend")
    export.save_blend(tmp / "walk.blend")
    assert [p.name for p in tmp.iterdir()] == ["walk.blend"], "no backup, no half file"
    bpy.ops.wm.open_mainfile(filepath=str(tmp / "walk.blend"))
    ob = bpy.data.objects["walk"]
    assert ob["gentg_clip"] == "walk"
    np.testing.assert_allclose(posed(ob, frame + 12), truth(c)[12], atol=2e-6)
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end, scene.render.fps) == (1, 30, 30)
    assert ob.animation_data.nla_tracks["GenTG before"].mute
