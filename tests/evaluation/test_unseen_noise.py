"""The noise model for evaluation only: sizes, memory and tails as stated, and what hiding does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.evaluation import unseen_noise
from inference_backend.evaluation.motion_suite import MotionCase, held_out, motion_cases, motion_films
from inference_backend.training.generator import Batch


def still(clips: int, frames: int) -> Batch:
    """People who stand spread out, 3 m away, exactly detected; the nose isn't reported."""
    g = torch.Generator().manual_seed(0)
    xyz = (0.5 * torch.randn(clips, 1, NUM_JOINTS, 3, generator=g)).expand(-1, frames, -1, -1).clone()
    xyz[..., 2] = 3.0
    confidence = torch.ones(clips, frames, NUM_JOINTS)
    confidence[..., J["nose"]] = 0.0
    points = torch.where(confidence[..., None] > 0, xyz[..., :2] / 3.0, 0.0)
    times = (torch.arange(frames) / 30.0).expand(clips, -1)
    empty = torch.zeros(clips, frames, 3)
    return Batch(points, confidence, times, torch.full((clips,), 3), xyz, empty, torch.zeros(clips, frames, 4),
                 torch.zeros(clips, NUM_JOINTS), torch.ones(clips))  # fmt: skip


def metres(found: Batch, exact: Batch) -> np.ndarray:
    return 3.0 * (found.points - exact.points).norm(dim=-1).numpy()


def test_the_process_keeps_its_variance_forgets_at_its_rate_and_has_heavy_tails():
    rng = np.random.default_rng(0)
    times = np.cumsum(np.tile([0.02, 0.05], 30))[None].repeat(4000, 0)  # uneven
    x = unseen_noise.student_ar1(times, (2,), np.full(4000, 0.2), rng)
    assert x.shape == (4000, 60, 2)
    assert x.var((0, 2)) == pytest.approx(np.ones(60), abs=0.15)
    for lag in (1, 2, 6):
        gap = times[0, 10 + lag] - times[0, 10]
        got = np.mean(x[:, 10] * x[:, 10 + lag]) / np.sqrt(x[:, 10].var() * x[:, 10 + lag].var())
        assert got == pytest.approx(np.exp(-gap / 0.2), abs=0.05)
    assert kurtosis(x[:, 0].ravel()) > 2  # a normal one has 0


def test_errors_without_boxes_are_as_large_as_stated(monkeypatch):
    monkeypatch.setattr(unseen_noise, "BOXES", 0)
    exact = still(400, 20)
    error = metres(unseen_noise.detect_unseen(exact, 1), exact)
    # A disc's mean square radius is half of its radius squared.
    for name, growth in (("l_hip", 1.0), ("r_wrist", 1.7), ("l_ankle", 1.5)):
        expected = np.sqrt((growth * 0.0172) ** 2 + 0.015**2 / 2)
        assert np.sqrt(np.mean(error[..., J[name]] ** 2)) == pytest.approx(expected, rel=0.1)


def test_boxes_hide_for_a_while_and_confidence_orders_errors():
    exact = still(200, 60)
    found = unseen_noise.detect_unseen(exact, 1)
    plain = found.confidence > 0
    gone = ~plain & (exact.confidence > 0)
    assert 0.005 < float(gone.float().mean()) < 0.2
    assert not gone.all(1).any()  # no box stays for two seconds
    assert not found.points[~plain].any() and not plain[..., J["nose"]].any()
    error, score = metres(found, exact)[plain], found.confidence.numpy()[plain]
    assert score.min() > 0 and score.max() <= 1
    assert error[score < 0.4].mean() > 1.5 * error[score > 0.85].mean()
    assert np.quantile(error, 0.99) > 3.3 * np.median(error)  # a normal error in the plane: 2.6


def test_the_same_seed_gives_the_same_and_the_truth_stays():
    exact = still(3, 10)
    one, same, other = (unseen_noise.detect_unseen(exact, s) for s in (5, 5, 6))
    assert torch.equal(one.points, same.points) and torch.equal(one.confidence, same.confidence)
    assert not torch.equal(one.points, other.points)
    assert torch.equal(one.xyz, exact.xyz) and torch.equal(
        replace(one, points=exact.points).points, exact.points
    )


def test_films_of_the_suite_differ_only_in_their_keypoints(motion_file):
    clips = held_out(motion_file, ("made_3",))
    clean, unseen = (
        list(motion_cases(clips, MotionCase(noise=n), 3, frames=20, seed=4)) for n in ("clean", "unseen")
    )
    for a, b in zip(clean, unseen, strict=True):
        assert np.array_equal(a.reference.world, b.reference.world)
        both = (a.track.keypoints[..., 2] > 0) & (b.track.keypoints[..., 2] > 0)
        gap = np.linalg.norm(a.track.keypoints[..., :2] - b.track.keypoints[..., :2], axis=-1)[both]
        assert 0.3 < np.median(gap) / (1600 * 0.02 / np.median(a.reference.world[..., 2])) < 3  # about 2 cm
    batch, cases = next(motion_films(clips, MotionCase(noise="unseen"), 3, frames=20, seed=4))
    again = cases[1].track.keypoints
    assert len(batch.times) == 3 and np.array_equal(again, unseen[1].track.keypoints)
