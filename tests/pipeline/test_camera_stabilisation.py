"""A turning camera: whether it is followed, and what a still one would have seen."""

import numpy as np
import pytest

from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.keypoints.track import KeypointTrack
from inference_backend.pipeline.camera_stabilisation import (
    camera_rotations,
    may_move,
    person_boxes,
    stabilise,
)
from inference_backend.pipeline.entries import load_motion, save_motion
from inference_backend.video.camera_motion import CameraMotion

FRAMES = 31
K = np.array([[1000.0, 0.0, 640.0], [0.0, 1000.0, 360.0], [0.0, 0.0, 1.0]])


def pans(degrees):
    """Rotations (T, 3, 3) of a camera that turns to the right by `degrees` from the first to the last frame."""
    a = np.radians(np.linspace(0.0, degrees, FRAMES))
    zero, one = np.zeros_like(a), np.ones_like(a)
    return np.stack([np.cos(a), zero, -np.sin(a), zero, one, zero, np.sin(a), zero, np.cos(a)], -1).reshape(
        -1, 3, 3
    )


def track(keypoints, footage=None):
    times = np.arange(FRAMES) / 30.0
    return KeypointTrack(
        keypoints=keypoints, timestamps=times, frames=np.arange(FRAMES), seen=np.ones(FRAMES, bool),
        layout="blazepose33", image_size=(1280, 720), fps=30.0, footage=footage,
    )  # fmt: skip


def filmed(points, rotations):
    """Points (T, 35, 3) in the first camera's axes -> keypoints in each frame's image."""
    seen = np.einsum("tij,tkj->tki", rotations, points) @ K.T
    return np.concatenate([seen[..., :2] / seen[..., 2:], np.full((*seen.shape[:2], 1), 0.9)], -1)


@pytest.fixture
def points():
    walk = np.random.default_rng(0).normal([0.0, 0.0, 4.0], 0.3, (FRAMES, NUM_JOINTS, 3))
    walk[..., 0] += np.linspace(0.0, 2.5, FRAMES)[:, None]
    return walk


def test_a_pan_becomes_what_the_middle_frames_camera_sees(points):
    motion = CameraMotion(pans(30.0), np.ones(FRAMES))
    rotations, warning = camera_rotations(motion)
    assert warning == "" and np.allclose(rotations[FRAMES // 2], np.eye(3))
    got = stabilise(track(filmed(points, motion.rotations)), K, rotations)
    middle = np.broadcast_to(motion.rotations[FRAMES // 2], motion.rotations.shape)
    np.testing.assert_allclose(got.keypoints, filmed(points, middle), atol=1e-6)


def test_absent_points_stay_absent_and_rays_beside_the_still_camera_have_no_place(points):
    keypoints = filmed(points, pans(0.0))
    keypoints[3, 5] = 0.0
    assert (stabilise(track(keypoints), K, pans(0.0)).keypoints[3, 5] == 0.0).all()
    behind = np.broadcast_to(pans(180.0)[-1], (FRAMES, 3, 3))
    assert (stabilise(track(keypoints), K, behind).keypoints == 0.0).all()


def test_still_travelling_and_far_turning_cameras_are_not_followed():
    sure = np.ones(FRAMES)
    assert camera_rotations(CameraMotion(pans(0.3), sure)) == (None, "")
    rotations, warning = camera_rotations(CameraMotion(pans(30.0), 0.2 * sure))
    assert rotations is None and "travels" in warning
    rotations, warning = camera_rotations(CameraMotion(pans(150.0), sure))
    assert rotations is None and "shorter parts" in warning


def test_only_footage_whose_background_moves_is_looked_at(points):
    keypoints = filmed(points, pans(0.0))
    assert not may_move(track(keypoints))
    assert not may_move(track(keypoints, {"camera_speed": None, "camera_speed_90": None}))
    assert not may_move(track(keypoints, {"camera_speed": 0.002, "camera_speed_90": 0.01}))
    assert may_move(track(keypoints, {"camera_speed": 0.002, "camera_speed_90": 0.1}))
    assert may_move(track(keypoints, {"camera_speed": 0.1, "camera_speed_90": 0.1}))


def test_boxes_hold_the_sure_points_alone(points):
    keypoints = filmed(points, pans(0.0))
    keypoints[:, 1] = [5000.0, 5000.0, 0.1]
    given = track(keypoints)
    given.seen[4] = False
    boxes = person_boxes(given)
    assert np.isnan(boxes[4]).all()
    sure = np.delete(keypoints[0, :, :2], 1, axis=0)
    np.testing.assert_allclose(boxes[0], [*sure.min(0), *sure.max(0)])


def test_a_motion_is_kept_in_the_cache(tmp_path):
    motion = CameraMotion(pans(30.0), np.linspace(0, 1, FRAMES))
    save_motion(motion, tmp_path / "m.npz")
    again = load_motion(tmp_path / "m.npz")
    assert np.array_equal(again.rotations, motion.rotations) and np.array_equal(
        again.confidence, motion.confidence
    )
