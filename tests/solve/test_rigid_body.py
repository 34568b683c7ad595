"""Limb lengths, rest pose and the rigid fit, each against independent truth."""

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from solve_cases import K, adult, camera, still

from gentg_blender.core.rotations import normalize
from gentg_blender.core.skeleton import (
    BONE_MIRROR,
    BONES,
    JOINT_INDEX,
    JOINT_MIRROR,
    JOINT_PARENTS,
    NUM_JOINTS,
)
from inference_backend.solve.limb_lengths import clip_lengths, weighted_median
from inference_backend.solve.rest_pose import HEEL_ABOVE_SOLE, build_rest_pose
from inference_backend.solve.rigid_fit import (
    HUBER,
    PIXEL_SIGMA,
    ObservedKeypoints,
    fit_limbs,
    reprojection,
    stretch_limbs,
)

RNG = np.random.default_rng(17)


def test_weighted_median_is_the_point_where_half_the_weight_lies_below():
    values, weights = RNG.standard_normal((101, 3)), RNG.uniform(0.1, 1.0, (101, 3))
    got = weighted_median(values, weights)
    for k in range(3):
        below = weights[values[:, k] < got[k], k].sum()
        upto = weights[values[:, k] <= got[k], k].sum()
        assert below < weights[:, k].sum() / 2 <= upto


def test_lengths_undo_the_shrinking_of_mean_poses():
    """A regressor that is uncertain of an elbow's depth answers with the mean over possible
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


def test_reprojection_gradient_is_that_of_its_loss():
    rng = np.random.default_rng(3)
    points = rng.uniform([-1, -1, 3], [1, 1, 6], (1, NUM_JOINTS, 3))
    keypoints = np.concatenate(
        [rng.uniform(200, 1000, (1, NUM_JOINTS, 2)), rng.uniform(0, 1, (1, NUM_JOINTS, 1))], -1
    )
    gradient, hessian = reprojection(points, ObservedKeypoints(keypoints, K), PIXEL_SIGMA)
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
    observed = ObservedKeypoints(np.concatenate([uv, np.full(uv.shape[:2] + (1,), 0.8)], -1), K)
    got = fit_limbs(mean, mean, information, lengths, observed, steps=25)
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
        ray = (observed.keypoints[0, :, :2] - K[:2, 2]) / [K[0, 0], K[1, 1]]
        flat = (x[:, :2] / x[:, 2:] - ray) * got[0, :, 2:] * 0.8 / PIXEL_SIGMA
        return np.concatenate([((x - mean[0]) * np.sqrt(information[0])).ravel(), flat.ravel()])

    start = (mean[0] - mean[0][np.maximum(JOINT_PARENTS, 0)])[1:]
    best = place(least_squares(residuals, start.ravel(), method="lm").x)
    assert np.max(np.abs(best - got[0])) < 2e-4
    assert np.abs(fit_limbs(mean, mean, information, lengths, observed, steps=3) - got).max() < 5e-3


def test_frozen_joints_stay_and_limbs_hang_on_them():
    x, _ = still(adult(), 2)
    R, t = camera(0, 0, 0, 1.2, 4.0, np.zeros(2))
    x = x @ R.T + t
    lengths = np.linalg.norm(x[0] - x[0][np.maximum(JOINT_PARENTS, 0)], axis=-1)
    frozen = np.isin(np.arange(NUM_JOINTS), [JOINT_INDEX[n] for n in ("pelvis", "spine", "l_hip", "r_hip")])
    start = x + 0.01
    observed = ObservedKeypoints(np.zeros((2, NUM_JOINTS, 3)), K)
    out = fit_limbs(start, x, np.full(x.shape, 400.0), lengths, observed, frozen=frozen)
    assert np.array_equal(out[:, frozen], start[:, frozen])
    assert np.linalg.norm(out[:, ~frozen] - x[:, ~frozen], axis=-1).max() < 0.02


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
