"""Uncertainty in metres as a number from 0 to 1 that animators can read, per limb."""

from __future__ import annotations

import math

import numpy as np

# Parts of the body that people speak of, by the joints that place them.
BODY_PARTS: dict[str, tuple[str, ...]] = {
    "head": ("neck", "head", "nose"),
    "torso": ("pelvis", "spine", "chest", "l_shoulder", "r_shoulder", "l_hip", "r_hip"),
    "arm.L": ("l_elbow", "l_wrist"),
    "arm.R": ("r_elbow", "r_wrist"),
    "leg.L": ("l_knee", "l_ankle", "l_foot_index"),
    "leg.R": ("r_knee", "r_ankle", "r_foot_index"),
}

_PART_OF_STEM = {"head": "head", "neck": "head", "upper_arm": "arm", "forearm": "arm", "hand": "arm",
                 "thigh": "leg", "shin": "leg", "foot": "leg", "toe": "leg"}  # fmt: skip

# Spread of the natural logarithm of a joint's distance error over its sigma, as found on held-out people
# (`gentg evaluate --coverage`); the same with clean 2D, with a detector's noise and with one never trained on.
ERROR_SPREAD = 0.56
TOLERANCE = 0.1  # metres: "right" for an animator who blocks a scene


def body_part(bone: str) -> str:
    """The key of BODY_PARTS that one of our bones belongs to."""
    stem, _, side = bone.partition(".")
    part = _PART_OF_STEM.get(stem, "torso")
    return f"{part}.{side}" if part in ("arm", "leg") else part


def probability_within(sigma: np.ndarray, distance: float = TOLERANCE) -> np.ndarray:
    """Chance (...) that a joint lies within `distance` metres of the truth.

    `sigma` (...) metres is the root-mean-square distance error. The distance follows a log-normal
    distribution: how far a pose is off varies between moments that look equally hard, so that the
    errors of one sigma have a nearer middle and a longer tail than a normal error has.
    """
    sigma = np.maximum(np.asarray(sigma, float), 1e-9)
    x = np.log(distance / sigma) / ERROR_SPREAD + ERROR_SPREAD  # the median is sigma exp(-spread^2)
    erf = np.frompyfunc(math.erf, 1, 1)  # numpy has none, and scipy is not in Blender
    return 0.5 * (1.0 + np.asarray(erf(x / math.sqrt(2.0)), float))


def part_columns(names: np.ndarray) -> dict[str, list[int]]:
    """Every part of the body that has joints among `names` (J,), with their columns."""
    index = {str(n): i for i, n in enumerate(names)}
    found = {part: [index[j] for j in joints if j in index] for part, joints in BODY_PARTS.items()}
    return {part: columns for part, columns in found.items() if columns}


def mean_confidence(sigma: np.ndarray) -> np.ndarray:
    """The chance (T,) that the joints of one part lie within TOLERANCE of the truth.

    sigma (T, n) metres. The variances of the joints are averaged first.
    """
    return probability_within(np.sqrt(np.mean(np.square(sigma), axis=1)))
