"""Smoothing and filling against scipy and analytic curves."""

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from gentg_blender.core.rotations import quat_from_axis_angle, rotation_angle
from inference_backend.solve.smoothing import fill_gaps, local_fit, runs, smooth_rotations


def uneven_times(n, seed=1):
    return np.cumsum(np.random.default_rng(seed).uniform(0.02, 0.05, n))


def test_local_fit_reproduces_lines_exactly_and_parabolas_nearly_with_their_slopes():
    t = uneven_times(60)
    line = np.stack([2.0 + 3.0 * t, -t], -1)
    value, slope = local_fit(line, t, 0.15, np.ones(60, bool))
    assert np.allclose(value[5:-5], line[5:-5], atol=2e-3)
    assert np.allclose(slope[5:-5], [3.0, -1.0], atol=5e-3)
    value, _ = local_fit(t[:, None] ** 2, t, 0.15, np.ones(60, bool))
    assert np.allclose(value[5:-5, 0], t[5:-5] ** 2, atol=2e-3)


def test_local_fit_has_no_lag_and_attenuates_noise():
    t = np.arange(400) / 60.0
    wave = np.sin(2 * np.pi * 1.5 * t)[:, None]
    value, _ = local_fit(wave, t, 0.12, np.ones(400, bool))
    inner = slice(30, -30)
    assert np.max(np.abs(value[inner] - wave[inner])) < 0.02  # neither late nor flattened
    noise = np.random.default_rng(0).standard_normal((400, 1))
    assert local_fit(noise, t, 0.12, np.ones(400, bool))[0][inner].std() < 0.55 * noise.std()


def test_local_fit_never_looks_across_a_gap_and_leaves_short_stretches():
    t = uneven_times(30)
    seen = np.ones(30, bool)
    seen[10:14] = seen[15:20] = False  # frame 14 stands alone
    values = np.where(np.arange(30) < 12, 0.0, 100.0)[:, None]
    out, _ = local_fit(values, t, 0.2, seen)
    assert np.allclose(out[:10], 0.0) and np.allclose(out[20:], 100.0, atol=1e-9)
    assert np.array_equal(out[10:20], values[10:20])
    assert np.array_equal(local_fit(values, t, 0.0, seen)[0], values)


def test_smooth_rotations_keeps_a_steady_turn_and_ignores_quaternion_signs():
    t = np.arange(90) / 30.0
    q = quat_from_axis_angle(np.broadcast_to([0.0, 0.6, 0.8], (90, 3)), 4.0 * t)
    signs = np.where(np.random.default_rng(2).random(90) < 0.5, -1.0, 1.0)[:, None]
    out = smooth_rotations((q * signs)[:, None], t, 0.12, np.ones(90, bool))[:, 0]
    error = 2 * np.arccos(np.clip(np.abs(np.sum(out * q, -1)), 0, 1))
    assert np.degrees(error[5:-5]).max() < 0.2


def test_fill_gaps_is_slerp_between_the_ends_and_holds_outside():
    t = uneven_times(12)
    seen = np.zeros(12, bool)
    seen[[2, 9]] = True
    r = Rotation.random(12, random_state=4)
    q = r.as_quat()[:, [3, 0, 1, 2]]
    out = fill_gaps(q[:, None], t, seen, rotation=True)[:, 0]
    want = Slerp(t[[2, 9]], r[[2, 9]])(t[2:10]).as_quat()[:, [3, 0, 1, 2]]
    assert np.allclose(np.abs(np.sum(out[2:10] * want, -1)), 1.0, atol=1e-9)
    assert np.allclose(np.abs(np.sum(out[:2] * q[2], -1)), 1.0)
    assert np.allclose(np.abs(np.sum(out[10:] * q[9], -1)), 1.0)
    line = fill_gaps(t[:, None] * 2.0, t, seen, rotation=False)
    assert np.allclose(line[2:10, 0], 2.0 * t[2:10])


def test_runs():
    assert runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert runs(np.zeros(3, bool)) == []


def test_scattered_directions_follow_their_surroundings_and_sure_ones_are_left_alone():
    times = np.arange(120) / 60.0
    seen = np.ones(120, bool)
    angle = np.zeros(120)
    angle[50:60] = 2.0  # a burst of nonsense
    q = quat_from_axis_angle(np.array([0.0, 0.0, 1.0]), angle)[:, None]
    confidence = np.ones((120, 1))
    plain = smooth_rotations(q, times, 0.12, seen)
    assert np.array_equal(smooth_rotations(q, times, 0.12, seen, confidence), plain)
    confidence[48:62] = 0.0
    calm = smooth_rotations(q, times, 0.12, seen, confidence)
    assert rotation_angle(plain[55, 0]) > 1.5 and rotation_angle(calm[:, 0]).max() < 0.6
    assert np.allclose(calm[:25], plain[:25], atol=1e-3)  # far from the burst nothing changes
