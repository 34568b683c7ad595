"""In Blender: what `tool.strips` reads from strips, against the image that Blender itself shows per frame."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import bpy
import numpy as np

from gentg_blender.core.contract import GentgError
from gentg_blender.tool import strips

COUNT = 100
PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154"
                      "789c6360606060000000050001a5f645400000000049454e44ae426082")  # fmt: skip


def editor():
    """(override arguments, strips) of a sequencer; `-b` has a window too, the bpy module may have none."""
    scene = bpy.context.scene
    scene.sequence_editor_create()
    window = bpy.context.window_manager.windows[0] if len(bpy.context.window_manager.windows) else None
    if window is None:
        return None, scene.sequence_editor
    if hasattr(window.workspace, "sequencer_scene"):
        window.workspace.sequencer_scene = scene
    area = window.screen.areas[0]
    area.type = "SEQUENCE_EDITOR"
    area.spaces[0].view_type = "SEQUENCER"
    region = next(r for r in area.regions if r.type == "WINDOW")
    return {"window": window, "area": area, "region": region, "scene": scene}, scene.sequence_editor


def image_strip(folder: Path, start: int = 10, first: int = 0):
    for i in range(COUNT):
        (folder / f"p{i:04d}.png").write_bytes(PIXEL)
    override, ed = editor()
    all_strips = ed.strips if hasattr(ed, "strips") else ed.sequences
    strip = all_strips.new_image("clip", str(folder / f"p{first:04d}.png"), 1, start)
    for i in range(first + 1, COUNT):
        strip.elements.append(f"p{i:04d}.png")
    ed.active_strip = strip
    strip.select = True
    return override, strip


def check(strip, tolerance: float = 1.0) -> None:
    """The mapped time of every frame lies on the image that Blender shows there."""
    scene = bpy.context.scene
    bpy.context.view_layer.update()
    rate = scene.render.fps / scene.render.fps_base
    found = strips.clip_strip(scene, strip)
    frames = np.arange(found.span.time_map.first, found.span.time_map.last + 1)
    assert len(frames) > 10
    ours = found.span.time_map.to_time(frames) * rate
    blender = np.array([int(strip.strip_elem_from_frame(int(f)).filename[1:5]) for f in frames], float)
    worst = np.abs(ours - blender).max()
    assert worst <= tolerance, f"{worst} frames off at frame {frames[np.abs(ours - blender).argmax()]}"
    assert found.span.start <= blender.min() / rate and found.span.end >= blender.max() / rate


def test_plain_strip_with_offset_and_soft_trim(tmp):
    _, strip = image_strip(tmp)
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 30, 1.001
    check(strip, 1e-3)
    for new, old, value in (
        ("left_handle_offset", "frame_offset_start", 20),
        ("right_handle_offset", "frame_offset_end", 15),
    ):
        setattr(strip, new if hasattr(strip, new) else old, value)
    check(strip, 1e-3)
    found = strips.clip_strip(bpy.context.scene, strip)
    assert found.frame == 30 and found.image_sequence
    assert abs(found.span.start - 19.5 * 1.001 / 30) < 1e-6 and abs(found.span.end - 84.5 * 1.001 / 30) < 1e-6


def test_held_frames_beyond_the_clip_get_no_keys(tmp):
    _, strip = image_strip(tmp)
    for new, old, value in (
        ("left_handle_offset", "frame_offset_start", -20),
        ("right_handle_offset", "frame_offset_end", -15),
    ):
        setattr(strip, new if hasattr(strip, new) else old, value)
    found = strips.clip_strip(bpy.context.scene, strip)
    assert (found.span.time_map.first, found.span.time_map.last) == (10, 109)


def test_sequence_that_starts_at_a_later_image(tmp):
    _, strip = image_strip(tmp, first=12)
    check(strip, 1e-3)


def test_sequence_with_a_gap_is_refused(tmp):
    _, strip = image_strip(tmp)
    strip.elements.pop(50)
    assert "numbered" in refused(strip)


def test_reversed(tmp):
    _, strip = image_strip(tmp)
    strip.use_reverse_frames = True
    check(strip, 1e-3)


def test_half_and_double_speed(tmp):
    override, strip = image_strip(tmp)
    if override is None:
        return print("SKIP: retiming is done by operators, which need a window")
    for speed in (50, 200):
        with bpy.context.temp_override(**override):
            bpy.ops.sequencer.retiming_reset() if speed == 200 else None
            bpy.ops.sequencer.retiming_segment_speed_set(speed=speed)
        check(strip)


def test_several_speeds_a_transition_and_a_freeze_frame(tmp):
    override, strip = image_strip(tmp)
    if override is None:
        return print("SKIP: retiming is done by operators, which need a window")
    with bpy.context.temp_override(**override):
        bpy.ops.sequencer.retiming_key_add(timeline_frame=50)
        bpy.ops.sequencer.retiming_key_add(timeline_frame=80)
        strip.retiming_keys[1].timeline_frame = 70
        check(strip)
        bpy.ops.sequencer.retiming_freeze_frame_add(duration=12)
    check(strip)


def select_key(strip, index: int) -> None:
    """Keys of a strip can only be selected with the mouse; here by their flag in memory (SEQ_KEY_SELECTED)."""
    layouts = strips._layouts()
    keys = strips._Struct(layouts["Sequence"], strip.as_pointer())["retiming_handles"]
    layout = layouts["SeqRetimingHandle"]
    ctypes.c_int.from_address(keys + index * layout.size + layout["flag"].offset).value |= 1 << 4


def test_a_gradual_change_of_speed(tmp):
    override, strip = image_strip(tmp)
    if override is None:
        return print("SKIP: retiming is done by operators, which need a window")
    with bpy.context.temp_override(**override):
        bpy.ops.sequencer.retiming_key_add(timeline_frame=60)
        strip.retiming_keys[1].timeline_frame = 85
        before = len(strip.retiming_keys)
        strip.show_retiming_keys = True  # 5.0 takes no other keys for selected
        select_key(strip, 1)
        bpy.ops.sequencer.retiming_transition_add(duration=20)
    assert len(strip.retiming_keys) == before + 1
    check(strip)


def refused(strip) -> str:
    try:
        strips.clip_strip(bpy.context.scene, strip)
    except GentgError as error:
        return str(error)
    raise AssertionError("accepted")


def test_what_is_no_clip_says_what_to_do(tmp):
    _, strip = image_strip(tmp)
    ed = bpy.context.scene.sequence_editor
    all_strips = ed.strips if hasattr(ed, "strips") else ed.sequences
    assert "Add a video" in refused(None)
    single = all_strips.new_image("still", str(tmp / "p0000.png"), 3, 1)
    assert "still image" in refused(single)
    scene_strip = all_strips.new_scene("s", bpy.context.scene, 4, 1)
    assert "shows a scene" in refused(scene_strip)
    os.remove(tmp / "p0050.png")
    assert "1 of the sequence's 100 images are missing" in refused(strip)


def test_an_empty_sequencer_has_no_strip():
    assert strips.selected_strips(bpy.context) == []
