"""In Blender: strips in unusual places: linked scenes, proxies, metas, other frame rates, sequences; files that are closed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import bpy
import numpy as np
from case_camera import movie
from case_strips import PIXEL, check, image_strip
from case_ui import CLIP, add_strip, armatures, fails, fake_backend
from walking import walking

from gentg_blender.tool import strips
from gentg_blender.tool.result import ImportSettings, import_capture

HAS_SEQUENCER_SCENE = bpy.app.version >= (5, 0, 0)


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def linked_scene(tmp: Path) -> bpy.types.Scene:
    """A scene "shots" with a movie strip, linked from tmp/library/shots.blend into tmp/film/main.blend."""
    (tmp / "library").mkdir()
    (tmp / "film").mkdir()
    shutil.copy(CLIP, tmp / "library" / "clip.mp4")
    bpy.context.scene.name = "shots"
    bpy.context.scene.render.fps = 60
    add_strip("walk", 11).filepath = str(tmp / "library" / "clip.mp4")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp / "library" / "shots.blend"))
    bpy.context.scene.sequence_editor.active_strip.filepath = "//clip.mp4"
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.context.scene.render.fps = 60
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp / "film" / "main.blend"))
    with bpy.data.libraries.load(str(tmp / "library" / "shots.blend"), link=True, relative=True) as (
        _,
        wanted,
    ):
        wanted.scenes = ["shots"]
    scene = wanted.scenes[0]
    assert scene.library is not None
    return scene


def test_a_strip_of_a_linked_scene_is_found_in_its_librarys_folder(tmp):
    scene = linked_scene(tmp)
    strip = scene.sequence_editor.strips_all[0]
    assert strip.filepath == "//clip.mp4"
    assert strips.clip_strip(scene, strip).clip.samefile(tmp / "library" / "clip.mp4")
    with fake_backend(tmp):
        if HAS_SEQUENCER_SCENE:
            window().workspace.sequencer_scene = scene
            assert bpy.ops.gentg.estimate_pose() == {"FINISHED"}
            (ob,) = armatures()
            assert ob.library is None and ob.animation_data.action.frame_range[0] == 11
            background = bpy.context.scene.camera.data.background_images[0].image
            assert Path(bpy.path.abspath(background.filepath)).samefile(tmp / "library" / "clip.mp4")
        actions = len(bpy.data.actions)
        window().scene = scene
        assert "linked from" in fails(bpy.ops.gentg.estimate_pose)
        assert len(bpy.data.actions) == actions


def test_a_strip_in_a_meta_strip_that_was_moved(tmp):
    _, strip = image_strip(tmp)
    editor = bpy.context.scene.sequence_editor
    top = editor.strips if hasattr(editor, "strips") else editor.sequences
    meta = top.new_meta("meta", channel=3, frame_start=1)
    bpy.context.view_layer.update()
    strip.move_to_meta(meta)
    check(strip, 1e-3)
    before = strips.clip_strip(bpy.context.scene, strip).frame
    setattr(meta, "content_start" if hasattr(meta, "content_start") else "frame_start", 33)
    check(strip, 1e-3)
    assert strips.clip_strip(bpy.context.scene, strip).frame != before
    editor.active_strip = meta
    meta.select = True
    assert strips.selected_strips(bpy.context) == [meta] and "Enter it" in strips.unusable_reason(meta)
    editor.display_stack(meta)
    strip.select = True
    assert strips.selected_strips(bpy.context) == [strip]


def test_a_proxy_is_never_estimated(tmp):
    bpy.context.scene.render.fps = 60
    strip = add_strip("walk", 1)
    plain = strips.clip_strip(bpy.context.scene, strip)
    strip.use_proxy = True
    strip.proxy.build_25 = True
    strip.proxy.use_proxy_custom_directory = True
    strip.proxy.directory = str(tmp / "proxies")
    assert strips.clip_strip(bpy.context.scene, strip).clip == plain.clip == CLIP
    np.testing.assert_array_equal(
        strips.clip_strip(bpy.context.scene, strip).span.time_map.times, plain.span.time_map.times
    )
    strip.proxy.use_proxy_custom_file = True
    strip.proxy.filepath = str(tmp / "small.mp4")
    assert strips.clip_strip(bpy.context.scene, strip).clip == CLIP


def shown_images(scene: bpy.types.Scene, frames, tmp: Path) -> list[float]:
    """Which frame of `movie`'s clip the sequencer shows, from the grey of what Blender renders."""
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 128, 72, 100
    render.use_sequencer, render.image_settings.file_format = True, "PNG"
    scene.view_settings.view_transform = "Raw" if "Raw" in views(scene) else "Standard"
    out = []
    for frame in frames:
        scene.frame_set(int(frame))
        render.filepath = str(tmp / "shown.png")
        bpy.ops.render.render(write_still=True, scene=scene.name)
        image = bpy.data.images.load(str(tmp / "shown.png"))
        image.colorspace_settings.name = "Non-Color"
        out.append(float(np.mean(np.array(image.pixels[:]).reshape(-1, 4)[:, 0])))
        bpy.data.images.remove(image)
    return out


def views(scene: bpy.types.Scene) -> list[str]:
    return [e.identifier for e in scene.view_settings.bl_rna.properties["view_transform"].enum_items]


def test_a_movie_in_a_scene_of_another_rate_shows_what_we_say(tmp):
    """A clip of 30 frames a second in scenes of other rates, against the images that Blender renders."""
    clip = movie(tmp)
    scene = bpy.context.scene
    editor = scene.sequence_editor_create()
    top = editor.strips if hasattr(editor, "strips") else editor.sequences
    scene.render.fps, scene.render.fps_base = 30, 1.0
    own = top.new_movie("own", str(clip), 1, 1)
    frames = (3, 11, 19)
    known = shown_images(scene, range(1, 41), tmp)  # at the clip's own rate frame f shows image f - 1
    assert all(b > a for a, b in zip(known, known[1:])), "every image has a grey of its own"
    top.remove(own)
    for rate, base in ((24, 1.001), (60, 1.0)):
        scene.render.fps, scene.render.fps_base = rate, base
        strip = top.new_movie("other", str(clip), 1, 1)
        bpy.context.view_layer.update()
        found = strips.clip_strip(scene, strip)
        assert any("frames a second" in w for w in found.warnings) == (
            strips.read_timing(scene, strip).playback_factor == 1.0
        )
        ours = np.asarray(found.span.time_map.to_time(np.array(frames))) * 30.0
        theirs = np.interp(shown_images(scene, frames, tmp), known, np.arange(40))
        assert np.abs(ours - theirs).max() <= 1.0, (rate, ours, theirs)
        top.remove(strip)


def test_the_sequencers_scene_runs_at_another_rate_than_the_armatures(tmp):
    if not HAS_SEQUENCER_SCENE:
        return print("SKIP: before 5.0 the sequencer shows the window's scene")
    edit = bpy.data.scenes.new("edit")
    edit.render.fps = 60
    window().workspace.sequencer_scene = edit
    strip = edit.sequence_editor_create().strips.new_movie("walk", str(CLIP), 1, 121)
    edit.sequence_editor.active_strip, strip.select = strip, True
    bpy.context.scene.render.fps = 24
    with fake_backend(tmp) as session:
        assert bpy.ops.gentg.estimate_pose() == {"FINISHED"}
        (ob,) = armatures()
        first, last = ob.animation_data.action.frame_range
        assert first == 49, "frame 121 at 60 a second begins as frame 49 at 24"
        left, right = strips.shown_frames(strip)
        assert abs((last - first) / 24 - (right - left) / 60) < 1.5 / 24
        assert any("60" in line and "24" in line for line in session.notices[0].lines)
        assert (
            edit.render.fps == 60 and bpy.context.scene.render.fps == 24 and not edit.collection.all_objects
        )


def test_an_image_sequence_is_shown_behind_the_camera(tmp):
    folder = tmp / "images"
    folder.mkdir()
    for i in range(7, 67):
        (folder / f"shot_{i:04d}.png").write_bytes(PIXEL)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = 30, 1.0
    c = walking(2.0, image_size=(128, 72))
    r = import_capture(
        bpy.context,
        c,
        ImportSettings(name="a", video=folder / "shot_0020.png", sequence=True, start_frame=11),
    )
    assert shown_numbers(r.camera, range(11, 71)) == list(range(7, 67)), (
        "the clip begins with the lowest number on disk"
    )
    scene.render.fps = 24
    r = import_capture(
        bpy.context, c, ImportSettings(name="b", video=folder / "shot_0020.png", sequence=True)
    )
    assert shown_numbers(r.camera, range(1, 48)) == [
        7 + int(np.floor((f - 1) / 24 * 30 + 0.5)) for f in range(1, 48)
    ]
    assert len(bpy.data.images) == 1, "the same images are loaded once"


def shown_numbers(camera, frames) -> list[int]:
    """The numbers in the names of the images, by Blender's own rule for image users."""
    out = []
    for frame in frames:
        bpy.context.scene.frame_set(int(frame))
        background = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.background_images[0]
        assert background.image.source == "SEQUENCE"
        user = background.image_user
        out.append(min(max(frame - user.frame_start + 1, 0), user.frame_duration) + user.frame_offset)
    return out


def test_an_image_sequence_strip_brings_its_images_along(tmp):
    (tmp / "images").mkdir()
    bpy.context.scene.render.fps = 30
    _, strip = image_strip(tmp / "images", start=10, first=20)
    with fake_backend(tmp):
        assert bpy.ops.gentg.estimate_pose() == {"FINISHED"}
        (ob,) = armatures()
        assert ob.animation_data.action.frame_range[0] == 10
        camera = bpy.context.scene.camera
        assert shown_numbers(camera, (10, 15, 40)) == [20, 25, 50]


def process_is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def begin_run(session) -> tuple[int, int, Path]:
    """Start an estimate as the panel does; the ids of the backend and of its child, and the job's folder."""
    from gentg_blender.ui import operators_estimate as estimate

    (job,) = estimate._strip_jobs(bpy.context, {})
    session.submit(job)
    note = Path(job.params["capture"] + ".child")
    while not (job.progress.done > 0 and note.is_file() and note.read_text()):
        assert session.tick(), session.notices
        time.sleep(0.01)
    return session.queue.backend.pid, int(note.read_text()), job.scratch


def test_another_file_or_a_new_one_ends_the_run(tmp):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp / "other.blend"))
    with fake_backend(tmp, "frames=2000,pause=0.02,child") as session:
        for load in (lambda: bpy.ops.wm.open_mainfile(filepath=str(tmp / "other.blend")),
                     lambda: bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)):  # fmt: skip
            add_strip("walk", 1)
            backend, child, scratch = begin_run(session)
            load()
            assert not session.busy and session.queue.backend is None and not session.notices
            assert process_is_gone(backend) and process_is_gone(child) and not scratch.exists()
            assert not armatures() and not bpy.data.actions
        add_strip("walk", 1)
        os.environ["GENTG_FAKE"] = f"frames=2,capture={tmp / 'walk.npz'}"
        assert bpy.ops.gentg.estimate_pose() == {"FINISHED"} and len(armatures()) == 1


def test_switching_the_extension_off_ends_the_run(tmp):
    add_strip("walk", 1)
    fake = fake_backend(tmp, "frames=2000,pause=0.02,child")
    with fake as session:
        backend, child, scratch = begin_run(session)
    assert process_is_gone(backend) and process_is_gone(child) and not scratch.exists() and not session.busy
