"""Root path, world, joint limits and contacts, each against independent truth."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from solve_cases import K, adult, camera, film, still

from gentg_blender.core.rotations import quat_from_axis_angle, quat_to_matrix, rotation_angle
from inference_backend.solve.contacts import detect_contacts
from inference_backend.solve.joint_limits import TURN_ROOM, fold, limit_turn, swing_about
from inference_backend.solve.rigid_fit import (
    ObservedKeypoints,
)
from inference_backend.solve.root_path import (
    ACCELERATION_DENSITY,
    CONTACT_SPEED,
    CONTACT_TIME,
    CORRELATION_TIME,
    estimate_camera_translation,
    place_root,
    smooth_path,
)
from inference_backend.solve.world import floor_height, level_by_feet, world_rotation

RNG = np.random.default_rng(17)


def uneven_times(n, seed=1):
    return np.cumsum(np.random.default_rng(seed).uniform(0.02, 0.05, n))


def test_place_root_recovers_a_person_whose_distance_was_guessed_wrong():
    world, times = still(adult(), 4)
    R, t = camera(8, 4, 70, 1.5, 5.0, np.zeros(2))
    case = film(world, times, R=R, t=t)
    truth = (world @ R.T + t)[:, 0]
    observed = ObservedKeypoints(case.track.keypoints, K)
    guess = truth * [[1.05]]
    root, information = place_root(case.lifted.joints, np.full((4, 35), 0.01), guess, observed)
    assert np.linalg.norm(root - truth, axis=-1).max() < 0.03
    ray = truth[0] / np.linalg.norm(truth[0])
    spread = np.linalg.inv(information[0])
    across = np.linalg.svd(ray[None])[2][1]
    assert ray @ spread @ ray > 10 * (across @ spread @ across)  # distance is the uncertain part


def test_smooth_path_solves_its_normal_equations():
    """The banded solution against dense least squares written term by term."""
    rng = np.random.default_rng(8)
    n = 14
    t = uneven_times(n)
    seen = np.ones(n, bool)
    seen[6:8] = False
    root, feet = rng.standard_normal((n, 3)), rng.standard_normal((n, 2, 3))
    half = rng.standard_normal((n, 3, 3))
    information = half @ np.swapaxes(half, -1, -2) + np.eye(3)
    planted = rng.uniform(0, 1, (n, 2))
    rows, right = [], []

    def row(terms, value, weight):
        line = np.zeros((n, 3))
        for frame, axis, factor in terms:
            line[frame, axis] += factor
        rows.append(np.sqrt(weight) * line.ravel())
        right.append(np.sqrt(weight) * value)

    share = min(1.0, np.median(np.diff(t)) / CORRELATION_TIME)
    for i in range(n):
        factor = np.linalg.cholesky(information[i] * share).T
        for k in range(3):
            row([(i, a, factor[k, a]) for a in range(3)], factor[k] @ root[i], 1.0)
    for i in range(n - 1):
        if seen[i] and seen[i + 1]:
            for c in range(2):
                w = planted[i, c] * planted[i + 1, c] / ((t[i + 1] - t[i]) * CONTACT_TIME * CONTACT_SPEED**2)
                for a in range(3):
                    row([(i + 1, a, 1), (i, a, -1)], -(feet[i + 1, c, a] - feet[i, c, a]), w)
    for i in range(1, n - 1):
        if seen[i - 1 : i + 2].all():
            h, g = t[i] - t[i - 1], t[i + 1] - t[i]
            for a in range(3):
                row(
                    [(i - 1, a, 2 / (h * (h + g))), (i, a, -2 / (h * g)), (i + 1, a, 2 / (g * (h + g)))],
                    0.0,
                    (h + g) / 2 / ACCELERATION_DENSITY,
                )
    want = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0].reshape(n, 3)
    got = smooth_path(root, information, feet, planted, t, seen)
    assert np.allclose(got, want, atol=1e-7)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_smooth_path_of_very_short_clips(frames):
    root = np.ones((frames, 3))
    out = smooth_path(
        root,
        np.tile(np.eye(3), (frames, 1, 1)),
        np.zeros((frames, 4, 3)),
        np.ones((frames, 4)),
        np.arange(frames) / 25.0,
        np.ones(frames, bool),
    )
    assert np.allclose(out, 1.0, atol=1e-9)


def test_world_rotation_is_level_and_faces_along_the_view():
    for pitch, roll, heading in RNG.uniform([-60, -40, -180], [60, 40, 180], (20, 3)):
        R_true, _ = camera(pitch, roll, heading, 1.5, 4.0, np.zeros(2))
        R = world_rotation(R_true @ [0, 0, -1.0])
        assert np.allclose(R.T @ R, np.eye(3), atol=1e-12) and np.linalg.det(R) > 0
        assert np.allclose(R[:, 2], R_true[:, 2], atol=1e-12)
        view = R.T @ [0, 0, 1.0]
        assert abs(view[0]) < 1e-12 and view[1] > 0
        yaw = R.T @ R_true  # what is left is the heading alone
        assert np.allclose(np.degrees(np.arctan2(yaw[1, 0], yaw[0, 0])), -heading, atol=1e-6)
    for down in ([0, 0, 1.0], [0, 0, -1.0]):
        R = world_rotation(np.array(down))
        assert np.allclose(R.T @ R, np.eye(3)) and np.allclose(R[:, 2], -np.array(down))


def test_level_by_feet_levels_a_tilted_floor_and_leaves_poor_evidence_alone():
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.uniform(-3, 3, (40, 2)), np.zeros((40, 1))], 1) + [0, 0, 0.7]
    points[3, 2] += 0.4  # one foot on a stool
    tilt = Rotation.from_euler("xy", [4.0, -3.0], degrees=True).as_matrix()
    level = level_by_feet(points @ tilt.T, np.ones(40))
    up = level @ tilt @ [0, 0, 1.0]
    assert np.degrees(np.arccos(up[2])) < 0.3
    assert np.array_equal(level_by_feet(points[:2], np.ones(2)), np.eye(3))
    near = level_by_feet(points[:6] * [0.05, 0.05, 1] + 0.02 * rng.standard_normal((6, 3)), np.ones(6))
    assert np.degrees(np.arccos(near[2, 2])) < 1.5


def test_floor_height_uses_contacts_then_the_bodys_lowest_point():
    feet = np.full((50, 2, 3), 2.0)
    feet[:30, :, 2] = 0.53
    planted = np.zeros((50, 2))
    planted[:30] = 0.9
    seen = np.ones(50, bool)
    soles = feet[..., 2] - 0.03
    assert floor_height(soles, soles.min(1), planted, seen) == (pytest.approx(0.5), True)
    assert floor_height(soles, soles.min(1), planted * 0, seen) == (pytest.approx(0.5), False)
    hands = np.full(len(feet), 0.2)
    assert floor_height(soles, hands, planted * 0, seen) == (pytest.approx(0.2), False)
    assert floor_height(soles, hands, planted, seen) == (pytest.approx(0.5), True)


def test_fold_is_the_identity_inside_and_continuous_all_around():
    angle = np.linspace(-np.pi, np.pi, 20001)
    limit = np.radians(80)
    out = fold(angle, limit)
    inside = np.abs(angle) <= limit
    assert np.array_equal(out[inside], angle[inside])
    assert np.abs(out).max() <= limit and np.abs(np.diff(out)).max() < 1e-3
    assert abs(out[0]) < 1e-9 and abs(out[-1]) < 1e-9  # straight backwards becomes straight forwards


def test_limit_turn_leaves_what_is_in_range_and_keeps_axis_and_order_beyond():
    axis = np.broadcast_to([0.6, 0.0, 0.8], (300, 3))
    angle = np.linspace(0, 3.0, 300)
    q = quat_from_axis_angle(axis, angle)
    out = limit_turn(q, 1.0)
    assert np.array_equal(out[angle <= 1.0], q[angle <= 1.0])
    got = rotation_angle(out)
    assert np.all(np.diff(got) > 0) and got.max() < 1.0 + TURN_ROOM
    assert np.allclose(quat_to_matrix(out) @ axis[0], axis, atol=1e-9)


def test_swing_about_keeps_both_lengths():
    a, b, c = RNG.standard_normal((3, 10, 3))
    moved = swing_about(a, b, c, np.full(10, 2.0))
    assert np.allclose(np.linalg.norm(moved - a, axis=-1), np.linalg.norm(b - a, axis=-1))
    assert np.allclose(np.linalg.norm(moved - c, axis=-1), np.linalg.norm(b - c, axis=-1))


def stepping_foot(fps=30.0):
    """One point: planted 1 s, a step of 0.5 m in 0.4 s, planted 1 s."""
    t = np.arange(0, 2.4, 1 / fps)
    u = np.clip((t - 1.0) / 0.4, 0, 1)
    x = 0.5 * (u - np.sin(2 * np.pi * u) / (2 * np.pi))
    feet = np.zeros((len(t), 1, 3))
    feet[:, 0, 0], feet[:, 0, 2] = x, 0.02 + 0.12 * np.sin(np.pi * u) ** 2
    return t, feet, (t <= 1.0) | (t >= 1.4)


@pytest.mark.parametrize("fps", [24.0, 60.0])
def test_contacts_follow_a_step_whatever_the_network_is_uncertain_of(fps):
    t, feet, truth = stepping_foot(fps)
    seen = np.ones(len(t), bool)
    for p in (0.5, 0.7, np.where(truth, 0.95, 0.05)[:, None]):
        got = detect_contacts(feet, np.array([0.02]), np.full((len(t), 1), 0.0) + p, t, seen)[:, 0]
        assert np.mean(got == truth) > 0.9
    # The network's doubt is heard, and its certainty does not plant a flying foot.
    assert not detect_contacts(feet, np.array([0.02]), np.full((len(t), 1), 0.01), t, seen).any()
    up = feet + [0, 0, 0.4]
    assert not detect_contacts(up, np.array([0.02]), np.full((len(t), 1), 0.9), t, seen).any()


def test_contacts_have_no_flicker_and_stop_at_gaps():
    t, feet, truth = stepping_foot()
    seen = np.ones(len(t), bool)
    seen[10:15] = False
    p = np.where(truth, 0.9, 0.1)[:, None].copy()
    p[20] = 0.2  # one doubtful frame in a stance
    p[35] = 0.9  # one hopeful frame in the air
    got = detect_contacts(feet, np.array([0.02]), p, t, seen)[:, 0]
    assert got[16:29].all() and not got[34:38].any() and not got[10:15].any()


def test_the_camera_stands_where_the_finished_body_covers_the_person():
    """Information decides, axis by axis: frames that say little about a direction do not move the camera along it."""
    rng = np.random.default_rng(5)
    shift = np.array([0.02, -0.04, 3.0])
    apart = shift + 0.01 * rng.normal(size=(50, 3))
    information = np.broadcast_to(np.diag([4000.0, 4000.0, 50.0]), (50, 3, 3)).copy()
    seen = np.ones(50, bool)
    np.testing.assert_allclose(estimate_camera_translation(apart, information, seen), apart.mean(0))
    apart[40:] += 5.0
    seen[40:] = False
    np.testing.assert_allclose(estimate_camera_translation(apart, information, seen), apart[:40].mean(0))
    apart[:20, 0] += 1.0
    information[:20, 0, 0] = 0.0
    np.testing.assert_allclose(
        estimate_camera_translation(apart, information, seen)[0], apart[20:40, 0].mean()
    )
