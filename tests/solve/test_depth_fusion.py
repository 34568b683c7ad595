"""The detector's own 3D corrects depth, and depth alone, where the network is uncertain."""

import numpy as np
import pytest
from solve_cases import Lifted

from gentg_blender.core.skeleton import FEET, JOINT_INDEX, NUM_JOINTS
from inference_backend.solve.depth_fusion import DETECTOR_SIGMA, fuse_detector_depth

FRAMES = 40
TIMES = np.arange(FRAMES) / 30.0
SEEN = np.ones(FRAMES, bool)
WRIST = JOINT_INDEX["l_wrist"]


@pytest.fixture
def truth():
    """(T, 35, 3) a still body from the pelvis in camera axes, pelvis midway between the hips."""
    x = np.random.default_rng(0).normal(0.0, 0.3, (NUM_JOINTS, 3))
    x[0] = 0.0
    x[JOINT_INDEX["r_hip"]] = -x[JOINT_INDEX["l_hip"]]
    return np.repeat(x[None], FRAMES, 0)


def lifted(joints, sigma_depth, root=(0.0, 0.0, 4.0)):
    sigma = np.zeros((FRAMES, NUM_JOINTS, 3)) + 0.01
    sigma[..., 2] = sigma_depth
    return Lifted(
        joints=joints,
        root=np.tile(root, (FRAMES, 1)),
        sigma=np.linalg.norm(sigma, axis=-1),
        sigma_xyz=sigma,
        edge_lengths=np.full(NUM_JOINTS, 0.3),
        contacts=np.zeros((FRAMES, len(FEET))),
        gravity=np.array([0.0, 1.0, 0.0]),
    )


def test_without_a_second_opinion_nothing_changes(truth):
    given = lifted(truth, 0.1)
    assert fuse_detector_depth(given, None, TIMES, SEEN) is given
    assert fuse_detector_depth(given, np.full(truth.shape, np.nan), TIMES, SEEN) is given


def test_two_gaussian_estimates_of_depth_meet_at_their_weighted_mean(truth):
    wrong = truth.copy()
    wrong[:, WRIST, 2] += 0.1
    for sigma in (0.05, 0.2, 0.4):
        got = fuse_detector_depth(lifted(wrong, sigma), truth, TIMES, SEEN).joints
        share = sigma**2 / (sigma**2 + DETECTOR_SIGMA**2)
        np.testing.assert_allclose(got[:, WRIST, 2], truth[:, WRIST, 2] + 0.1 * (1 - share), atol=2e-3)
        np.testing.assert_allclose(got[..., :2], wrong[..., :2], atol=1e-9)  # the image is not touched


def test_a_body_of_another_size_is_scaled_first(truth):
    got = fuse_detector_depth(lifted(truth, 0.3), 1.3 * truth, TIMES, SEEN).joints
    np.testing.assert_allclose(got, truth, atol=1e-6)


def test_depth_is_along_the_line_of_sight(truth):
    """Seen 45 degrees off the axis, what a camera facing the person calls depth points to the corner."""
    s = np.sqrt(0.5)
    facing = np.array([[s, 0, -s], [0, 1, 0], [s, 0, s]])  # camera axes -> axes of the line of sight
    given = lifted(truth, 0.3, root=(4.0, 0.0, 4.0))
    world = truth @ facing.T
    np.testing.assert_allclose(fuse_detector_depth(given, world, TIMES, SEEN).joints, truth, atol=1e-6)
    world[:, WRIST] += [0.0, 0.0, 0.1]
    moved = fuse_detector_depth(given, world, TIMES, SEEN).joints[:, WRIST] - truth[:, WRIST]
    assert (
        (moved[:, 0] > 0.01).all() and np.allclose(moved[:, 0], moved[:, 2]) and np.allclose(moved[:, 1], 0)
    )


def test_another_limb_in_the_image_is_no_evidence(truth):
    world = truth.copy()
    world[:, WRIST] += [0.6, 0.0, 0.5]
    got = fuse_detector_depth(lifted(truth, 0.3), world, TIMES, SEEN).joints
    np.testing.assert_allclose(got[:, WRIST], truth[:, WRIST], atol=1e-3)


def test_missing_joints_and_unseen_frames_are_left_alone(truth):
    wrong = truth.copy()
    wrong[:, WRIST, 2] += 0.1
    world, seen = truth.copy(), SEEN.copy()
    world[:, WRIST] = np.nan
    world[10:15], seen[10:15] = np.nan, False
    got = fuse_detector_depth(lifted(wrong, 0.3), world, TIMES, seen).joints
    np.testing.assert_allclose(got, wrong, atol=1e-9)
