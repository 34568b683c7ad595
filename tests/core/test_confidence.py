"""core.confidence against scipy's Maxwell distribution and sampling."""

import numpy as np
from scipy.stats import maxwell

from gentg_blender.core.confidence import BODY_PARTS, body_part, part_confidence, probability_within
from gentg_blender.core.skeleton import BONES, JOINT_INDEX, JOINTS


def test_probability_is_maxwells():
    sigma = np.geomspace(1e-3, 2.0, 50)
    np.testing.assert_allclose(probability_within(sigma, 0.1), maxwell.cdf(0.1, scale=sigma / np.sqrt(3)), atol=1e-12)


def test_probability_is_what_sampling_gives():
    e = np.random.default_rng(0).normal(scale=0.12 / np.sqrt(3), size=(200_000, 3))
    assert abs(probability_within(0.12, 0.1) - np.mean(np.linalg.norm(e, axis=1) < 0.1)) < 5e-3


def test_only_the_uncertain_part_loses_confidence():
    sigma = np.full((4, len(JOINTS)), 0.02)
    sigma[2, [JOINT_INDEX["l_elbow"], JOINT_INDEX["l_wrist"]]] = 0.5
    got = part_confidence(sigma, np.array(JOINTS))
    assert set(got) == set(BODY_PARTS)
    assert got["arm.L"][2] < 0.05 and got["arm.L"][1] > 0.99
    assert all(v.min() > 0.99 for k, v in got.items() if k != "arm.L")


def test_every_bone_belongs_to_a_part():
    assert {body_part(b) for b in BONES} == set(BODY_PARTS)
    assert body_part("toe.R") == "leg.R" and body_part("shoulder.L") == "torso"
