"""core.timing against hand-worked cases, scipy's slerp and direct evaluation of known motion."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from gentg_blender.core.contract import GentgError
from gentg_blender.core.timing import TimeMap, fps_and_base, plan_keys, scene_rate, seen_runs


@pytest.mark.parametrize(
    "rate", [23.976023976, 24, 25, 29.97002997, 30, 50, 59.94005994, 60, 119.88, 14.37, 0.5]
)
def test_fps_and_base_give_the_rate_back(rate):
    fps, base = fps_and_base(rate)
    assert isinstance(fps, int)
    assert scene_rate(fps, base) == pytest.approx(rate, rel=2.5e-5)


def test_ntsc_rates_are_the_ones_people_know():
    assert fps_and_base(30000 / 1001) == (30, 1.001)
    assert fps_and_base(29.97) == (30, 1.001)
    assert fps_and_base(25.0) == (25, 1.0)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(GentgError):
        fps_and_base(0.0)
    with pytest.raises(GentgError):
        scene_rate(0, 1.0)


def test_linear_map_and_its_inverse():
    m = TimeMap.linear(24.0, frame=101.0, time=2.0)
    assert m.to_time(101.0) == 2.0
    assert m.to_time(125.0) == pytest.approx(3.0)
    assert m.to_time(77.0) == pytest.approx(1.0)
    t = np.linspace(0, 100, 37)
    np.testing.assert_allclose(m.to_time(m.to_frame(t)), t, atol=1e-9)


def test_same_rate_keys_every_sample_exactly():
    t = np.arange(100) / 29.97
    plan = plan_keys(t, np.ones(100, bool), TimeMap.linear(29.97, 1.0, 0.0))
    np.testing.assert_array_equal(plan.frames, np.arange(1, 101))
    values = np.random.default_rng(0).normal(size=(100, 3))
    np.testing.assert_array_equal(plan.vectors(values), values)
    assert not plan.hold.any() and len(plan.gaps) == 0


def test_rate_conversion_samples_the_motion_at_the_frames_own_time():
    t = np.arange(120) / 60.0
    plan = plan_keys(t, np.ones(120, bool), TimeMap.linear(24.0, 1.0, 0.0))
    at = (plan.frames - 1) / 24.0
    assert plan.frames[0] == 1
    # the clip's last sample lies at frame 1 + 119/60*24 = 48.6: frame 49 is nearest and holds it
    assert plan.frames[-1] == 49
    np.testing.assert_allclose(plan.vectors(t * 3.0 + 1), np.minimum(at, t[-1]) * 3.0 + 1, atol=1e-9)


def test_rotations_follow_scipys_slerp():
    rng = np.random.default_rng(1)
    r = Rotation.random(20, random_state=2)
    t = np.cumsum(rng.uniform(0.02, 0.05, 20))
    q = r.as_quat()[:, [3, 0, 1, 2]] * rng.choice([-1, 1], 20)[:, None]
    plan = plan_keys(t, np.ones(20, bool), TimeMap.linear(100.0, 1.0, 0.0))
    got = plan.rotations(np.stack([q, q], axis=1))
    at = np.clip((plan.frames - 1) / 100.0, t[0], t[-1])
    want = Slerp(t, r)(at)
    for b in range(2):
        error = (Rotation.from_quat(got[:, b][:, [1, 2, 3, 0]]) * want.inv()).magnitude()
        # weights within 1e-3 of a sample snap to it
        assert error.max() < 1.1e-3 * np.pi


def test_variable_frame_rate_stays_in_sync_at_the_end():
    rng = np.random.default_rng(3)
    t = np.cumsum(rng.choice([1 / 30, 1 / 15, 1 / 60], 5000))
    plan = plan_keys(t, np.ones(5000, bool), TimeMap.linear(30.0, 1.0, 0.0))
    at = np.clip((plan.frames - 1) / 30.0, t[0], t[-1])
    np.testing.assert_allclose(plan.vectors(t), at, atol=1e-3 / 15 + 1e-9)
    assert abs((plan.frames[-1] - 1) / 30.0 - t[-1]) <= 0.5 / 30 + 1e-6


def test_unseen_frames_get_no_key_and_nothing_is_drawn_across():
    t = np.arange(30) / 30.0
    seen = np.ones(30, bool)
    seen[10:20] = False
    poison = np.where(seen, t, 1e9)
    plan = plan_keys(t, seen, TimeMap.linear(30.0, 1.0, 0.0))
    np.testing.assert_array_equal(plan.frames, np.r_[1:11, 21:31])
    assert plan.vectors(poison).max() < 1.0
    np.testing.assert_array_equal(plan.gaps, [[10, 21]])
    np.testing.assert_array_equal(np.flatnonzero(plan.hold), [9])


def test_gap_at_another_rate():
    t = np.arange(60) / 60.0
    seen = np.ones(60, bool)
    seen[20:41] = False  # seen until 19/60 = frame 8.6 and from 41/60 = frame 17.4 (24 fps, from 1)
    poison = np.where(seen, t, 1e9)
    plan = plan_keys(t, seen, TimeMap.linear(24.0, 1.0, 0.0))
    np.testing.assert_array_equal(plan.frames, np.r_[1:10, 17:26])
    assert plan.vectors(poison).max() < 1.0


def test_gap_shorter_than_a_scene_frame_is_no_gap():
    t = np.arange(100) / 100.0
    seen = np.ones(100, bool)
    seen[50] = False
    plan = plan_keys(t, seen, TimeMap.linear(10.0, 1.0, 0.0))
    np.testing.assert_array_equal(plan.frames, np.arange(1, 12))
    assert len(plan.gaps) == 0


def test_one_frame_gives_one_key_wherever_it_lies():
    for time in (0.0, 0.0123, 0.02):
        plan = plan_keys(np.array([time]), np.array([True]), TimeMap.linear(24.0, 1.0, 0.0))
        np.testing.assert_array_equal(plan.frames, [np.floor(1 + time * 24 + 0.5)])


def test_nobody_seen_is_an_error():
    with pytest.raises(GentgError) as caught:
        plan_keys(np.arange(3) / 30, np.zeros(3, bool), TimeMap.linear(30.0))
    assert caught.value.code == "no_person"


def test_source_keys_keep_their_own_times():
    t = np.array([0.0, 0.031, 0.07, 0.2, 0.25])
    seen = np.array([1, 1, 0, 1, 1], bool)
    plan = plan_keys(t, seen, TimeMap.linear(24.0, 1.0, 0.0), keys="source")
    np.testing.assert_allclose(plan.frames, 1 + 24 * t[seen])
    np.testing.assert_array_equal(plan.hold, [False, True, False, False])


def test_strip_handles_limit_the_keys():
    t = np.arange(100) / 25.0
    plan = plan_keys(t, np.ones(100, bool), TimeMap.linear(25.0, 1.0, 0.0, first=11, last=20))
    np.testing.assert_array_equal(plan.frames, np.arange(11, 21))
    with pytest.raises(GentgError):
        plan_keys(t, np.ones(100, bool), TimeMap.linear(25.0, 1.0, 0.0, first=500, last=600))


def test_reversed_and_held_strips():
    t = np.arange(50) / 25.0
    back = TimeMap(np.array([1.0, 50.0]), np.array([49 / 25, 0.0]))
    plan = plan_keys(t, np.ones(50, bool), back)
    np.testing.assert_array_equal(plan.frames, np.arange(1, 51))
    np.testing.assert_allclose(plan.vectors(t), t[::-1], atol=1e-4)
    with pytest.raises(GentgError):
        plan_keys(t, np.ones(50, bool), back, keys="source")
    held = TimeMap(np.array([1.0, 11.0, 21.0, 31.0]), np.array([0.0, 0.4, 0.4, 0.8]), first=1, last=31)
    plan = plan_keys(t, np.ones(50, bool), held)
    np.testing.assert_array_equal(plan.frames, np.arange(1, 32))
    np.testing.assert_allclose(plan.vectors(t)[10:21], 0.4, atol=1e-4)


def test_double_speed():
    t = np.arange(60) / 30.0
    plan = plan_keys(t, np.ones(60, bool), TimeMap.linear(30.0, 1.0, 0.0, speed=2.0))
    assert plan.frames[-1] in (30, 31)
    np.testing.assert_allclose(plan.vectors(t)[:29], np.arange(29) / 15.0, atol=1e-4)


def test_seen_runs():
    np.testing.assert_array_equal(seen_runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)), [[0, 1], [3, 3], [6, 6]])
    assert len(seen_runs(np.zeros(4, bool))) == 0


@pytest.mark.parametrize("limits", [{}, {"first": 11.0, "last": 20.0}])
def test_a_time_map_is_noted_as_text(limits):
    m = TimeMap(np.array([1.0, 24.5, 60.0]), np.array([0.1, 2.0 / 3.0, 0.4]), **limits)
    again = TimeMap.from_json(m.to_json())
    frames = np.linspace(-5.0, 80.0, 30)
    assert np.array_equal(again.to_time(frames), m.to_time(frames))
    assert (again.first, again.last) == (m.first, m.last)
    for text in ("", "[]", '{"frames": [1], "times": [1], "limits": [null, null]}'):
        with pytest.raises(GentgError, match="Import the capture again"):
            TimeMap.from_json(text)
