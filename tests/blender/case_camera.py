"""In Blender: the matched camera against the capture's own K, R and t, and the clip behind it."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from case_import import truth
from walking import walking

from gentg_blender.core.skeleton import BONES
from gentg_blender.core.timing import TimeMap
from gentg_blender.tool.result import ImportSettings, import_capture

SIZES = ((1280, 720), (720, 1280), (1080, 1080), (1919, 803))


def projection_error(c, r) -> float:
    """Largest distance in the clip's pixels between bones seen through Blender's camera and through K, R, t."""
    scene, worst = bpy.context.scene, 0.0
    width, height = (float(v) for v in c.image_size)
    render = scene.render
    frame_aspect = render.resolution_x * render.pixel_aspect_x / (render.resolution_y * render.pixel_aspect_y)
    clip_aspect = width / height * (c.K[1, 1] / c.K[0, 0])
    for i in (0, len(c) // 2, len(c) - 1):
        scene.frame_set(int(r.first_frame) + i)
        x = (truth(c)[i, :, 0] @ c.R.T + c.t) @ c.camera_rotation[i].T
        want = x @ c.K.T
        want = want[:, :2] / want[:, 2:]
        for b, name in enumerate(BONES):
            u, v, depth = world_to_camera_view(
                scene, r.camera, r.armature.matrix_world @ r.armature.pose.bones[name].head
            )
            assert depth > 0
            # the clip is letterboxed in the frame, centred, as a background of the method FIT is
            if frame_aspect > clip_aspect:
                u = (u - 0.5) * frame_aspect / clip_aspect + 0.5
            else:
                v = (v - 0.5) * clip_aspect / frame_aspect + 0.5
            worst = max(worst, float(np.hypot(u * width - want[b, 0], (1 - v) * height - want[b, 1])))
    return worst


def test_skeleton_lies_on_the_person_at_the_clips_resolution():
    for size in SIZES:
        c = walking(1.0, image_size=size)
        r = import_capture(bpy.context, c, ImportSettings(name=str(size), set_rate=True, set_resolution=True))
        render = bpy.context.scene.render
        assert (render.resolution_x, render.resolution_y) == size
        error = projection_error(c, r)
        print(f"{size}: {error:.4f} px")
        assert error < 0.05, (size, error)


def test_scene_of_another_shape_is_kept_and_still_matches():
    for size in SIZES:
        for scene_size in ((1920, 1080), (1080, 1920), (1000, 1000)):
            render = bpy.context.scene.render
            render.resolution_x, render.resolution_y = scene_size
            c = walking(0.5, image_size=size)
            r = import_capture(bpy.context, c, ImportSettings(name="a", set_rate=True))
            assert (render.resolution_x, render.resolution_y) == scene_size
            error = projection_error(c, r)
            assert error < 0.05, (size, scene_size, error)


def test_a_camera_that_turns_follows_its_keys():
    c = walking(1.0)
    angle = np.radians(20.0) * np.sin(np.linspace(0.0, 2.0, len(c)))
    zero, one = np.zeros_like(angle), np.ones_like(angle)
    cos, sin = np.cos(angle), np.sin(angle)
    c.camera_rotation = np.stack([cos, zero, -sin, zero, one, zero, sin, zero, cos], -1).reshape(-1, 3, 3)
    r = import_capture(bpy.context, c, ImportSettings(name="pan", set_rate=True, set_resolution=True))
    assert r.camera.animation_data.action is not None
    assert projection_error(c, r) < 0.05
    c.camera_rotation[:] = np.eye(3)
    r = import_capture(bpy.context, c, ImportSettings(name="still", set_rate=True))
    assert r.camera.animation_data is None


def test_two_focal_lengths_need_other_pixels():
    for ratio in (1.25, 0.8):
        c = walking(0.5)
        c.K[1, 1] = c.K[0, 0] * ratio
        r = import_capture(bpy.context, c, ImportSettings(name="a", set_rate=True, set_resolution=True))
        assert projection_error(c, r) < 0.05


def test_scene_camera_is_only_set_where_there_is_none():
    scene = bpy.context.scene
    c = walking(0.2)
    mine = bpy.data.objects.new("mine", bpy.data.cameras.new("mine"))
    scene.collection.objects.link(mine)
    scene.camera = mine
    assert (
        import_capture(bpy.context, c, ImportSettings(name="a")).camera is not None and scene.camera == mine
    )
    r = import_capture(bpy.context, c, ImportSettings(name="b", camera=False))
    assert r.camera is None


def movie(tmp) -> Path:
    """A 60-frame video at 30 fps made by Blender itself, frame k as grey as k / 60."""
    scene = bpy.data.scenes.new("movie")
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 128, 72, 100
    render.fps, render.fps_base = 30, 1.0
    scene.frame_start, scene.frame_end = 1, 60
    settings = render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec = "MPEG4", "H264"
    render.filepath = os.fspath(tmp / "grey.mp4")
    render.use_file_extension = False
    scene.view_settings.view_transform = "Raw" if "Raw" in _transforms(scene) else "Standard"
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strip = _color_strip(strips)
    for k in range(60):
        strip.color = (k / 60,) * 3
        strip.keyframe_insert("color", frame=k + 1)
    render.use_sequencer = True
    bpy.ops.render.render(animation=True, scene=scene.name)
    bpy.data.scenes.remove(scene)
    path = tmp / "grey.mp4"
    assert path.is_file() and path.stat().st_size > 500
    return path


def _transforms(scene) -> list[str]:
    return [e.identifier for e in scene.view_settings.bl_rna.properties["view_transform"].enum_items]


def _color_strip(strips):
    try:
        return strips.new_effect(name="c", type="COLOR", channel=1, frame_start=1, length=60)
    except TypeError:
        return strips.new_effect(name="c", type="COLOR", channel=1, frame_start=1, frame_end=61)


def shown_frames(camera, frames) -> list[int]:
    """Which video frame (from 0) the background shows, by Blender's own rule for image users."""
    out = []
    for frame in frames:
        bpy.context.scene.frame_set(int(frame))
        user = (
            camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.background_images[0].image_user
        )
        number = min(max(frame - user.frame_start + 1, 0), user.frame_duration) + user.frame_offset
        out.append(number - 1)
    return out


def test_background_keeps_in_step(tmp):
    path = movie(tmp)
    c = walking(2.0, image_size=(128, 72))
    scene = bpy.context.scene

    r = import_capture(bpy.context, c, ImportSettings(name="same", set_rate=True, video=path, start_frame=11))
    assert shown_frames(r.camera, range(11, 71)) == list(range(60))
    assert r.camera.data.animation_data is None, "nothing to animate at the clip's own rate"

    scene.render.fps, scene.render.fps_base = 24, 1.0
    r = import_capture(bpy.context, c, ImportSettings(name="slow", video=path))
    want = [int(np.floor((f - 1) / 24 * 30 + 0.5)) for f in range(1, 48)]
    assert shown_frames(r.camera, range(1, 48)) == want

    strip = TimeMap.linear(24.0, frame=100.0, time=0.5, speed=2.0, first=100, last=115)
    r = import_capture(bpy.context, c, ImportSettings(name="fast", video=path, time_map=strip))
    want = [int(np.floor((0.5 + (f - 100) / 12) * 30 + 0.5)) for f in range(100, 116)]
    assert shown_frames(r.camera, range(100, 116)) == want

    c.timestamps = c.timestamps + 0.4  # a capture of a trimmed clip: frame 12 of the video comes first
    r = import_capture(bpy.context, c, ImportSettings(name="trim", set_rate=True, video=path))
    assert shown_frames(r.camera, range(1, 30)) == list(range(12, 41))
    image = r.camera.data.background_images[0].image
    assert image.frame_duration == 60 and len(bpy.data.images) <= 2
