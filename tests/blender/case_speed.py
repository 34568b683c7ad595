"""In Blender: Speed Control effects over a strip, against the images that Blender itself renders through them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import bpy
import numpy as np
from case_strip_states import shown_images
from case_strips import refused
from case_ui import armatures, fake_backend

from gentg_blender.tool import strips

COUNT = 60


def grey_image(path: Path, value: int) -> None:
    """A PNG of 8 x 8 pixels of one grey, 0 to 255."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([value]) * 8) * 8)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


class Greys:
    """A sequence of images, each of its own grey, under a Speed Control effect."""

    def __init__(self, tmp: Path, start: int = 11):
        self.tmp = tmp
        folder = tmp / "images"
        folder.mkdir()
        for i in range(COUNT):
            grey_image(folder / f"p{i:04d}.png", 4 * i + 9)
        self.scene.render.fps, self.scene.render.fps_base = 30, 1.0
        strip = self._top().new_image("clip", str(folder / "p0000.png"), 1, start)
        for i in range(1, COUNT):
            strip.elements.append(f"p{i:04d}.png")
        self.known = np.array(shown_images(self.scene, range(start, start + COUNT), tmp))
        assert np.all(np.diff(self.known) > 0), "every image has a grey of its own"

    @property
    def scene(self) -> bpy.types.Scene:
        return bpy.context.scene

    @property
    def clip(self) -> bpy.types.Strip:
        return self.scene.sequence_editor.strips_all["clip"]

    def effect(self, name: str = "speed") -> bpy.types.Strip:
        return self.scene.sequence_editor.strips_all[name]

    def _top(self):
        editor = self.scene.sequence_editor_create()
        return editor.strips if hasattr(editor, "strips") else editor.sequences

    def add(self, over: bpy.types.Strip, name: str = "speed", kind: str = "SPEED") -> bpy.types.Strip:
        end = {"length": 10} if bpy.app.version >= (5, 0, 0) else {"frame_end": 20}
        effect = self._top().new_effect(name, kind, over.channel + 1, 1, input1=over, **end)
        bpy.context.view_layer.update()
        return effect

    def trim(self, left: int, right: int) -> None:
        for new, old, value in (
            ("left_handle_offset", "frame_offset_start", left),
            ("right_handle_offset", "frame_offset_end", right),
        ):
            setattr(self.clip, new if hasattr(self.clip, new) else old, value)
        bpy.context.view_layer.update()

    def check(self) -> strips.ClipStrip:
        """The mapped time of frames all over the strip lies on the image that Blender shows there."""
        # Blender keeps an effect's old speeds in memory when Python changes them, but not in a file.
        bpy.ops.wm.save_as_mainfile(filepath=str(self.tmp / "speed.blend"))
        bpy.ops.wm.open_mainfile(filepath=str(self.tmp / "speed.blend"))
        found = strips.clip_strip(self.scene, self.clip)
        first, last = int(found.span.time_map.first), int(found.span.time_map.last)
        assert last - first > 10, (first, last)
        start = int(strips.read_timing(self.scene, self.clip).content_start)
        # 5.2 shows the wrong image at a frame that it has looked up as an effect's input before.
        chosen: list[int] = []
        looked_up: list[float] = []
        for frame in range(first, last + 1, 2):
            at = start + 30.0 * float(found.span.time_map.to_time(float(frame)))
            if all(abs(frame - x) > 1.5 for x in looked_up):
                chosen.append(frame)
                looked_up.append(at)
        assert len(chosen) > 4 and chosen[-1] - chosen[0] > 0.4 * (last - first), chosen
        ours = 30.0 * np.asarray(found.span.time_map.to_time(np.array(chosen, float)))
        blender = np.interp(shown_images(self.scene, chosen, self.tmp), self.known, np.arange(COUNT))
        # An image is the one begun last, and 5.x keeps it for every moment that rounds to the same frame.
        assert np.abs(ours - blender).max() < 1.5, (chosen, ours.round(1), blender.round(1))
        assert found.span.start <= blender.min() / 30 and found.span.end >= blender.max() / 30
        return found


def test_stretch_over_a_strip_that_was_made_longer(tmp):
    greys = Greys(tmp)
    greys.trim(0, -30)
    greys.add(greys.clip).speed_control = "STRETCH"
    found = greys.check()
    assert found.span.time_map.last == 100, "60 images fill 90 frames"
    greys.trim(8, -30)
    greys.check()


def test_a_constant_factor(tmp):
    greys = Greys(tmp)
    greys.trim(5, 0)
    effect = greys.add(greys.clip)
    effect.speed_control, effect.speed_factor = "MULTIPLY", 0.6
    greys.check()
    greys.effect().speed_factor = 2.5
    found = greys.check()
    assert found.span.time_map.last < 40, "no keys where the last image is held"


def test_a_negative_factor_is_what_this_blender_makes_of_it(tmp):
    greys = Greys(tmp)
    effect = greys.add(greys.clip)
    effect.speed_control, effect.speed_factor = "MULTIPLY", -1.0
    if bpy.app.version >= (5, 2, 0):
        found = greys.check()
        assert found.span.time_map.to_time(20.0) > found.span.time_map.to_time(30.0)
    else:
        assert len(set(shown_images(greys.scene, (15, 30, 50), tmp))) == 1
        assert "holds a single image" in refused(greys.clip)


def test_an_animated_factor(tmp):
    greys = Greys(tmp)
    effect = greys.add(greys.clip)
    effect.speed_control, effect.speed_factor = "MULTIPLY", 0.2
    effect.keyframe_insert("speed_factor", frame=11)
    effect.speed_factor = 1.6
    effect.keyframe_insert("speed_factor", frame=60)
    found = greys.check()
    times = found.span.time_map.to_time(np.array([11.0, 21.0, 31.0, 41.0, 51.0]))
    assert np.all(np.diff(times, 2) > 0), "it becomes faster"


def test_an_animated_frame_number_and_length(tmp):
    greys = Greys(tmp)
    effect = greys.add(greys.clip)
    for control, name, low, high in (
        ("FRAME_NUMBER", "speed_frame_number", 3, 47),
        ("LENGTH", "speed_length", 10.0, 90.0),
    ):
        effect = greys.effect()
        effect.speed_control = control
        for frame, value in ((11, low), (40, high), (70, low)):
            setattr(effect, name, value)
            effect.keyframe_insert(name, frame=frame)
        found = greys.check()
        assert found.span.time_map.to_time(40.0) > found.span.time_map.to_time(70.0), "forth and back"


def test_reversed_strip_and_reversed_effect(tmp):
    greys = Greys(tmp)
    effect = greys.add(greys.clip)
    effect.speed_control, effect.speed_factor = "MULTIPLY", 0.6
    greys.clip.use_reverse_frames = True
    greys.check()
    greys.clip.use_reverse_frames, greys.effect().use_reverse_frames = False, True
    greys.check()


def test_an_effect_over_another_one(tmp):
    greys = Greys(tmp)
    blurred = greys.add(greys.clip, "blur", "GAUSSIAN_BLUR")
    slow = greys.add(blurred, "slow")
    slow.speed_control, slow.speed_factor = "MULTIPLY", 0.5
    fast = greys.add(slow, "fast")
    fast.speed_control, fast.speed_factor = "MULTIPLY", 1.5
    found = greys.check()
    rate = np.diff(found.span.time_map.to_time(np.array([20.0, 40.0])))[0] * 30 / 20
    assert abs(rate - 0.75) < 0.06
    greys.effect("fast").mute = True
    slower = strips.clip_strip(greys.scene, greys.clip)
    rate = np.diff(slower.span.time_map.to_time(np.array([20.0, 40.0])))[0] * 30 / 20
    assert abs(rate - 0.5) < 0.03, "a muted effect does nothing"


def test_what_cannot_be_followed_says_so(tmp):
    greys = Greys(tmp)
    effect = greys.add(greys.clip)
    effect.speed_control, effect.speed_frame_number = "FRAME_NUMBER", 7
    assert "holds a single image" in refused(greys.clip) and "speed" in refused(greys.clip)
    effect.speed_control, effect.speed_length = "LENGTH", 50.0
    assert "holds a single image" in refused(greys.clip)
    effect.speed_control = "MULTIPLY"
    greys.scene.animation_data_create().drivers.new(effect.path_from_id("speed_factor"))
    assert "driver" in refused(greys.clip)
    effect.mute = True
    assert len(strips.clip_strip(greys.scene, greys.clip).span.time_map.frames) == 2


def test_the_effect_may_be_the_active_strip_and_the_keys_follow_it(tmp):
    greys = Greys(tmp)
    effect = greys.add(greys.clip)
    effect.speed_control, effect.speed_factor = "MULTIPLY", 0.5
    editor = greys.scene.sequence_editor
    greys.clip.select = False
    editor.active_strip, effect.select = effect, True
    assert strips.selected_strips(bpy.context) == [greys.clip]
    with fake_backend(tmp, "frames=2", seconds=1.0):
        assert bpy.ops.gentg.estimate_pose() == {"FINISHED"}
        first, last = armatures()[0].animation_data.action.frame_range
    assert first == 11 and 65 <= last <= 70, "a second of the clip fills two seconds at half the speed"
