"""Errors of 3D poses: how far, how fast, how rigid. All inputs in metres and seconds; lengths come out in mm.

Shapes: T frames, J joints. `pred` and `ref` are (T, J, 3) in the same axes; undetected joints are NaN in
`pred` and drop out of every mean. Functions that compare poses take them relative to the root (`centred`).
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, filtfilt

from inference_backend.evaluation.alignment import Similarity, align

MM = 1000.0
PCK_THRESHOLD = 0.150  # metres, as in MPI-INF-3DHP
CONTACT_SPEED = 0.12  # m/s: a foot slower than this, low enough, is planted
CONTACT_HEIGHT = 0.05  # metres above the 5th percentile of that foot point's height
CONTACT_CUTOFF = 6.0  # Hz, low-pass before the speed is taken


def _check(pred: np.ndarray, ref: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pred, ref = np.asarray(pred, float), np.asarray(ref, float)
    if pred.shape != ref.shape or pred.ndim != 3 or pred.shape[-1] != 3:
        raise ValueError(f"poses must both be (T, J, 3), not {pred.shape} and {ref.shape}")
    return pred, ref


def mean(values: np.ndarray) -> float:
    """Mean of the finite values; NaN when there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def complete(x: np.ndarray) -> np.ndarray:
    """(T, J, 3) -> (T,) True where every joint is known."""
    return np.isfinite(x).all((1, 2))


def distances(pred: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """(T, J) Euclidean errors in mm. Their mean is MPJPE when the poses are centred."""
    pred, ref = _check(pred, ref)
    return MM * np.linalg.norm(pred - ref, axis=-1)


def scale_aligned(pred: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """Each frame's pose times its own best factor (N-MPJPE: Rhodin et al. 2018). Poses centred."""
    pred, ref = _check(pred, ref)
    power = (pred**2).sum((1, 2))
    factor = (pred * ref).sum((1, 2)) / np.where(power > 0, power, 1.0)
    return pred * factor[:, None, None]


def procrustes_aligned(pred: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """Each frame under its own best similarity transform (P-MPJPE). Incomplete frames become NaN."""
    pred, ref = _check(pred, ref)
    ok = complete(pred) & complete(ref)
    out = np.full_like(pred, np.nan)
    if ok.any():
        out[ok] = align(pred[ok], ref[ok]).apply(pred[ok])
    return out


def clip_aligned(pred: np.ndarray, ref: np.ndarray, *, scale: bool) -> tuple[np.ndarray, Similarity | None]:
    """The whole clip under one rotation about the root, and one scale if asked. Poses centred.

    Unlike `procrustes_aligned` it doesn't hide a pose that wobbles from frame to frame.
    """
    pred, ref = _check(pred, ref)
    ok = complete(pred) & complete(ref)
    if not ok.any():
        return np.full_like(pred, np.nan), None
    transform = align(pred[ok].reshape(-1, 3), ref[ok].reshape(-1, 3), scale=scale, translate=False)
    return transform.apply(pred), transform


# --------------------------------------------------------------------------- motion


def derivative(x: np.ndarray, times: np.ndarray, order: int) -> np.ndarray:
    """`order`-th time derivative by divided differences: (T, ...) -> (T - order, ...), right for uneven times."""
    times = np.asarray(times, float)
    if len(times) != len(x) or np.any(np.diff(times) <= 0):
        raise ValueError("one increasing time a frame is needed")
    d, t = np.asarray(x, float), times
    for k in range(1, order + 1):
        step = (t[k:] - t[:-k]).reshape((-1,) + (1,) * (d.ndim - 1))
        d = k * (d[1:] - d[:-1]) / step
    return d


def motion_error(pred: np.ndarray, ref: np.ndarray, times: np.ndarray, order: int) -> np.ndarray:
    """(T - order, J) length of the difference of velocities (order 1, MPJVE) or accelerations (order 2), SI units."""
    pred, ref = _check(pred, ref)
    return np.linalg.norm(derivative(pred - ref, times, order), axis=-1)


def motion_size(x: np.ndarray, times: np.ndarray, order: int) -> np.ndarray:
    """(T - order, J) speed, acceleration or jitter (order 3, m/s^3) of the motion itself."""
    return np.linalg.norm(derivative(x, times, order), axis=-1)


# --------------------------------------------------------------------------- PCK


def pck(errors_mm: np.ndarray, threshold: float = PCK_THRESHOLD) -> float:
    """Share of joints within `threshold` metres. Undetected joints count as wrong, as in 3DHP's protocol."""
    return float(np.mean(np.nan_to_num(errors_mm, nan=np.inf) <= threshold * MM))


def auc(errors_mm: np.ndarray) -> float:
    """Mean PCK over thresholds 0, 5, ..., 150 mm (MPI-INF-3DHP)."""
    return float(np.mean([pck(errors_mm, t) for t in np.linspace(0.0, PCK_THRESHOLD, 31)]))


# --------------------------------------------------------------------------- bones and sides


def bone_lengths(x: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """(T, J, 3), (L, 2) joint numbers -> (T, L) mm."""
    return MM * np.linalg.norm(x[:, bones[:, 0]] - x[:, bones[:, 1]], axis=-1)


def bone_std(x: np.ndarray, bones: np.ndarray) -> float:
    """Mean over bones of each length's standard deviation over time (MPSCE), mm."""
    lengths = bone_lengths(x, bones)
    lengths = lengths[np.isfinite(lengths).all(1)]
    return float(lengths.std(0).mean()) if len(lengths) else float("nan")


def side_difference(x: np.ndarray, bones: np.ndarray, partner: np.ndarray) -> float:
    """Mean |left - right| of paired bones (MPSSE), mm. `partner` (L,): each bone's mirror image."""
    lengths = bone_lengths(x, bones)
    paired = partner != np.arange(len(partner))
    return mean(np.abs(lengths - lengths[:, partner])[:, paired])


def swapped(pred: np.ndarray, ref: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(T,) True where exchanging left and right lowers the pose's error by 20 % or more."""
    pred, ref = _check(pred, ref)
    own = np.linalg.norm(pred - ref, axis=-1).mean(1)
    other = np.linalg.norm(pred[:, mirror] - ref, axis=-1).mean(1)
    return other < 0.8 * own


# --------------------------------------------------------------------------- feet and floor


def planted(feet: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Reference feet (T, F, 3), Z up -> (T - 1, F) True for steps between two frames in which it stands.

    Steps with an unknown (NaN) end don't count. A foot point stands in a frame when its low-passed speed (zero-phase Butterworth, second order) is below
    CONTACT_SPEED and it is within CONTACT_HEIGHT of the 5th percentile of its own height.
    """
    feet = np.asarray(feet, float)
    known = np.isfinite(feet).all(-1)
    feet = _bridged(feet, known, times)
    rate = 1.0 / float(np.median(np.diff(times)))
    smooth = feet
    if rate > 2 * CONTACT_CUTOFF and len(feet) > 9:  # filtfilt pads with 9 frames
        smooth = filtfilt(*butter(2, CONTACT_CUTOFF / (rate / 2)), feet, axis=0)
    speed = np.linalg.norm(np.gradient(smooth, times, axis=0), axis=-1)
    height = feet[..., 2] - np.percentile(feet[..., 2], 5, axis=0)
    still = known & (speed < CONTACT_SPEED) & (height < CONTACT_HEIGHT)
    return still[1:] & still[:-1]


def _bridged(feet: np.ndarray, known: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Gaps of (T, F, 3) filled linearly, so that the filter has no holes; points never known lie at 0."""
    out = np.where(known[..., None], feet, 0.0)
    for f in np.flatnonzero(known.any(0) & ~known.all(0)):
        for axis in range(3):
            out[:, f, axis] = np.interp(times, times[known[:, f]], feet[known[:, f], f, axis])
    return out


def foot_skate(feet: np.ndarray, times: np.ndarray, stands: np.ndarray) -> float:
    """Mean speed (m/s) of feet (T, F, 3) in the steps where the reference `stands` (T - 1, F)."""
    speed = motion_size(feet, times, 1)
    return mean(np.where(stands, speed, np.nan))


def floor_penetration(x: np.ndarray) -> tuple[float, float]:
    """World joints (T, J, 3), floor z = 0 -> mean over frames and greatest depth of the lowest joint, mm."""
    depth = MM * np.maximum(0.0, -np.where(np.isfinite(x[..., 2]), x[..., 2], np.inf).min(1))
    return float(depth.mean()), float(depth.max())


def root_error(pred: np.ndarray, ref: np.ndarray) -> tuple[float, float]:
    """Roots (T, 3) in camera axes -> mean distance in mm, and in % of the path the reference covers.

    The path is that of the reference's steps; NaN for one that covers less than 10 cm.
    """
    error = mean(np.linalg.norm(pred - ref, axis=-1))
    path = float(np.linalg.norm(np.diff(ref, axis=0), axis=-1).sum())
    return error * MM, 100.0 * error / path if path > 0.1 else float("nan")
