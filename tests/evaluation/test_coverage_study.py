"""Coverage on held-out films: an honest uncertainty passes, a boastful one does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.evaluation import coverage
from inference_backend.evaluation.motion_suite import MotionCase, held_out, motion_cases


class Honest:
    """Lifts with normal errors of a known size for each joint and frame, and says `boast` times too little."""

    def __init__(self, truths, boast: float):
        self.truths, self.boast, self.rng = list(truths), boast, np.random.default_rng(0)

    def lift(self, track, K):
        truth = self.truths.pop(0)
        truth = truth - truth[:, :1]
        per_axis = self.rng.uniform(0.01, 0.1, truth.shape[:2])
        joints = truth + per_axis[..., None] * self.rng.normal(size=truth.shape)
        return SimpleNamespace(tgt=SimpleNamespace(joints=joints, sigma=np.sqrt(3.0) * per_axis / self.boast))


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
    assert honest.radii == pytest.approx(
        [0.888, 1.244, 1.444, 1.614], rel=0.03
    )  # Maxwell's quantiles / sqrt(3)
    boastful = coverage.pool("unseen", films, Honest(truths, 2.0))
    assert boastful.values["coverage_90"] < 0.6
    assert all(line.startswith("MISSED") for line in coverage.verdicts(boastful))
    text = coverage.table([honest, boastful])
    assert text.splitlines()[0].startswith("| noise") and "AUSE" in text
    assert coverage.radius_table([honest]).splitlines()[2].replace(" ", "") == "|assumed|0.89|1.24|1.44|1.61|"
    assert "l_wrist" in coverage.joint_table([honest])


def test_figures_come_from_the_clips_that_did_not_calibrate(motion_file):
    clips = held_out(motion_file, ("made_3",))
    assert [c.clip_id for c in coverage.not_calibrated_on(clips)] == ["made_3_1"]
    with pytest.raises(GentgError, match="no held-out clip"):
        coverage.not_calibrated_on(clips[:1])
