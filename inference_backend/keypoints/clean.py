"""Cleaning of a person's 2D track offline: sides, outliers, white noise, short gaps; without lag.

Mild by design: nearly all of a detector's error is slow (research: correlation times of 0.1 to
0.4 s) and is the lifter's business, which was trained on it. Here goes only what no network should see.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import median_filter

from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_MIRROR

from .layouts import MIDDLES, derive_middles
from .sides import SideConfig, repair_sides
from .track import KeypointTrack

_DERIVED = [JOINT_INDEX[n] for n in MIDDLES]
_TORSO = [JOINT_INDEX[n] for n in ("l_shoulder", "r_shoulder", "l_hip", "r_hip")]


_BLOCK = 1024  # frames worked on at once, where neighbours are laid side by side: bounds memory


@dataclass(frozen=True)
class CleanConfig:
    """Settings of `clean`; lengths in body sizes, about the standing height in the image."""

    smoothing: float = 0.022  # seconds; a sure point's motion is halved at 1 / (2 pi smoothing) = 7 Hz
    neighbours: float = 0.07  # seconds to both sides that an outlier is judged by
    outlier: float = 0.035  # distance from the neighbours' course at which a point loses half its weight ...
    outlier_factor: float = 5.0  # ... or this multiple of the joint's usual distance, if that is more
    fill: float = 0.20  # seconds; longer gaps stay gaps
    fill_confidence: float = 0.05  # of points in filled gaps
    sides: SideConfig = field(default_factory=SideConfig)


@dataclass(frozen=True)
class CleanReport:
    """What was changed, for warnings and the confidence display."""

    swapped: np.ndarray  # (T, 35) bool, left and right exchanged
    outliers: np.ndarray  # (T, 35) bool, lost more than half their confidence
    filled: np.ndarray  # (T,) bool, frames of short gaps that count as seen now


def clean(track: KeypointTrack, config: CleanConfig = CleanConfig()) -> tuple[KeypointTrack, CleanReport]:
    """Repair sides, mute outliers, take white noise off, fill gaps up to `config.fill` seconds.

    Stretches between longer gaps are treated apart; in those gaps `seen` stays False and the
    confidence 0, and coordinates are interpolated so that they are finite. Confidence never rises.
    """
    t = len(track)
    points, world = track.keypoints.astype(float), None if track.world is None else track.world.copy()
    swapped, outliers = np.zeros((t, points.shape[1]), bool), np.zeros((t, points.shape[1]), bool)
    seen = track.seen.copy()
    points[~track.seen, :, 2] = 0.0
    for start, stop in _stretches(track.timestamps, track.seen, config.fill):
        part = slice(start, stop)
        rows = start + np.flatnonzero(track.seen[part])
        size = body_size(track.timestamps[rows], points[rows])
        repaired, swapped[rows] = repair_sides(track.timestamps[rows], points[rows], size, config.sides)
        if world is not None:
            world[rows] = np.where(swapped[rows][..., None], world[rows][:, JOINT_MIRROR], world[rows])
        trust = _trust(track.timestamps[rows], repaired, size, config)
        outliers[rows] = (trust < 0.5) & (repaired[..., 2] > 0)
        repaired[..., 2] *= trust
        points[rows] = repaired
        points[part] = _smooth(track.timestamps[part], points[part], config)
        seen[part] = True
    _bridge(track.timestamps, points, seen)
    derive_middles(points)
    points[~seen, :, 2] = 0.0
    cleaned = track.with_keypoints(points, seen=seen, world=world)
    return cleaned, CleanReport(swapped, outliers, seen & ~track.seen)


def body_size(times: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(T,) about the standing height in pixels, steady over a second, from (T, 35, 3) points.

    Shoulders are about 0.21 apart and 0.29 above the hips (fractions of the height); the larger of
    the two estimates is the less foreshortened one. Without a torso, the extent of all points.
    """
    left, right, left_hip, right_hip = (points[:, i, :2] for i in _TORSO)
    size = np.maximum(
        np.linalg.norm(left + right - left_hip - right_hip, axis=1) / 2 / 0.29,
        np.linalg.norm(left - right, axis=1) / 0.21,
    )
    whole = (points[:, _TORSO, 2] > 0).all(axis=1)
    if not whole.all():
        masked = np.where(points[..., 2:] > 0, points[..., :2], np.nan)
        with np.errstate(all="ignore"):
            extent = np.hypot(*(np.nanmax(masked, axis=1) - np.nanmin(masked, axis=1)).T)
        size = np.where(whole, size, np.nan_to_num(extent))
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    width = min(2 * int(0.5 / max(step, 1e-3)) + 1, 2 * (len(times) // 2) + 1)
    return np.maximum(median_filter(size, size=width, mode="nearest"), 1.0)


def _stretches(times: np.ndarray, seen: np.ndarray, fill: float) -> list[tuple[int, int]]:
    """[start, stop) of frames between gaps longer than `fill`; each begins and ends with a seen frame."""
    rows = np.flatnonzero(seen)
    if len(rows) == 0:
        return []
    cuts = np.flatnonzero((np.diff(rows) > 1) & (np.diff(times[rows]) > fill))
    starts, stops = rows[np.append(0, cuts + 1)], rows[np.append(cuts, len(rows) - 1)] + 1
    return [(int(a), int(b)) for a, b in zip(starts, stops)]


def _trust(times: np.ndarray, points: np.ndarray, size: np.ndarray, config: CleanConfig) -> np.ndarray:
    """(T, 35) factor 0..1 for confidences: how well a point lies on its neighbours' course.

    The course is the median of as many neighbours before as behind, which is exact for uniform
    motion and which a few strays do not move.
    """
    t = len(times)
    if t < 5:
        return np.ones(points.shape[:2])
    step = float(np.median(np.diff(times)))
    reach = int(np.clip(round(config.neighbours / step), 2, 5))
    offsets = [k for k in range(-reach, reach + 1) if k]
    inner = np.arange(reach, t - reach)
    if len(inner) == 0:
        return np.ones(points.shape[:2])
    distance = np.full(points.shape[:2], 0.0)
    for first in range(0, len(inner), _BLOCK):
        at = inner[first : first + _BLOCK]
        course = np.median(np.stack([points[at + k, :, :2] for k in offsets]), axis=0)
        distance[at] = np.linalg.norm(points[at, :, :2] - course, axis=-1) / size[at, None]
    usual = np.median(distance[inner], axis=0)
    limit = np.maximum(config.outlier, config.outlier_factor * usual)
    return 1.0 / (1.0 + (distance / limit) ** 4)


def _smooth(times: np.ndarray, points: np.ndarray, config: CleanConfig) -> np.ndarray:
    """Smoothing spline per joint, weighted by squared confidence; zero-phase, any frame times.

    Minimises  sum w_i h_i |x_i - y_i|^2 + s^4 integral |x''|^2  (discretised on the frames), whose gain
    for a sure point is 1 / (1 + (2 pi f s)^4). Points without confidence follow the others' course.
    """
    out = points.copy()
    t = len(times)
    observed = points[..., 2] > 0
    out[..., 2] = np.where(observed, points[..., 2], _fill_confidence(times, observed, config))
    if t < 4:
        _interpolate(times, out, observed)
        return out
    h = np.diff(times)
    span = np.empty(t)  # seconds that each frame stands for
    span[1:-1], span[0], span[-1] = (h[1:] + h[:-1]) / 2, h[0] / 2, h[-1] / 2
    # Second differences: rows i of D touch i, i+1, i+2; the penalty D' diag(span) D is pentadiagonal.
    d = np.stack([1 / h[:-1], -1 / h[:-1] - 1 / h[1:], 1 / h[1:]], axis=1) / span[1:-1, None]
    scaled = d * span[1:-1, None] * config.smoothing**4
    bands = np.zeros((3, t))  # upper form of solveh_banded: bands[2] the diagonal
    for i in range(3):
        for j in range(i, 3):
            np.add.at(bands[2 - (j - i)], np.arange(t - 2) + j, d[:, i] * scaled[:, j])
    for joint in range(points.shape[1]):
        if not observed[:, joint].any() or joint in _DERIVED and not (points[:, joint, 2] > 0).any():
            continue
        weight = (points[:, joint, 2] ** 2 + 1e-7 * observed[:, joint].mean() + 1e-9) * span
        system = bands.copy()
        system[2] += weight
        out[:, joint, :2] = solveh_banded(system, weight[:, None] * points[:, joint, :2], check_finite=False)
    return out


def _fill_confidence(times: np.ndarray, observed: np.ndarray, config: CleanConfig) -> np.ndarray:
    """(T, J): low confidence for missing points inside a short gap, 0 elsewhere."""
    t = len(times)
    rows = np.arange(t)[:, None]
    before = np.maximum.accumulate(np.where(observed, rows, -1), axis=0)
    after = np.minimum.accumulate(np.where(observed, rows, t)[::-1], axis=0)[::-1]
    inside = (before >= 0) & (after < t)
    gap = times[np.minimum(after, t - 1)] - times[np.maximum(before, 0)]
    return np.where(inside & (gap <= config.fill), config.fill_confidence, 0.0)


def _interpolate(times: np.ndarray, points: np.ndarray, observed: np.ndarray) -> None:
    for joint in range(points.shape[1]):
        good = observed[:, joint]
        if good.any() and not good.all():
            for axis in range(2):
                points[:, joint, axis] = np.interp(times, times[good], points[good, joint, axis])


def _bridge(times: np.ndarray, points: np.ndarray, seen: np.ndarray) -> None:
    """Straight lines through the frames where nobody was seen, only so that the numbers are finite."""
    if seen.any() and not seen.all():
        _interpolate(times, points, np.repeat(seen[:, None], points.shape[1], axis=1))
