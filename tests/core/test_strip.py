"""Strip timing in plain numbers; tests/blender/case_strips.py holds it against Blender itself."""

from __future__ import annotations

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.strip import (
    RetimingKey,
    SpeedEffect,
    StripTiming,
    _arc,
    sequence_range,
    sequence_start,
    strip_span,
)


def test_a_plain_strip_with_trims():
    span = strip_span(
        StripTiming(
            content_start=101, left_handle=111, right_handle=191, length=100, source_rate=50, trim_start=25
        )
    )
    assert (span.time_map.first, span.time_map.last) == (111, 190)
    assert span.time_map.to_time(111.0) == pytest.approx((10 + 25) / 50)
    assert span.start == pytest.approx(34.5 / 50) and span.end == pytest.approx((89 + 25 + 0.5) / 50)


def test_playback_rate_of_the_clip_in_a_scene_of_another():
    # 60 frames at 60 fps in a 24 fps scene: one second, 24 scene frames.
    span = strip_span(StripTiming(0, 0, 24, 60, 60.0, playback_factor=60 / 24))
    assert span.time_map.to_time(12.0) == pytest.approx(0.5) and span.time_map.last == 23


def test_reversed_strips_run_backwards():
    span = strip_span(StripTiming(1, 1, 101, 100, 25.0, reverse=True))
    assert span.time_map.to_time(1.0) == pytest.approx(99 / 25) and span.time_map.to_time(
        100.0
    ) == pytest.approx(0)
    assert span.start == 0.0 and span.end == pytest.approx(99.5 / 25)


def test_retimed_segments_and_a_freeze():
    keys = (RetimingKey(0, 0.0), RetimingKey(40, 0.2), RetimingKey(60, 0.2), RetimingKey(100, 1.0))
    span = strip_span(StripTiming(10, 10, 110, 100, 10.0, keys=keys))
    assert span.time_map.to_time(np.array([10.0, 30, 50, 60, 70, 90])) == pytest.approx([0, 1, 2, 2, 2, 6])


def test_a_transition_is_tangent_to_both_speeds():
    before, a, b, after = (
        RetimingKey(0, 0.0),
        RetimingKey(40, 0.2),
        RetimingKey(60, 0.35),
        RetimingKey(100, 0.75),
    )
    x = np.linspace(40, 60, 2001)
    y = _arc(before, a, b, after, x)
    speed = np.gradient(y, x)
    assert y[[0, -1]] == pytest.approx([0.2, 0.35], abs=1e-4)
    assert speed[[1, -2]] == pytest.approx([0.2 / 40, 0.4 / 40], rel=1e-2)
    assert np.all(np.diff(speed[1:-1]) > 0)


def test_nothing_shown_is_an_error():
    with pytest.raises(GentgError, match="handles"):
        strip_span(StripTiming(1, 200, 300, 100, 25.0))
    with pytest.raises(GentgError, match="no frame"):
        strip_span(StripTiming(1, 1, 2, 0, 25.0))


def test_sequence_start():
    disk = ["a_0001.png", "a_0002.png", "a_0003.png", "b_0000.png", "notes.txt", "a.png"]
    assert sequence_start(["a_0002.png", "a_0003.png"], disk) == 1
    for names in (["a_0001.png", "a_0003.png"], ["one.png", "two.png"], ["a_1.png", "b_2.png"]):
        with pytest.raises(GentgError, match="numbered"):
            sequence_start(names, disk)


def test_range_of_a_sequence_counts_its_own_images_only():
    on_disk = ["a_0012.png", "a_0007.png", "a_0009.jpg", "b_0001.png", "notes.txt", "a_0010.png"]
    assert sequence_range("a_0010.png", on_disk) == (7, 6)
    assert sequence_range("a_0003.png", []) == (3, 1)
    with pytest.raises(GentgError, match="no number"):
        sequence_range("image.png", on_disk)


def effect(control: str, *values: float, start: float = 10, **more) -> SpeedEffect:
    """Over 60 scene frames of a strip that begins there."""
    return SpeedEffect("speed", control, start, 10, 70, 60, 0.0, values, **more)


def test_speed_effects_show_other_frames_of_their_input():
    frames = np.array([10.0, 20, 40, 69])
    assert effect("MULTIPLY", 0.5).shown(frames) == pytest.approx([10, 15, 25, 39.5])
    assert effect("MULTIPLY", 3.0).shown(frames) == pytest.approx([10, 40, 70, 70]), "held at the end"
    assert effect("MULTIPLY", -1.0).shown(frames) == pytest.approx([70, 60, 40, 11])
    assert effect("MULTIPLY", -1.0, negative_from_end=False).shown(frames) == pytest.approx([10] * 4)
    assert effect("MULTIPLY", 1.0, reverse=True).shown(frames) == pytest.approx([70, 60, 40, 11])
    assert effect("STRETCH").shown(frames) == pytest.approx(frames)
    ramp = tuple(np.linspace(0.0, 1.18, 60))
    summed = np.concatenate([[0.0], np.cumsum(ramp[1:])])
    assert effect("MULTIPLY", *ramp).shown(frames) == pytest.approx(10 + summed[[0, 10, 30, 59]])
    assert effect("LENGTH", *range(60)).shown(frames) == pytest.approx(10 + 0.6 * np.array([0.0, 10, 30, 59]))
    assert effect("FRAME_NUMBER", 7.0).shown(frames) == pytest.approx([17] * 4)


def test_a_strip_under_speed_effects():
    strip = StripTiming(10, 10, 70, 60, 30.0)
    span = strip_span(strip, [effect("MULTIPLY", 0.5), effect("MULTIPLY", 0.5)])
    assert (span.time_map.first, span.time_map.last) == (10, 69)
    assert span.time_map.to_time(50.0) == pytest.approx(10 / 30)
    assert len(span.time_map.frames) < 5, "straight pieces need no node a frame"
    assert span.end == pytest.approx((59 / 4 + 0.5) / 30)
    fast = strip_span(strip, [effect("MULTIPLY", 2.0)])
    assert fast.time_map.last == 39, "no keys where the last image is held"
    with pytest.raises(GentgError, match="single image"):
        strip_span(strip, [effect("FRAME_NUMBER", 7.0)])
