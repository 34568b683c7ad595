"""Is the predicted uncertainty true? Coverage, calibration error, sparsification, rank correlation.

`error` and `sigma` are (N,) or any equal shape, metres: a joint's distance error and its predicted standard
deviation (root mean square distance, as in core.contract). Entries that are not finite are left out.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from gentg_blender.core.confidence import probability_within

LEVELS = (0.50, 0.80, 0.90, 0.95)


def _pairs(error: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    error, sigma = np.asarray(error, float).ravel(), np.asarray(sigma, float).ravel()
    if error.shape != sigma.shape:
        raise ValueError(f"{error.size} errors and {sigma.size} sigmas do not pair up")
    ok = np.isfinite(error) & np.isfinite(sigma)
    if np.any(sigma[ok] <= 0):
        raise ValueError("a standard deviation must be positive")
    return error[ok], sigma[ok]


@lru_cache(maxsize=64)
def distance_quantile(level: float, axes: int = 3) -> float:
    """Radius, in units of the RMS distance, that holds `level` of the errors in `axes` dimensions.

    In 3D the distance is log-normal, as core.confidence has it; in 1D the error is normal.
    """
    if not 0.0 < level < 1.0 or axes not in (1, 3):
        raise ValueError("a level between 0 and 1, in one or three axes")

    def probability(r: float) -> float:
        return math.erf(r / math.sqrt(2.0)) if axes == 1 else float(probability_within(np.array(1.0), r))

    low, high = 0.0, 40.0
    for _ in range(100):  # bisection: exact to the last bit, and this is called for a handful of levels
        middle = (low + high) / 2.0
        low, high = (middle, high) if probability(middle) < level else (low, middle)
    return low


def coverage(error: np.ndarray, sigma: np.ndarray, level: float, axes: int = 3) -> float:
    """Share of errors inside the radius that should hold `level` of them. `axes=1` for errors along one axis."""
    e, s = _pairs(error, sigma)
    return float(np.mean(np.abs(e) <= distance_quantile(level, axes) * s)) if e.size else float("nan")


def calibration_error(error: np.ndarray, sigma: np.ndarray, axes: int = 3) -> float:
    """ECE: mean |coverage - level| over the levels 5, 10, ..., 95 %."""
    levels = np.arange(1, 20) / 20.0
    return float(np.mean([abs(coverage(error, sigma, float(p), axes) - p) for p in levels]))


def sparsification(error: np.ndarray, order_by: np.ndarray, steps: int = 50) -> np.ndarray:
    """(steps,) mean error of what remains after removing 0, 1/steps, ... of the entries, largest `order_by` first,
    relative to the mean error of all."""
    ranked = error[np.argsort(-order_by, kind="stable")]
    starts = (np.arange(steps) * len(error)) // steps
    tail_sum = np.cumsum(ranked[::-1])[::-1]
    return tail_sum[starts] / (len(error) - starts) / error.mean()


def ause(error: np.ndarray, sigma: np.ndarray) -> float:
    """Area between the sparsification curves of `sigma` and of the true error (Ilg et al. 2018). 0 is perfect."""
    e, s = _pairs(error, sigma)
    if e.size < 2 or e.mean() == 0:
        return float("nan")
    return float(np.mean(sparsification(e, s) - sparsification(e, e)))


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2.0)[inverse]


def spearman(error: np.ndarray, sigma: np.ndarray) -> float:
    """Rank correlation between predicted sigma and error: 1 when sigma orders the joints perfectly."""
    e, s = _pairs(error, sigma)
    if e.size < 2 or np.ptp(e) == 0 or np.ptp(s) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(e), _ranks(s))[0, 1])
