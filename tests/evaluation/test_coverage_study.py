"""Coverage on held-out films: an honest uncertainty passes, a boastful one does not."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import lognorm

from gentg_blender.core.confidence import ERROR_SPREAD
from gentg_blender.core.contract import GentgError
from inference_backend.evaluation import coverage
from inference_backend.evaluation.motion_suite import MotionCase, held_out, motion_cases

ERRORS = lognorm(ERROR_SPREAD, scale=np.exp(-(ERROR_SPREAD**2)))  # of one sigma; its mean square is 1


class Honest:
    """Lifts with log-normal errors of a known size for each joint and frame, and says `boast` times too little."""

    def __init__(self, truths, boast: float):
        self.truths, self.boast, self.rng = list(truths), boast, np.random.default_rng(0)

    def lift(self, track, K):
        truth = self.truths.pop(0)
        truth = truth - truth[:, :1]
        sigma = self.rng.uniform(0.02, 0.17, truth.shape[:2])
        distance = sigma * ERRORS.rvs(truth.shape[:2], random_state=self.rng)
        way = self.rng.normal(size=truth.shape)
        joints = truth + distance[..., None] * way / np.linalg.norm(way, axis=-1, keepdims=True)
        joints[:, 0] = truth[:, 0]
        return SimpleNamespace(tgt=SimpleNamespace(joints=joints, sigma=sigma / self.boast))


@pytest.fixture(scope="module")
def films(motion_file):
    return list(motion_cases(held_out(motion_file, ("made_3",)), MotionCase(noise="unseen"), 6, seed=2))


def test_honest_and_boastful_uncertainty(films):
    truths = [f.reference.in_camera() for f in films]
    honest = coverage.pool("unseen", films, Honest(truths, 1.0))
    for level in (50, 80, 90, 95):
        assert honest.values[f"coverage_{level}"] == pytest.approx(level / 100, abs=0.02)
    assert honest.values["error_rms"] == pytest.approx(honest.values["sigma_rms"], rel=0.03)
    assert honest.values["ause"] < 0.25 and honest.values["ece"] < 0.02
    assert honest.error.shape[1] == 16  # the 17 main joints without the root
    assert all(line.startswith("holds") for line in coverage.verdicts(honest))
    assert honest.radii == pytest.approx([ERRORS.ppf(p) for p in (0.5, 0.8, 0.9, 0.95)], rel=0.03)
    boastful = coverage.pool("unseen", films, Honest(truths, 2.0))
    assert boastful.values["coverage_90"] < 0.6
    assert all(line.startswith("MISSED") for line in coverage.verdicts(boastful))
    text = coverage.table([honest, boastful])
    assert text.splitlines()[0].startswith("| noise") and "AUSE" in text
    assert coverage.radius_table([honest]).splitlines()[2].replace(" ", "") == "|assumed|0.73|1.17|1.50|1.84|"
    assert "l_wrist" in coverage.joint_table([honest])


def test_figures_come_from_the_clips_that_did_not_calibrate(motion_file):
    clips = held_out(motion_file, ("made_3",))
    assert [c.clip_id for c in coverage.not_calibrated_on(clips)] == ["made_3_1"]
    with pytest.raises(GentgError, match="no held-out clip"):
        coverage.not_calibrated_on(clips[:1])
