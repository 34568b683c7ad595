"""Zero-phase smoothing in seconds at irregular timestamps, never across gaps."""

from __future__ import annotations

import numpy as np

from gentg_blender.core.rotations import normalize, quat_continuous, quat_slerp

UNCERTAIN_WIDTH = 4.0  # how much longer than certain rotations uncertain ones are smoothed
_CHUNK = 1024  # frames worked on at once: bounds memory on long clips
_FWHM = 2.3548  # full width at half maximum of a Gaussian, in standard deviations


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Half-open (start, stop) of each stretch of True in `mask` (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def local_fit(
    values: np.ndarray, times: np.ndarray, seconds: float, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Value and time derivative of a local quadratic fit around every frame.

    values (T, ...), times (T,) seconds, seen (T,) bool; `seconds` is the full width at half
    maximum of the Gaussian kernel. Symmetric in time, so nothing lags, and quadratic, so peaks
    keep most of their height (Cleveland 1979; Savitzky-Golay for uneven times). A stretch of
    one frame, and `seconds` of 0, give the values back and central differences.
    """
    flat = values.reshape(len(values), -1)
    smooth, slope = flat.astype(np.float64), np.zeros(flat.shape)
    for start, stop in runs(seen):
        if stop - start < 2:
            continue
        t = times[start:stop]
        if seconds <= 0.0:
            slope[start:stop] = np.gradient(flat[start:stop], t, axis=0)
            continue
        sigma = seconds / _FWHM
        spacing = max(float(np.min(np.diff(t))), 1e-3)
        reach = min(int(np.ceil(2.5 * sigma / spacing)), stop - start - 1)
        reach = max(reach, 1)
        for first in range(0, stop - start, _CHUNK):
            own = np.arange(first, min(first + _CHUNK, stop - start))
            at, kernel = _fit_kernel(t, own, reach, sigma)
            new, new_slope = np.zeros((2, len(own), flat.shape[1]))
            for column in range(at.shape[1]):
                neighbour = flat[start + at[:, column]]
                new += kernel[:, column, :1] * neighbour
                new_slope += kernel[:, column, 1:] * neighbour
            smooth[start + own], slope[start + own] = new, new_slope / sigma
    return smooth.reshape(values.shape), slope.reshape(values.shape)


def _fit_kernel(t: np.ndarray, own: np.ndarray, reach: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (N, 2 reach + 1) of the frames `own` (N,) and their weights (N, 2 reach + 1, 2) in the fit's value
    and in its slope times `sigma`. t (T,) seconds of a stretch without gaps."""
    at = own[:, None] + np.arange(-reach, reach + 1)
    inside = (at >= 0) & (at < len(t))
    at = np.clip(at, 0, len(t) - 1)
    tau = (t[at] - t[own, None]) / sigma
    weight = np.where(inside, np.exp(-0.5 * tau**2), 0.0)
    moment = [np.sum(weight * tau**k, axis=1) for k in range(5)]
    normal = np.empty((len(own), 3, 3))
    for a in range(3):
        for b in range(3):
            normal[:, a, b] = moment[a + b]
    # A light ridge on slope and curvature: few samples give a straight or flat fit.
    normal[:, 1, 1] += 1e-3 * moment[0]
    normal[:, 2, 2] += 1e-2 * moment[0]
    wanted = np.zeros((len(own), 3, 2))
    wanted[:, 0, 0] = wanted[:, 1, 1] = 1.0
    solution = np.linalg.solve(normal, wanted)
    basis = np.stack([np.ones_like(tau), tau, tau**2], axis=-1)
    return at, weight[..., None] * (basis @ solution)


def local_mean(values: np.ndarray, times: np.ndarray, seconds: float, seen: np.ndarray) -> np.ndarray:
    """Gaussian average of values (T, ...) over `seconds` (full width at half maximum), by time, not across
    gaps; unseen frames give their values back."""
    out = values.astype(np.float64)
    for start, stop in runs(seen):
        t, part = times[start:stop], values[start:stop]
        spacing = max(float(np.min(np.diff(t))), 1e-3) if stop - start > 1 else 1.0
        reach = min(int(np.ceil(2.5 * seconds / _FWHM / spacing)), stop - start - 1)
        for first in range(0, stop - start, _CHUNK):
            own = np.arange(first, min(first + _CHUNK, stop - start))
            total, weights = np.zeros((len(own), *values.shape[1:])), np.zeros(len(own))
            for offset in range(-reach, reach + 1):
                here = (own + offset >= 0) & (own + offset < stop - start)
                there = own[here] + offset
                weight = np.exp(-0.5 * ((t[there] - t[own[here]]) * _FWHM / seconds) ** 2)
                total[here] += weight.reshape((-1,) + (1,) * (values.ndim - 1)) * part[there]
                weights[here] += weight
            out[start + own] = total / weights.reshape((-1,) + (1,) * (values.ndim - 1))
    return out


def smooth_rotations(
    q: np.ndarray, times: np.ndarray, seconds: float, seen: np.ndarray, confidence: np.ndarray | None = None
) -> np.ndarray:
    """`local_fit` on quaternions (T, ..., 4) made continuous in sign; exact for slow turns, and for
    fast ones right in direction, since the kernel is symmetric. Where `confidence` (T, ...) falls from 1 to 0
    an average over UNCERTAIN_WIDTH times as long, in which confident frames count, takes over."""
    if seconds <= 0.0:
        return q.copy()
    q = quat_continuous(q)
    smooth = normalize(local_fit(q, times, seconds, seen)[0])
    if confidence is None or (confidence >= 1.0).all():
        return smooth
    weight = (confidence + 0.02)[..., None]
    wide = normalize(local_mean(weight * q, times, UNCERTAIN_WIDTH * seconds, seen))
    share = 1.0 - local_mean(confidence, times, 2.0 * seconds, seen)
    return quat_slerp(smooth, wide, share)


def fill_gaps(values: np.ndarray, times: np.ndarray, seen: np.ndarray, *, rotation: bool) -> np.ndarray:
    """Replace unseen frames by interpolation between the seen ones around them, ends held.

    values (T, ...); quaternions on the last axis where `rotation`. At least one frame is seen.
    """
    if seen.all():
        return values
    known = np.flatnonzero(seen)
    right = np.clip(np.searchsorted(known, np.arange(len(values))), 0, len(known) - 1)
    left = np.clip(np.searchsorted(known, np.arange(len(values)), side="right") - 1, 0, len(known) - 1)
    a, b = known[left], known[right]
    span = times[b] - times[a]
    u = np.where(span > 0, (times - times[a]) / np.where(span > 0, span, 1.0), 0.0)
    u = np.clip(u, 0.0, 1.0).reshape((-1,) + (1,) * (values.ndim - 1))
    if rotation:
        return quat_slerp(values[a], values[b], np.broadcast_to(u[..., 0], values.shape[:-1]))
    return values[a] * (1.0 - u) + values[b] * u
