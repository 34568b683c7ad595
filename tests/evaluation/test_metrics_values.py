"""Metrics on values: against scipy, closed forms and hand-made cases."""

import numpy as np
import pytest
from scipy import signal, stats
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from gentg_blender.core.confidence import ERROR_SPREAD
from inference_backend.evaluation import metrics, uncertainty
from inference_backend.evaluation.alignment import align

RNG = np.random.default_rng(3)


def test_similarity_recovers_a_known_transform():
    x = RNG.normal(size=(20, 17, 3))
    r = Rotation.random(20, random_state=1).as_matrix()
    y = 1.7 * np.einsum("tij,tnj->tni", r, x) + RNG.normal(size=(20, 1, 3))
    found = align(x, y)
    np.testing.assert_allclose(found.rotation, r, atol=1e-12)
    np.testing.assert_allclose(found.scale, 1.7, rtol=1e-12)
    np.testing.assert_allclose(found.apply(x), y, atol=1e-12)


def test_procrustes_agrees_with_scipy():
    for _ in range(20):
        x = RNG.normal(size=(17, 3))
        y = x @ Rotation.random(random_state=RNG.integers(1 << 31)).as_matrix().T * 0.6 + 0.2 * RNG.normal(
            size=(17, 3)
        )
        # scipy's disparity is the residual with the target scaled to unit norm
        _, _, disparity = procrustes(y, x)
        residual = ((align(x, y).apply(x) - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
        assert residual == pytest.approx(disparity, rel=1e-9)


def test_rotation_agrees_with_align_vectors():
    x, y = RNG.normal(size=(2, 17, 3))  # unrelated: half of the optima are reflections
    for _ in range(20):
        x, y = RNG.normal(size=(2, 17, 3))
        expected, _ = Rotation.align_vectors(y, x)
        np.testing.assert_allclose(
            align(x, y, scale=False, translate=False).rotation, expected.as_matrix(), atol=1e-8
        )


def test_a_mirrored_pose_is_not_aligned_away():
    x = RNG.normal(size=(1, 17, 3))
    mirrored = x * [-1, 1, 1]
    found = align(mirrored, x)
    assert np.linalg.det(found.rotation[0]) == pytest.approx(1.0)
    assert metrics.distances(metrics.procrustes_aligned(mirrored, x), x).mean() > 100


def test_mpjpe_family():
    ref = RNG.normal(size=(30, 17, 3))
    ref -= ref[:, :1]
    assert metrics.distances(ref + [0.003, 0.004, 0.0], ref).mean() == pytest.approx(5.0)
    assert metrics.distances(metrics.scale_aligned(1.3 * ref, ref), ref).max() < 1e-9
    turned = ref @ Rotation.from_rotvec([0.3, 0.2, -0.5]).as_matrix().T
    assert metrics.distances(metrics.procrustes_aligned(turned, ref), ref).max() < 1e-9
    assert metrics.distances(metrics.clip_aligned(1.2 * turned, ref, scale=True)[0], ref).max() < 1e-9
    assert metrics.distances(metrics.clip_aligned(1.2 * turned, ref, scale=False)[0], ref).mean() > 50
    wobble = np.einsum("tij,tnj->tni", Rotation.from_rotvec(0.1 * RNG.normal(size=(30, 3))).as_matrix(), ref)
    assert metrics.distances(metrics.procrustes_aligned(wobble, ref), ref).max() < 1e-9
    assert metrics.distances(metrics.clip_aligned(wobble, ref, scale=True)[0], ref).mean() > 20


def test_undetected_frames_drop_out_of_means_but_not_of_pck():
    ref = RNG.normal(size=(10, 5, 3))
    pred = ref + [0.1, 0, 0]
    pred[4] = np.nan
    assert metrics.mean(metrics.distances(pred, ref)) == pytest.approx(100)
    assert metrics.pck(metrics.distances(pred, ref)) == pytest.approx(0.9)
    assert np.isnan(metrics.procrustes_aligned(pred, ref)[4]).all()


def test_derivatives_of_a_cubic_at_uneven_times():
    t = np.sort(RNG.uniform(0, 2, 40))
    x = np.stack([2 * t**3 - t, 5 * t**2, 7 * t], -1)[:, None]
    # Third derivative of a cubic is exact; the second one of a parabola as well.
    np.testing.assert_allclose(metrics.derivative(x, t, 3)[:, 0], [[12, 0, 0]] * 37, atol=1e-4)
    np.testing.assert_allclose(metrics.derivative(x[..., 1:], t, 2)[:, 0], [[10, 0]] * 38, atol=1e-6)
    still = np.zeros_like(x)
    np.testing.assert_allclose(
        metrics.motion_error(x[:, :, [1, 1, 1]] * [1, 0, 0], still, t, 2), 10, atol=1e-6
    )
    with pytest.raises(ValueError, match="increasing"):
        metrics.derivative(x, t[::-1], 1)


def test_pck_and_auc():
    errors = np.array([[10.0, 149.9], [150.1, 400.0]])
    assert metrics.pck(errors) == 0.5
    uniform = np.linspace(0, 300, 30001)[:, None]
    assert metrics.auc(uniform) == pytest.approx(0.25, abs=1e-3)  # mean of t / 300 for t in 0..150


def test_bones_and_sides():
    t = np.arange(400) / 30
    x = np.zeros((400, 4, 3))
    x[:, 1, 0] = 0.40 + 0.01 * np.sin(2 * np.pi * t)  # left bone 0-1
    x[:, 3, 0] = 0.37  # right bone 2-3
    bones, partner = np.array([[0, 1], [2, 3]]), np.array([1, 0])
    assert metrics.bone_std(x, bones) == pytest.approx((10 / np.sqrt(2) + 0) / 2, rel=0.01)
    assert metrics.side_difference(x, bones, partner) == pytest.approx(30, rel=0.01)


def test_swapped_frames_are_found():
    ref = np.zeros((4, 2, 3))
    ref[:, 0, 0], ref[:, 1, 0] = 0.2, -0.2
    pred = ref.copy()
    pred[1] = ref[1, ::-1]
    pred[2] = 0.0  # exchanging changes nothing: not a swap
    assert metrics.swapped(pred, ref, np.array([1, 0])).tolist() == [False, True, False, False]


def test_planted_feet_and_skate():
    """A foot stands for 2 s, is lifted for 1 s while moving 1 m, and stands again."""
    t = np.arange(0, 5, 1 / 60)
    s = np.clip(t - 2, 0, 1)
    foot = np.stack([s - np.sin(2 * np.pi * s) / (2 * np.pi), 0 * t, 0.1 * np.sin(np.pi * s) ** 2], -1)[
        :, None
    ]
    stands = metrics.planted(foot, t)[:, 0]
    assert stands[:110].all() and stands[190:].all() and not stands[130:170].any()
    assert metrics.foot_skate(foot, t, stands[:, None]) < 0.02
    sliding = foot + np.stack([0.3 * t, 0 * t, 0 * t], -1)[:, None]
    assert metrics.foot_skate(sliding, t, stands[:, None]) == pytest.approx(0.3, abs=0.02)
    lifted_foot = foot + [0, 0, 0.3]
    both = np.concatenate([foot, lifted_foot], 1)
    assert metrics.planted(both, t)[:110].all(), "each foot point has its own floor"


def test_slow_rates_are_not_filtered():
    feet = np.zeros((8, 1, 3))
    assert metrics.planted(feet, np.arange(8) / 30).all()
    assert metrics.planted(np.zeros((40, 1, 3)), np.arange(40) / 10).all()


def test_floor_and_root():
    x = np.zeros((4, 2, 3))
    x[1, 0, 2], x[2, 1, 2], x[3, :, 2] = -0.02, -0.04, 0.1
    assert metrics.floor_penetration(x) == (pytest.approx(15.0), pytest.approx(40.0))
    ref = np.stack([np.linspace(0, 2, 5), np.zeros(5), np.ones(5)], -1)
    error, percent = metrics.root_error(ref + [0, 0.1, 0], ref)
    assert error == pytest.approx(100) and percent == pytest.approx(5.0)


LOG_NORMAL = stats.lognorm(ERROR_SPREAD, scale=np.exp(-(ERROR_SPREAD**2)))  # its mean square is 1


def test_distance_quantile_agrees_with_scipy():
    for level in (0.05, 0.5, 0.8, 0.9, 0.95, 0.999):
        assert uncertainty.distance_quantile(level) == pytest.approx(LOG_NORMAL.ppf(level), rel=1e-10)
        assert uncertainty.distance_quantile(level, 1) == pytest.approx(stats.halfnorm.ppf(level), rel=1e-10)


def test_calibrated_errors_are_covered_and_others_not():
    sigma = RNG.uniform(0.01, 0.2, 40000)
    error = sigma * LOG_NORMAL.rvs(40000, random_state=RNG)
    for level in uncertainty.LEVELS:
        assert uncertainty.coverage(error, sigma, level) == pytest.approx(level, abs=0.01)
    assert uncertainty.calibration_error(error, sigma) < 0.01
    assert uncertainty.coverage(error, sigma / 2, 0.9) < 0.6
    assert uncertainty.calibration_error(error, 2 * sigma) > 0.2


def test_sparsification_and_rank_correlation():
    error = RNG.uniform(0.01, 1, 5000)
    assert uncertainty.ause(error, error) == pytest.approx(0)
    random, wrong = uncertainty.ause(error, RNG.uniform(1, 2, 5000)), uncertainty.ause(error, 2 - error)
    assert 0.2 < random < wrong
    sigma = np.round(error + 0.2 * RNG.normal(size=5000) + 2, 1)  # with ties
    assert uncertainty.spearman(error, sigma) == pytest.approx(
        stats.spearmanr(error, sigma).statistic, rel=1e-9
    )
    with pytest.raises(ValueError, match="positive"):
        uncertainty.coverage(error, np.zeros(5000), 0.5)


def test_contact_filter_is_what_it_says():
    """The published definition: second order, 6 Hz, forwards and backwards."""
    t = np.arange(300) / 30
    foot = np.zeros((300, 1, 3))
    foot[:, 0, 0] = 0.001 * np.sin(2 * np.pi * 13 * t)  # 0.08 m/s at 13 Hz, nearly all filtered away
    b, a = signal.butter(2, 6 / 15)
    gain = abs(signal.freqz(b, a, [13], fs=30)[1][0]) ** 2
    assert gain < 0.01 and metrics.planted(foot, t).all()
    foot[:, 0, 0] *= 20 / gain
    assert not metrics.planted(foot, t)[20:-20].all()


def test_unknown_feet_neither_stand_nor_spoil_the_rest():
    feet = np.zeros((60, 2, 3))
    feet[20:25, 0] = np.nan
    stands = metrics.planted(feet, np.arange(60) / 30)
    assert stands[:, 1].all() and not stands[19:25, 0].any() and stands[:19, 0].all() and stands[25:, 0].all()
