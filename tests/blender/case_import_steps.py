"""In Blender: a capture that comes in bit by bit, with everything that can happen between two bits."""

from __future__ import annotations

import time

import bpy
import numpy as np
from case_import import curves_of, posed, snapshot, truth
from case_ui import CLIP, armatures, fake_backend
from walking import walking

from gentg_blender.core.filming_check import findings_from_json
from gentg_blender.tool.result import CaptureImport, ImportSettings, import_capture

KINDS = ("objects", "armatures", "actions", "cameras", "images", "collections")


def finish(steps: CaptureImport):
    while (result := steps.step(bpy.context)) is None:
        pass
    return result


def halfway(steps: CaptureImport) -> None:
    while steps.fraction < 0.5:
        assert steps.step(bpy.context) is None


def test_the_scene_changes_with_the_last_step_alone():
    before = snapshot()
    c = walking(1.0, gap=(10, 15))
    steps = CaptureImport(c, ImportSettings(name="walk", set_rate=True, set_range=True, video=CLIP))
    done = []
    while (result := steps.step(bpy.context)) is None:
        now = snapshot()
        done.append(steps.fraction)
        assert {k: v for k, v in now.items() if k not in ("actions", "images")} == {
            k: v for k, v in before.items() if k not in ("actions", "images")
        }
        assert all(a.users == 0 for a in bpy.data.actions), "nothing uses what is half made"
    assert steps.steps > 2 * 87, "every curve is a step of its own"
    assert done == sorted(done) and done[-1] == 1.0
    assert result.armature.name in bpy.context.scene.objects
    np.testing.assert_allclose(posed(result.armature, 8), truth(c)[7], atol=2e-6)
    assert {"walk", "walk before"} <= {a.name for a in bpy.data.actions}


def test_the_same_as_at_once():
    c = walking(1.0, 50.0)
    at_once = import_capture(bpy.context, c, ImportSettings(name="a"))
    by_bits = finish(CaptureImport(c, ImportSettings(name="b")))
    for one, two in ((at_once.action, by_bits.action), (at_once.before, by_bits.before)):
        for x, y in zip(curves_of(one), curves_of(two), strict=True):
            assert (x.data_path, x.array_index, x.group.name) == (y.data_path, y.array_index, y.group.name)
            assert [tuple(k.co) for k in x.keyframe_points] == [tuple(k.co) for k in y.keyframe_points]


def test_giving_up_leaves_nothing():
    import_capture(bpy.context, walking(0.5), ImportSettings(name="walk"))
    before = snapshot()
    steps = CaptureImport(walking(1.0), ImportSettings(name="walk", set_rate=True, video=CLIP))
    halfway(steps)
    assert snapshot() != before
    steps.discard()
    assert snapshot() == before


def test_undo_in_between_starts_it_anew():
    c = walking(1.0)
    bpy.ops.ed.undo_push(message="before")
    cube = bpy.data.objects.new("cube", None)
    bpy.context.scene.collection.objects.link(cube)
    bpy.ops.ed.undo_push(message="a cube")
    steps = CaptureImport(c, ImportSettings(name="walk", set_rate=True))
    halfway(steps)
    bpy.ops.ed.undo()
    assert "cube" not in bpy.data.objects and not any(d.intact() for d in steps._drafts)
    r = finish(steps)
    np.testing.assert_allclose(posed(r.armature, 8), truth(c)[7], atol=2e-6)
    assert len(bpy.data.actions) == 2 and all(len(q.keyframe_points) == 30 for q in curves_of(r.action)[:80])


def test_undo_to_a_half_made_action_starts_it_anew():
    c = walking(1.0)
    bpy.ops.ed.undo_push(message="before")
    steps = CaptureImport(c, ImportSettings(name="walk", set_rate=True))
    for _ in range(20):
        steps.step(bpy.context)
    bpy.ops.ed.undo_push(message="somebody moves a cube")
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("cube", None))
    bpy.ops.ed.undo_push(message="and makes another")
    halfway(steps)
    bpy.ops.ed.undo()
    r = finish(steps)
    assert len(bpy.data.actions) == 2 and all(len(q.keyframe_points) == 30 for q in curves_of(r.action)[:80])
    np.testing.assert_allclose(posed(r.armature, 8), truth(c)[7], atol=2e-6)


def test_another_frame_rate_in_between_starts_it_anew():
    c = walking(2.0, 60.0)
    bpy.context.scene.render.fps = 60
    steps = CaptureImport(c, ImportSettings(name="walk"))
    halfway(steps)
    bpy.context.scene.render.fps = 30
    r = finish(steps)
    assert r.last_frame in (60, 61) and len(bpy.data.actions) == 2  # 1.983 s are 59.5 frames
    assert "60.00" in r.warnings[0]
    np.testing.assert_allclose(posed(r.armature, 11), truth(c)[20], atol=2e-6)


def until_importing(session) -> None:
    from gentg_blender.ui import operators_estimate as estimate
    from gentg_blender.ui.properties import estimate_settings

    session.submit(estimate._file_job(bpy.context, CLIP, estimate_settings(bpy.context)))
    while not (session.arriving and session.arriving[0].fraction > 0.1):
        assert session.tick() and not session.notices, session.notices
        time.sleep(0.001)


def test_cancelling_and_loading_a_file_in_between_leave_nothing(tmp):
    with fake_backend(tmp, seconds=120.0) as session:
        bpy.context.scene.render.fps = 30
        for give_up in (session.cancel, bpy.ops.gentg.cancel, session.shut_down,
                        lambda: bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)):  # fmt: skip
            before = {k: len(getattr(bpy.data, k)) for k in KINDS}
            until_importing(session)
            assert len(bpy.data.actions) > before["actions"] and not armatures()
            file, scratch = session.arriving[0]._file, session.arriving[0].job.scratch
            assert file.is_file()
            give_up()
            assert {k: len(getattr(bpy.data, k)) for k in KINDS} == before
            assert not session.busy and not file.exists() and not scratch.exists()
            session.forget()
        assert not list((tmp / "captures").iterdir())
        assert bpy.ops.gentg.estimate_pose(filepath=str(CLIP)) == {"FINISHED"} and len(armatures()) == 1


def test_a_saved_capture_comes_in_the_same_way(tmp):
    with fake_backend(tmp, seconds=120.0) as session:
        bpy.context.scene.render.fps = 30
        saved = tmp / "mine.npz"
        (tmp / "walk.npz").rename(saved)
        content = saved.read_bytes()

        def start():
            settings = ImportSettings(name="mine")
            session.arriving.append(import_queue.arrival_of_saved(bpy.context.scene, saved, settings))
            while session.arriving[0].fraction < 0.1:
                assert session.tick() and not session.notices, session.notices
                time.sleep(0.001)

        from gentg_blender.ui import import_queue

        before = {k: len(getattr(bpy.data, k)) for k in KINDS}
        for give_up in (session.cancel, session.shut_down):
            start()
            assert not armatures()
            give_up()
            assert {k: len(getattr(bpy.data, k)) for k in KINDS} == before and not session.busy
            session.forget()
        assert saved.read_bytes() == content
        assert bpy.ops.gentg.import_capture(filepath=str(saved)) == {"FINISHED"}
        (ob,) = armatures()
        assert ob["gentg_capture"] == str(saved) and saved.read_bytes() == content
        assert ob.animation_data.action.frame_range[1] == 3600 and findings_from_json(
            ob["gentg_filming_check"]
        )
        assert session.notices[0].title == "mine: animated." and "made in" not in session.notices[0].lines[0]
        assert session.ticks.importing >= 3, session.ticks
        assert not (tmp / "captures").exists()  # no copy is kept
        for name, why in (("gone.npz", "does not exist"), ("bad.npz", "Not a readable capture")):
            (tmp / "bad.npz").write_bytes(b"PK")
            try:
                bpy.ops.gentg.import_capture(filepath=str(tmp / name))
            except RuntimeError as error:
                assert why in str(error)
            else:
                raise AssertionError("no error was reported")
        assert len(armatures()) == 1 and not session.busy


def test_the_scene_may_go_while_it_is_imported(tmp):
    with fake_backend(tmp, seconds=120.0) as session:
        bpy.context.scene.render.fps = 30
        keep = bpy.context.scene
        other = bpy.data.scenes.new("other")
        bpy.context.window_manager.windows[0].scene = other
        other.render.fps = 30
        until_importing(session)
        bpy.context.window_manager.windows[0].scene = keep
        bpy.data.scenes.remove(other)
        session.wait()
        assert "other is not there any more" in session.notices[0].lines[0], session.notices
        assert not bpy.data.actions and not list((tmp / "captures").iterdir())


def test_a_bug_in_the_import_ends_as_a_message(tmp):
    with fake_backend(tmp) as session:
        from gentg_blender.tool import result

        whole, result.build_armature = result.build_armature, None
        try:
            bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        except RuntimeError as error:
            assert "The import failed" in str(error)
        else:
            raise AssertionError("no error was reported")
        finally:
            result.build_armature = whole
        assert session.notices[0].level == "ERROR" and not session.busy
        assert not bpy.data.actions and not bpy.data.collections and not bpy.data.images


def test_ten_minutes_come_in_without_stopping_blender(tmp):
    """The whole run, to the animation of 18 000 frames: what each call of ours takes of Blender's thread."""
    with fake_backend(tmp, seconds=600.0) as session:
        bpy.context.scene.render.fps = 30
        began = time.process_time()
        assert bpy.ops.gentg.estimate_pose(filepath=str(CLIP)) == {"FINISHED"}
        t = session.ticks
        print(f"ten minutes at 30 fps: {t.importing} slices of the import, the longest of {t.count} calls took "
              f"{t.longest_cpu * 1e3:.1f} ms of processor time, {t.longest * 1e3:.1f} ms by the clock; "
              f"{time.process_time() - began:.2f} s of processor time with unpacking and waiting")  # fmt: skip
        began, wall = time.thread_time(), time.perf_counter()
        bpy.ops.ed.undo_push(message="captured")
        print(
            f"Blender's undo step: {time.thread_time() - began:.3f} s of processor time, {time.perf_counter() - wall:.3f} s by the clock"
        )
        (ob,) = armatures()
        assert ob.animation_data.action.frame_range[1] == 18000
        assert t.importing >= 5, t
        assert t.longest_cpu < 0.1 * t.cpu, t  # a share: seconds depend on the machine and its load
