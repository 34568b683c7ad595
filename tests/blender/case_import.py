"""In Blender: what `import_capture` makes, measured against the walk's own forward kinematics."""

from __future__ import annotations

import time

import bpy
import numpy as np
from walking import HEIGHT, forward, walking

from gentg_blender.core.contract import GentgError
from gentg_blender.core.rotations import quat_to_matrix
from gentg_blender.core.skeleton import BONES
from gentg_blender.core.timing import TimeMap
from gentg_blender.tool import before_after_layers, colors, compat, result
from gentg_blender.tool.result import ImportSettings, import_capture


def raises(code: str, call, *args, **kwargs) -> GentgError:
    try:
        call(*args, **kwargs)
    except GentgError as error:
        assert error.code == code, f"{error.code} instead of {code}: {error}"
        return error
    raise AssertionError(f"no error, {code} was due")


def posed(ob, frame: float) -> np.ndarray:
    """(B, 2, 3) world heads and tails at a scene frame."""
    bpy.context.scene.frame_set(int(np.floor(frame)), subframe=float(frame % 1.0))
    return np.array(
        [[ob.matrix_world @ ob.pose.bones[n].head, ob.matrix_world @ ob.pose.bones[n].tail] for n in BONES]
    )


def truth(c, before: bool = False) -> np.ndarray:
    local, root = (c.local_rotation_tgt, c.root_tgt) if before else (c.local_rotation, c.root)
    heads, tails, _ = forward(c.rest_head, c.rest_tail, c.rest_rotation, local, root)
    return np.stack([heads, tails], axis=2)


def curves_of(action):
    return list(compat.channelbag(action, action.slots[0]).fcurves)


def snapshot() -> dict:
    scene = bpy.context.scene
    kinds = ("objects", "armatures", "actions", "cameras", "images", "collections", "meshes")
    render = scene.render
    return {
        **{k: sorted(b.name for b in getattr(bpy.data, k)) for k in kinds},
        "markers": [(m.name, m.frame) for m in scene.timeline_markers],
        "render": (render.fps, render.fps_base, render.resolution_x, render.resolution_y, render.pixel_aspect_x),
        "range": (scene.frame_start, scene.frame_end), "camera": scene.camera,
    }  # fmt: skip


def test_rest_pose_is_the_captures():
    c = walking(0.5)
    ob = import_capture(bpy.context, c, ImportSettings()).armature
    rest = quat_to_matrix(c.rest_rotation)
    assert [b.name for b in ob.data.bones] == list(BONES)
    for i, name in enumerate(BONES):
        bone = ob.data.bones[name]
        np.testing.assert_allclose(np.array(bone.matrix_local.to_3x3()), rest[i], atol=2e-5, err_msg=name)
        np.testing.assert_allclose(bone.head_local, c.rest_head[i], atol=1e-6)
        np.testing.assert_allclose(bone.tail_local, c.rest_tail[i], atol=1e-6)
        parent = c.bone_parents[i]
        assert (bone.parent.name if bone.parent else None) == (BONES[parent] if parent >= 0 else None)
    assert ob.data.bones["forearm.L"].use_connect and not ob.data.bones["thigh.L"].use_connect
    assert all(not any(b.lock_location) == (b.name == "hips") for b in ob.pose.bones)
    assert {len(k.bones) for k in ob.data.collections} == {5, 8}
    assert bpy.context.view_layer.objects.active == ob and ob.mode == "OBJECT"


def test_pose_is_the_captures_on_every_kind_of_frame():
    c = walking(2.0)
    want = truth(c)
    r = import_capture(bpy.context, c, ImportSettings(set_rate=True))
    for i in range(0, 60, 7):
        np.testing.assert_allclose(posed(r.armature, 1 + i), want[i], atol=2e-6)
    assert (r.first_frame, r.last_frame) == (1, 60)


def test_scene_rate_differs_and_is_left_alone():
    c = walking(2.0, 60.0)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = 24, 1.001
    before = snapshot()["render"]
    r = import_capture(bpy.context, c, ImportSettings(start_frame=101))
    assert snapshot()["render"] == before and r.changes == [("camera", None, r.camera)]
    assert len(r.warnings) == 1 and "60.00" in r.warnings[0] and "23.98" in r.warnings[0]
    rate, want = 24 / 1.001, truth(c)
    for frame in (101, 110, 125, 147):
        i = (frame - 101) / rate * 60
        low, w = int(i), i % 1
        # between samples 1/60 s apart a straight line errs by well under a millimetre
        np.testing.assert_allclose(
            posed(r.armature, frame), (1 - w) * want[low] + w * want[low + 1], atol=1e-3
        )
    frames = {k.co[0] for k in curves_of(r.action)[0].keyframe_points}
    assert frames == set(range(101, 150)), frames  # 1.983 s end nearest to 149


def test_source_keys_keep_sub_frame_times():
    times = np.cumsum(np.random.default_rng(0).choice([1 / 30, 1 / 15, 1 / 60], 40))
    c = walking(timestamps=times)
    r = import_capture(bpy.context, c, ImportSettings(keys="source"))
    got = [k.co[0] for k in curves_of(r.action)[0].keyframe_points]
    np.testing.assert_allclose(got, 1 + (times - times[0]) * 24, atol=1e-3)
    np.testing.assert_allclose(posed(r.armature, got[-1]), truth(c)[-1], atol=2e-3)


def test_strip_map_places_and_limits_the_keys():
    c = walking(4.0)
    strip = TimeMap.linear(30.0, frame=200.0, time=1.0, speed=2.0, first=200, last=220)
    r = import_capture(bpy.context, c, ImportSettings(time_map=strip))
    assert (r.first_frame, r.last_frame) == (200, 220)
    np.testing.assert_allclose(posed(r.armature, 210), truth(c)[30 + 20], atol=2e-6)


def test_gap_holds_the_pose_without_keys_and_is_marked():
    c = walking(2.0, gap=(20, 30))
    poison = np.array([1.0, 0, 0, 0])
    c.local_rotation[20:31] = poison
    c.root[20:31] = 100.0
    want = truth(c)
    r = import_capture(bpy.context, c, ImportSettings(name="walk", set_rate=True))
    for curve in curves_of(r.action):
        if curve.data_path.startswith("pose"):
            inside = [k.co[0] for k in curve.keyframe_points if 20.5 < k.co[0] < 31.5]
            assert not inside, (curve.data_path, inside)
    for frame in (20, 21, 25.5, 31):
        np.testing.assert_allclose(posed(r.armature, frame), want[19], atol=2e-6)
    np.testing.assert_allclose(posed(r.armature, 32), want[31], atol=2e-6)
    markers = [(m.frame, m.name) for m in bpy.context.scene.timeline_markers]
    assert sorted(markers) == [(21, "walk: not seen"), (32, "walk: seen again")]
    assert r.gaps == [(20.0, 32.0)]
    bpy.context.scene.frame_set(25)
    assert r.armature["confidence_leg.L"] == 0.0 and r.armature["contact_heel.L"] is False


def test_person_only_in_the_middle_is_marked_at_both_ends():
    c = walking(2.0)
    c.seen[:10] = False
    c.seen[50:] = False
    r = import_capture(bpy.context, c, ImportSettings(name="w", set_rate=True, set_range=True))
    markers = sorted((m.frame, m.name) for m in bpy.context.scene.timeline_markers)
    assert markers == [(11, "w: seen again"), (51, "w: not seen")]
    assert (r.first_frame, r.last_frame) == (11, 50)
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (11, 50)


def test_one_frame():
    c = walking(1 / 30)
    r = import_capture(bpy.context, c, ImportSettings(set_rate=True, set_range=True))
    assert len(c) == 1 and (r.first_frame, r.last_frame) == (1, 1)
    np.testing.assert_allclose(posed(r.armature, 1), truth(c)[0], atol=2e-6)


def test_confidence_and_contacts_are_animated():
    c = walking(2.0)
    r = import_capture(bpy.context, c, ImportSettings(set_rate=True))
    got, planted = [], []
    for frame in range(1, 61):
        bpy.context.scene.frame_set(frame)
        got.append(r.armature["confidence_arm.L"])
        planted.append([bool(r.armature[n]) for n in ("contact_heel.L", "contact_toe.L", "contact_heel.R")])
        assert r.armature["confidence_arm.R"] > 0.98
    worst = int(np.argmax(c.sigma[:, list(c.names).index("l_wrist")]))
    assert np.argmin(got) == worst and min(got) < 0.7 and max(got) > 0.98
    np.testing.assert_array_equal(planted, c.contacts[:, :3])
    keys = {q.data_path: len(q.keyframe_points) for q in curves_of(r.action)}
    assert keys['["contact_heel.L"]'] == 1 + np.count_nonzero(np.diff(c.contacts[:, 0]))


def test_bone_colours_follow_the_confidence():
    c = walking(2.0)
    assert colors.shows_confidence(import_capture(bpy.context, c, ImportSettings(name="default")).armature)
    ob = import_capture(bpy.context, c, ImportSettings(set_rate=True, show_confidence=False)).armature
    worst = int(np.argmax(c.sigma[:, list(c.names).index("l_wrist")]))
    assert not colors.shows_confidence(ob)
    for _ in range(2):  # switching it on twice adds nothing
        colors.show_confidence(ob, True)
    assert colors.shows_confidence(ob) and len(ob.animation_data.drivers) == 9 * len(BONES)
    for frame in (1, worst + 1):
        bpy.context.scene.frame_set(frame)
        posed_bones = ob.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones
        for bone, part in (("forearm.L", "arm.L"), ("shin.R", "leg.R")):
            sure = ob["confidence_" + part]
            want = [d + sure * (s - d) for s, d in zip(colors.CERTAIN, colors.DOUBTFUL)]
            np.testing.assert_allclose(posed_bones[bone].color.custom.normal, want, atol=3 / 255)
    assert (
        posed_bones["forearm.L"].color.custom.normal[0] > posed_bones["shin.R"].color.custom.normal[0] + 0.1
    )
    colors.show_confidence(ob, False)
    assert not colors.shows_confidence(ob) and not ob.animation_data.drivers
    assert (
        ob.pose.bones["hand.L"].color.palette == "DEFAULT"
        and ob.data.bones["hand.L"].color.palette == "THEME04"
    )


def test_quaternions_never_flip():
    c = walking(2.0)
    flip = np.random.default_rng(0).choice([-1.0, 1.0], (60, 1, 1))
    c.local_rotation = c.local_rotation * flip
    r = import_capture(bpy.context, c, ImportSettings(set_rate=True))
    curves = [q for q in curves_of(r.action) if q.data_path.endswith("rotation_quaternion")]
    assert len(curves) == 4 * len(BONES)
    for q in curves:
        assert max(abs(np.diff([k.co[1] for k in q.keyframe_points]))) < 0.5, q.data_path
    scales = [q for q in curves_of(r.action) if q.data_path.endswith(("scale", "euler"))]
    places = {q.data_path for q in curves_of(r.action) if q.data_path.endswith("location")}
    assert not scales and places == {'pose.bones["hips"].location'}


def test_before_and_after_mix():
    c = walking(1.0)
    r = import_capture(bpy.context, c, ImportSettings(set_rate=True))
    ob, arm = r.armature, BONES.index("forearm.L")
    after, before = truth(c), truth(c, before=True)
    assert np.abs(after - before)[:, arm].max() > 0.02
    frame = 8
    assert before_after_layers.get_mix(ob) is None
    before_after_layers.set_mix(ob, 0.0)
    np.testing.assert_allclose(posed(ob, frame), before[frame - 1], atol=1e-5)
    before_after_layers.set_mix(ob, 1.0)
    np.testing.assert_allclose(posed(ob, frame), after[frame - 1], atol=1e-5)
    before_after_layers.set_mix(ob, 0.5)
    half = posed(ob, frame)
    assert before_after_layers.get_mix(ob) == 0.5
    np.testing.assert_allclose(half[arm, 1], (before + after)[frame - 1, arm, 1] / 2, atol=2e-3)
    before_after_layers.clear_mix(ob)
    assert ob.animation_data.action == r.action and before_after_layers.get_mix(ob) is None
    np.testing.assert_allclose(posed(ob, frame), after[frame - 1], atol=1e-5)
    raises("bad_request", before_after_layers.set_mix, ob, 1.5)
    c.local_rotation_tgt, c.root_tgt = c.local_rotation, c.root
    other = import_capture(bpy.context, c, ImportSettings(name="plain"))
    assert other.before is None
    raises("bad_request", before_after_layers.set_mix, other.armature, 0.5)


def test_running_again_replaces_and_keeps_what_people_made():
    c = walking(1.0, gap=(10, 15))
    settings = ImportSettings(name="walk")
    first = import_capture(bpy.context, c, settings)
    once = snapshot()
    empty = bpy.data.objects.new("mine", None)
    first.collection.objects.link(empty)
    constraint = empty.constraints.new("COPY_TRANSFORMS")
    constraint.target, constraint.subtarget = first.armature, "hand.L"
    first.armature.location.x = 2.0
    second = import_capture(bpy.context, c, settings)
    assert constraint.target == second.armature and bpy.context.scene.camera == second.camera
    assert second.armature.location.x == 2.0 and empty.name in second.collection.objects
    twice = snapshot()
    twice["objects"].remove("mine")
    assert {k: v for k, v in once.items() if k != "camera"} == {
        k: v for k, v in twice.items() if k != "camera"
    }


def test_running_again_can_add():
    c = walking(0.5)
    import_capture(bpy.context, c, ImportSettings(name="walk"))
    second = import_capture(bpy.context, c, ImportSettings(name="walk", existing="add"))
    assert second.collection.name == "walk.001" and len(bpy.data.armatures) == 2
    assert len(result.find_imports(bpy.context.scene)) == 2
    assert len(result.find_imports(bpy.context.scene, "walk")) == 1


def test_a_failure_leaves_nothing_behind(tmp):
    c = walking(1.0, gap=(10, 15))
    import_capture(bpy.context, c, ImportSettings(name="walk"))
    before = snapshot()
    everything = dict(set_rate=True, set_resolution=True, set_range=True)
    c.fps = np.array(50.0)
    raises(
        "no_such_file",
        import_capture,
        bpy.context,
        c,
        ImportSettings(name="walk", video=tmp / "gone.mp4", **everything),
    )
    assert snapshot() == before
    (tmp / "text.mp4").write_text("no video")
    raises(
        "not_a_video",
        import_capture,
        bpy.context,
        c,
        ImportSettings(name="walk", video=tmp / "text.mp4", **everything),
    )
    assert snapshot() == before
    c.seen[:] = False
    raises("no_person", import_capture, bpy.context, c, ImportSettings(name="walk", **everything))
    assert snapshot() == before
    c = walking(1.0)
    c.rest_tail[4] = c.rest_head[4]
    assert "head" in str(raises("bad_request", import_capture, bpy.context, c, ImportSettings(**everything)))
    assert snapshot() == before


def test_import_from_another_mode():
    mesh = bpy.data.objects.new("mesh", bpy.data.meshes.new("mesh"))
    bpy.context.scene.collection.objects.link(mesh)
    bpy.context.view_layer.objects.active = mesh
    bpy.ops.object.mode_set(mode="EDIT")
    r = import_capture(bpy.context, walking(0.5), ImportSettings())
    assert bpy.context.view_layer.objects.active == r.armature and mesh.mode == "OBJECT"
    assert [o for o in bpy.context.view_layer.objects if o.select_get()] == [r.armature]


def test_facing_height_and_sides():
    r = import_capture(bpy.context, walking(0.5), ImportSettings(set_rate=True))
    data = r.armature.data
    assert abs(data.bones["head"].tail_local.z - HEIGHT) < 1e-6
    toe, heel = data.bones["toe.L"].tail_local, data.bones["foot.L"].head_local
    assert (toe - heel).y < -0.1 and data.bones["hand.L"].tail_local.x > 0.5


def test_ten_minutes_in_three_seconds():
    c = walking(600.0)
    assert len(c) == 18000
    start, wall = time.process_time(), time.perf_counter()
    r = import_capture(bpy.context, c, ImportSettings(set_rate=True))
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    print(
        f"10 min at 30 fps: {seconds:.2f} s of CPU time, {wall:.2f} s by the clock for {sum(len(q.keyframe_points) for q in curves_of(r.action))} keys "
        f"and as many in the uncorrected action"
    )
    np.testing.assert_allclose(posed(r.armature, 17000), truth(c)[16999], atol=1e-4)
    first = curves_of(r.action)[10].keyframe_points[5]
    assert (first.interpolation, first.handle_left_type) == ("LINEAR", "AUTO_CLAMPED")
    assert seconds < 3.0, seconds  # CPU time, so that a busy machine doesn't fail it
