"""core.confidence against scipy's log-normal distribution."""

import numpy as np
from scipy.stats import lognorm

from gentg_blender.core.confidence import (
    BODY_PARTS,
    ERROR_SPREAD,
    body_part,
    mean_confidence,
    part_columns,
    probability_within,
)
from gentg_blender.core.skeleton import BONES, JOINT_INDEX, JOINTS


def test_probability_is_the_log_normal_whose_mean_square_is_sigma():
    for sigma in (0.001, 0.03, 0.1, 0.4, 2.0):
        error = lognorm(ERROR_SPREAD, scale=sigma * np.exp(-(ERROR_SPREAD**2)))
        assert np.isclose(np.sqrt(error.var() + error.mean() ** 2), sigma)
        np.testing.assert_allclose(probability_within(sigma, 0.1), error.cdf(0.1), atol=1e-12)


def test_no_uncertainty_is_certainty():
    assert probability_within(0.0) == 1.0 and probability_within(1e3) < 1e-6


def test_only_the_uncertain_part_loses_confidence():
    sigma = np.full((4, len(JOINTS)), 0.02)
    sigma[2, [JOINT_INDEX["l_elbow"], JOINT_INDEX["l_wrist"]]] = 0.5
    got = {p: mean_confidence(sigma[:, columns]) for p, columns in part_columns(np.array(JOINTS)).items()}
    assert set(got) == set(BODY_PARTS)
    assert got["arm.L"][2] < 0.05 and got["arm.L"][1] > 0.99
    assert all(v.min() > 0.99 for k, v in got.items() if k != "arm.L")


def test_every_bone_belongs_to_a_part():
    assert {body_part(b) for b in BONES} == set(BODY_PARTS)
    assert body_part("toe.R") == "leg.R" and body_part("shoulder.L") == "torso"
