"""A still image seen by a turning camera, whose rotation is then known; and a rendered pan with exact truth."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inference_backend.video.camera_motion import RotationTracker, estimate_camera_motion
from inference_backend.video.write import VideoWriter

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "beam_walk.mp4"
SIZE = (480, 270)  # width, height
K = np.array([[420.0, 0.0, 240.0], [0.0, 420.0, 135.0], [0.0, 0.0, 1.0]])
WIDE = np.array(
    [[420.0, 0.0, 540.0], [0.0, 420.0, 480.0], [0.0, 0.0, 1.0]]
)  # of the image that is looked around in
NOBODY = np.full(4, np.nan)
RENDERED = Path(__file__).resolve().parents[3] / "shared" / "data" / "video" / "rendered"


@pytest.fixture(scope="module")
def room():
    """(960, 1080, 3) uint8: one frame of the sample."""
    with av.open(str(SAMPLE)) as container:
        return next(f.reformat(1080, 1920, format="rgb24").to_ndarray() for f in container.decode(video=0))[
            :960
        ]


def seen(room, rotation):
    """What a camera K sees after turning by `rotation` (its axes): pixels by K R WIDE^-1, counted from corners."""
    corner = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    homography = np.linalg.inv(corner) @ K @ rotation @ np.linalg.inv(WIDE) @ corner
    return cv2.warpPerspective(room, homography, SIZE, flags=cv2.INTER_AREA)


def pan(count):
    """(T, 3, 3): pans by 15 degrees, tilts and rolls a little on the way."""
    t = np.linspace(0, 1, count)
    return Rotation.from_euler(
        "YXZ", np.column_stack([15 * t**2, 4 * np.sin(3 * t), 2 * t]), degrees=True
    ).as_matrix()


def degrees_apart(a, b):
    return np.degrees(Rotation.from_matrix(np.einsum("tij,tkj->tik", a, b)).magnitude())


def track(images, boxes=None):
    tracker = RotationTracker(K)
    for i, image in enumerate(images):
        tracker.add(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), NOBODY if boxes is None else boxes[i])
    return tracker.motion()


def test_a_pan_is_measured(room):
    truth = pan(20)
    motion = track([seen(room, r) for r in truth])
    assert np.array_equal(motion.rotations[0], np.eye(3))
    assert degrees_apart(motion.rotations, truth @ truth[0].T).max() < 0.05
    assert motion.confidence.min() > 0.8
    expected = degrees_apart(truth @ truth[0].T, np.eye(3)[None])
    assert np.abs(np.degrees(motion.angles) - expected).max() < 0.05


def test_a_still_camera_gives_identity_within_noise(room):
    rng = np.random.default_rng(0)
    image = seen(room, np.eye(3)).astype(float)
    motion = track(
        [np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for _ in range(10)]
    )
    assert np.degrees(motion.angles).max() < 0.02 and motion.confidence.min() > 0.8


def test_somebody_who_walks_through_does_not_turn_the_camera(room):
    truth = pan(12)
    images = [seen(room, r) for r in truth]
    boxes = []
    for i, image in enumerate(images):  # a patch of other texture that goes against the pan
        x = 40 + 20 * i
        image[60:260, x : x + 120] = room[600:800, 100:220]
        boxes.append(np.array([x, 60.0, x + 120.0, 260.0]))
    for given in (boxes, None):
        motion = track(images, given)
        assert degrees_apart(motion.rotations, truth @ truth[0].T).max() < 0.1
    assert track(images, boxes).confidence.min() > track(images).confidence.min()


def test_a_travelling_camera_is_not_believed(room):
    """Near things (the lower half) move three times as fast as far ones: no rotation explains both."""
    rows = []
    for i in range(8):
        far, near = room[200:335, 100 + 5 * i : 580 + 5 * i], room[335:470, 100 + 15 * i : 580 + 15 * i]
        rows.append(np.concatenate([far, near]))
    assert np.median(track(rows).confidence[3:]) < 0.75 < track([rows[0]] * 4).confidence.min()


def test_a_cut_and_a_black_image_are_gaps_in_confidence(room):
    one, other = seen(room, np.eye(3)), np.ascontiguousarray(room[500:770, 300:780][::-1])
    motion = track([one, one, np.zeros_like(one), other, other])
    assert motion.confidence[2] == 0.0 and motion.confidence[1] > 0.8 and motion.confidence[4] > 0.8
    assert np.degrees(motion.angles).max() < 0.02
    assert track([one, other]).confidence[1] == 0.0


def test_chosen_frames_of_a_clip(room, tmp_path):
    truth = pan(16)
    with VideoWriter(tmp_path / "pan.mp4", SIZE, crf=12) as writer:
        for i, r in enumerate(truth):
            writer.add(seen(room, r), i / 30)
    frames = np.arange(2, 16, 2)
    done = []
    motion = estimate_camera_motion(
        tmp_path / "pan.mp4", K, SIZE, frames, np.full((7, 4), np.nan), lambda *a: done.append(a)
    )
    assert degrees_apart(motion.rotations, truth[frames] @ truth[2].T).max() < 0.1
    assert done == [("camera", i, 7) for i in range(1, 8)]
    longer = estimate_camera_motion(
        tmp_path / "pan.mp4", K, SIZE, np.array([0, 15, 40]), np.full((3, 4), np.nan)
    )
    assert longer.confidence[2] == 0.0 and np.array_equal(longer.rotations[2], longer.rotations[1])
    with pytest.raises(ValueError, match="shape"):
        estimate_camera_motion(tmp_path / "pan.mp4", K, SIZE, frames, np.zeros((3, 4)))


@pytest.mark.parametrize("name, limit", [("run_duck_pan", 0.05), ("sit_stool", 0.02)])
def test_rendered_clips(name, limit):
    """Exact truth: a pan of 28 degrees after a runner, and a camera on a tripod; the first 40 frames."""
    if not RENDERED.is_dir():
        pytest.skip(f"test data not found: {RENDERED}")
    truth = np.load(RENDERED / name / "gt.npz")
    count, xy = 40, truth["xy"][:40]
    rotations = truth["R_t"][:count] @ truth["R_t"][0].T
    size = tuple(int(v) for v in truth["size"].reshape(-1))
    motion = estimate_camera_motion(
        RENDERED / name / f"{name}.mp4", truth["K"].reshape(3, 3), size, np.arange(count),
        np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=1),
    )  # fmt: skip
    assert degrees_apart(motion.rotations, rotations).max() < limit and motion.confidence.min() > 0.9
