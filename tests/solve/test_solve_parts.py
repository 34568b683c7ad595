"""The solver's steps, each against independent truth: scipy, dense algebra, analytic cases."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation, Slerp
from solve_cases import K, adult, camera, film, still

from gentg_blender.core.rotations import normalize, quat_from_axis_angle, quat_to_matrix, rotation_angle
from gentg_blender.core.skeleton import (
    BONE_MIRROR,
    BONES,
    JOINT_INDEX,
    JOINT_MIRROR,
    JOINT_PARENTS,
    NUM_JOINTS,
)
from inference_backend.lifting.lifted import Lifted
from inference_backend.solve.contacts import planted_feet
from inference_backend.solve.joint_limits import TURN_ROOM, fold, limit_turn, swing_about
from inference_backend.solve.limb_lengths import clip_lengths, weighted_median
from inference_backend.solve.rest_pose import HEEL_ABOVE_SOLE, build_rest_pose
from inference_backend.solve.rigid_fit import (
    HUBER,
    PIXEL_SIGMA,
    Picture,
    fit_limbs,
    reprojection,
    stretch_limbs,
)
from inference_backend.solve.root_path import (
    ACCELERATION_DENSITY,
    CONTACT_SPEED,
    CONTACT_TIME,
    CORRELATION_TIME,
    place_root,
    smooth_path,
)
from inference_backend.solve.smoothing import fill_gaps, local_fit, runs, smooth_rotations
from inference_backend.solve.world import floor_height, level_by_feet, world_rotation

RNG = np.random.default_rng(17)


def uneven_times(n, seed=1):
    return np.cumsum(np.random.default_rng(seed).uniform(0.02, 0.05, n))


# --------------------------------------------------------------------------- lifted


def lifted_arrays(frames=3):
    return {
        "joints": np.zeros((frames, 35, 3)), "root": np.ones((frames, 3)), "sigma": np.ones((frames, 35)),
        "sigma_xyz": np.ones((frames, 35, 3)), "edge_lengths": np.ones(35),
        "contacts": np.zeros((frames, 4)), "gravity": np.array([0.0, 1.0, 0.0]),
    }  # fmt: skip


def test_lifted_accepts_what_it_describes_and_refuses_the_rest():
    assert len(Lifted(**lifted_arrays())) == 3
    for name, bad in (
        ("joints", np.zeros((3, 34, 3))), ("root", np.ones((2, 3))), ("contacts", np.full((3, 4), np.nan)),
        ("gravity", np.array([0.0, 2.0, 0.0])),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            Lifted(**{**lifted_arrays(), name: bad})
    with pytest.raises(ValueError, match="no frame"):
        Lifted(**lifted_arrays(0))


# --------------------------------------------------------------------------- smoothing


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


# --------------------------------------------------------------------------- lengths and rest pose


def test_weighted_median_is_the_point_where_half_the_weight_lies_below():
    values, weights = RNG.standard_normal((101, 3)), RNG.uniform(0.1, 1.0, (101, 3))
    got = weighted_median(values, weights)
    for k in range(3):
        below = weights[values[:, k] < got[k], k].sum()
        upto = weights[values[:, k] <= got[k], k].sum()
        assert below < weights[:, k].sum() / 2 <= upto


def test_lengths_undo_the_shrinking_of_mean_poses():
    """A regressor that is unsure of an elbow's depth answers with the mean over possible
    directions: its limbs are short by exactly the spread it reports."""
    frames, samples, length = 200, 400, 0.30
    rng = np.random.default_rng(0)
    joints = np.zeros((frames, NUM_JOINTS, 3))
    sigma_xyz = np.full((frames, NUM_JOINTS, 3), 0.01)
    elbow, shoulder = JOINT_INDEX["l_elbow"], JOINT_INDEX["l_shoulder"]
    mean_direction = rng.standard_normal((frames, 1, 3))
    possible = mean_direction / np.linalg.norm(mean_direction, axis=-1, keepdims=True)
    possible = possible + 0.35 * rng.standard_normal((frames, samples, 3))
    possible = length * possible / np.linalg.norm(possible, axis=-1, keepdims=True)
    for name in ("l", "r"):
        e, s = JOINT_INDEX[name + "_elbow"], JOINT_INDEX[name + "_shoulder"]
        joints[:, e] = joints[:, s] + possible.mean(1)
        sigma_xyz[:, e] = np.sqrt(possible.var(1) + sigma_xyz[:, s] ** 2)
    sigma = np.linalg.norm(sigma_xyz, axis=-1)
    plain = np.median(np.linalg.norm(joints[:, elbow] - joints[:, shoulder], axis=-1))
    got = clip_lengths(joints, sigma, sigma_xyz, np.zeros(NUM_JOINTS))[elbow]
    assert plain < 0.93 * length  # the trap
    assert abs(got / length - 1.0) < 0.02, got


def test_lengths_are_symmetric_and_between_network_and_measurement():
    x, _ = still(adult(), 20)
    x = x.copy()
    x[:, JOINT_INDEX["l_elbow"]] += [0.02, 0, 0]
    sigma_xyz = np.full(x.shape, 0.01)
    measured = clip_lengths(x, np.linalg.norm(sigma_xyz, axis=-1), sigma_xyz, np.zeros(NUM_JOINTS))
    network = measured * 1.1
    both = clip_lengths(x, np.linalg.norm(sigma_xyz, axis=-1), sigma_xyz, network)
    assert np.allclose(both, both[JOINT_MIRROR]) and both[0] == 0.0
    assert np.all(both[1:] > measured[1:]) and np.all(both[1:] < network[1:])


def test_rest_pose_is_a_mirrored_t_pose_on_the_floor():
    rest = adult()
    x = rest.joints
    assert np.allclose(x[JOINT_MIRROR] * [-1, 1, 1], x, atol=1e-12)
    assert np.allclose(rest.head[BONE_MIRROR] * [-1, 1, 1], rest.head, atol=1e-12)
    mirrored = np.diag([-1.0, 1.0, 1.0]) @ rest.matrix[BONE_MIRROR]  # y and z mirror, x follows from them
    assert np.allclose(mirrored[..., 1:], rest.matrix[..., 1:], atol=1e-9)
    length = rest.tail - rest.head
    assert np.allclose(
        rest.matrix[..., 1], length / np.linalg.norm(length, axis=-1, keepdims=True), atol=1e-12
    )
    assert np.allclose(np.linalg.det(rest.matrix), 1.0)
    carried = rest.head[rest.carrier] + np.einsum("jab,jb->ja", rest.matrix[rest.carrier], rest.offset)
    assert np.allclose(carried, x, atol=1e-12)
    assert x[JOINT_INDEX["nose"], 1] < -0.1 and x[JOINT_INDEX["l_wrist"], 0] > 0.5  # faces -Y, left at +X
    toe, heel = x[JOINT_INDEX["l_foot_index"]], x[JOINT_INDEX["l_heel"]]
    assert 0.0 < toe[2] < heel[2] < 0.05
    assert abs(rest.tail[BONES.index("toe.L"), 2] - rest.head[BONES.index("toe.L"), 2]) < 1e-12
    assert 1.65 < rest.standing_height < 1.85


def test_rest_pose_is_found_again_from_any_orientation():
    rest = adult()
    turned = np.stack([rest.joints @ r.T for r in Rotation.random(9, random_state=1).as_matrix()])
    lengths = np.linalg.norm(rest.joints - rest.joints[np.maximum(JOINT_PARENTS, 0)], axis=-1)
    again = build_rest_pose(lengths, turned, np.full(turned.shape[:2], 0.01))
    for name in ("l_index", "r_pinky", "nose", "l_ear", "head_top"):
        assert np.linalg.norm(again.point(name) - rest.point(name)) < 0.012, name
    foot = np.linalg.norm(again.point("l_heel") - again.point("l_foot_index"))
    assert abs(again.point("l_heel")[2] - HEEL_ABOVE_SOLE * foot) < 1e-6


# --------------------------------------------------------------------------- rigid fit


def test_reprojection_gradient_is_that_of_its_loss():
    rng = np.random.default_rng(3)
    points = rng.uniform([-1, -1, 3], [1, 1, 6], (1, NUM_JOINTS, 3))
    keypoints = np.concatenate(
        [rng.uniform(200, 1000, (1, NUM_JOINTS, 2)), rng.uniform(0, 1, (1, NUM_JOINTS, 1))], -1
    )
    gradient, hessian = reprojection(points, Picture(keypoints, K), PIXEL_SIGMA)
    off = keypoints[..., 2] < 0.1
    assert off.any() and np.all(gradient[off] == 0) and np.all(hessian[off] == 0)
    ray = np.concatenate(
        [(keypoints[..., :2] - K[:2, 2]) / [K[0, 0], K[1, 1]], np.ones((1, NUM_JOINTS, 1))], -1
    )
    residual = points - points[..., 2:] * ray
    size = np.linalg.norm(residual, axis=-1) / PIXEL_SIGMA
    inside = (size < HUBER) & ~off
    assert np.allclose(
        np.linalg.norm(gradient[~off & ~inside][:, :2], axis=-1) * PIXEL_SIGMA,
        HUBER * keypoints[~off & ~inside][:, 2] ** 2,
    )  # Huber: the pull is bounded
    assert np.linalg.eigvalsh(hessian[0]).min() > -1e-6


def test_fit_limbs_finds_the_minimum_that_scipy_finds():
    """The sweep over the tree against a general solver of the same least-squares problem."""
    rng = np.random.default_rng(5)
    rest = adult()
    R, t = camera(10, 3, 30, 1.4, 4.5, np.zeros(2))
    truth = (rest.joints @ R.T + t)[None]
    lengths = np.linalg.norm(rest.joints - rest.joints[np.maximum(JOINT_PARENTS, 0)], axis=-1)
    mean = truth + 0.03 * rng.standard_normal(truth.shape)
    mean[:, 0] = truth[:, 0]
    information = rng.uniform(0.02, 0.08, truth.shape) ** -2.0
    uv = (
        truth[..., :2] / truth[..., 2:] * [K[0, 0], K[1, 1]]
        + K[:2, 2]
        + 2.0 * rng.standard_normal(truth.shape[:2] + (2,))
    )
    picture = Picture(np.concatenate([uv, np.full(uv.shape[:2] + (1,), 0.8)], -1), K)
    got = fit_limbs(mean, mean, information, lengths, picture, steps=25)
    edges = got - got[:, np.maximum(JOINT_PARENTS, 0)]
    assert np.allclose(np.linalg.norm(edges, axis=-1)[:, 1:], lengths[1:], atol=1e-12)

    def place(free):
        d = free.reshape(-1, 3)
        steps = lengths[1:, None] * d / np.linalg.norm(d, axis=-1, keepdims=True)
        x = mean[0].copy()
        for j in range(1, NUM_JOINTS):
            x[j] = x[JOINT_PARENTS[j]] + steps[j - 1]
        return x

    def residuals(free):
        x = place(free)
        ray = (picture.keypoints[0, :, :2] - K[:2, 2]) / [K[0, 0], K[1, 1]]
        flat = (x[:, :2] / x[:, 2:] - ray) * got[0, :, 2:] * 0.8 / PIXEL_SIGMA
        return np.concatenate([((x - mean[0]) * np.sqrt(information[0])).ravel(), flat.ravel()])

    start = (mean[0] - mean[0][np.maximum(JOINT_PARENTS, 0)])[1:]
    best = place(least_squares(residuals, start.ravel(), method="lm").x)
    assert np.max(np.abs(best - got[0])) < 2e-4
    assert np.abs(fit_limbs(mean, mean, information, lengths, picture, steps=3) - got).max() < 5e-3


def test_frozen_joints_stay_and_limbs_hang_on_them():
    x, _ = still(adult(), 2)
    R, t = camera(0, 0, 0, 1.2, 4.0, np.zeros(2))
    x = x @ R.T + t
    lengths = np.linalg.norm(x[0] - x[0][np.maximum(JOINT_PARENTS, 0)], axis=-1)
    frozen = np.isin(np.arange(NUM_JOINTS), [JOINT_INDEX[n] for n in ("pelvis", "spine", "l_hip", "r_hip")])
    start = x + 0.01
    picture = Picture(np.zeros((2, NUM_JOINTS, 3)), K)
    out = fit_limbs(start, x, np.full(x.shape, 400.0), lengths, picture, frozen=frozen)
    assert np.array_equal(out[:, frozen], start[:, frozen])
    assert np.linalg.norm(out[:, ~frozen] - x[:, ~frozen], axis=-1).max() < 0.02


# --------------------------------------------------------------------------- root and world


def test_place_root_recovers_a_person_whose_distance_was_guessed_wrong():
    world, times = still(adult(), 4)
    R, t = camera(8, 4, 70, 1.5, 5.0, np.zeros(2))
    case = film(world, times, R=R, t=t)
    truth = (world @ R.T + t)[:, 0]
    picture = Picture(case.track.keypoints, K)
    guess = truth * [[1.05]]
    root, information = place_root(case.lifted.joints, np.full((4, 35), 0.01), guess, picture)
    assert np.linalg.norm(root - truth, axis=-1).max() < 0.03
    ray = truth[0] / np.linalg.norm(truth[0])
    spread = np.linalg.inv(information[0])
    across = np.linalg.svd(ray[None])[2][1]
    assert ray @ spread @ ray > 10 * (across @ spread @ across)  # distance is the unsure part


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


def test_floor_height_uses_contacts_then_the_lowest_foot():
    feet = np.full((50, 2, 3), 2.0)
    feet[:30, :, 2] = 0.53
    planted = np.zeros((50, 2))
    planted[:30] = 0.9
    seen = np.ones(50, bool)
    assert floor_height(feet, np.array([0.03, 0.03]), planted, seen) == (pytest.approx(0.5), True)
    assert floor_height(feet, np.array([0.03, 0.03]), planted * 0, seen) == (pytest.approx(0.5), False)


# --------------------------------------------------------------------------- limits and contacts


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
def test_contacts_follow_a_step_whatever_the_network_is_unsure_of(fps):
    t, feet, truth = stepping_foot(fps)
    seen = np.ones(len(t), bool)
    for p in (0.5, 0.7, np.where(truth, 0.95, 0.05)[:, None]):
        got = planted_feet(feet, np.array([0.02]), np.full((len(t), 1), 0.0) + p, t, seen)[:, 0]
        assert np.mean(got == truth) > 0.9
    # The network's doubt is heard, and its certainty does not plant a flying foot.
    assert not planted_feet(feet, np.array([0.02]), np.full((len(t), 1), 0.01), t, seen).any()
    up = feet + [0, 0, 0.4]
    assert not planted_feet(up, np.array([0.02]), np.full((len(t), 1), 0.9), t, seen).any()


def test_contacts_have_no_flicker_and_stop_at_gaps():
    t, feet, truth = stepping_foot()
    seen = np.ones(len(t), bool)
    seen[10:15] = False
    p = np.where(truth, 0.9, 0.1)[:, None].copy()
    p[20] = 0.2  # one doubtful frame in a stance
    p[35] = 0.9  # one hopeful frame in the air
    got = planted_feet(feet, np.array([0.02]), p, t, seen)[:, 0]
    assert got[16:29].all() and not got[34:38].any() and not got[10:15].any()


def test_limbs_drawn_short_get_their_length_and_keep_their_direction():
    rng = np.random.default_rng(5)
    lengths = np.where(JOINT_PARENTS >= 0, 0.3, 0.0)
    parents = np.maximum(JOINT_PARENTS, 0)
    vectors = normalize(rng.standard_normal((4, NUM_JOINTS, 3))) * 0.26
    vectors[:, JOINT_INDEX["l_knee"]] *= 0.01  # hardly any direction: not blown up to full length
    joints = np.zeros((4, NUM_JOINTS, 3))
    for joint in range(1, NUM_JOINTS):
        joints[:, joint] = joints[:, parents[joint]] + vectors[:, joint]
    after = stretch_limbs(joints, lengths)
    after = after - after[:, parents]
    size = np.linalg.norm(after, axis=-1)
    knee = np.arange(NUM_JOINTS) == JOINT_INDEX["l_knee"]
    assert np.allclose(size[:, 1:][:, ~knee[1:]], 0.3)
    assert np.allclose(size[:, knee], 0.0026 * 1.25)
    assert np.allclose(normalize(after[:, 1:]), normalize(vectors[:, 1:]))


def test_scattered_directions_follow_their_surroundings_and_sure_ones_are_left_alone():
    times = np.arange(120) / 60.0
    seen = np.ones(120, bool)
    angle = np.zeros(120)
    angle[50:60] = 2.0  # a burst of nonsense
    q = quat_from_axis_angle(np.array([0.0, 0.0, 1.0]), angle)[:, None]
    sure = np.ones((120, 1))
    plain = smooth_rotations(q, times, 0.12, seen)
    assert np.array_equal(smooth_rotations(q, times, 0.12, seen, sure), plain)
    sure[48:62] = 0.0
    calm = smooth_rotations(q, times, 0.12, seen, sure)
    assert rotation_angle(plain[55, 0]) > 1.5 and rotation_angle(calm[:, 0]).max() < 0.6
    assert np.allclose(calm[:25], plain[:25], atol=1e-3)  # far from the burst nothing changes
