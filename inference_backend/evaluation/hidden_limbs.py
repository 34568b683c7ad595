"""Does GPC earn its place? An arm or both legs hidden for a while: TGT, TGT + low-pass, TGT + GPC by threshold.

Clips are split in two: the low-pass's cut-off is tuned on the first half and everything is reported on the
second. All methods run as in `estimate` (windows, mirrored averaging, calibrated uncertainty).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.signal import butter, filtfilt

from gentg_blender.core.contract import EstimateSettings, GentgError
from gentg_blender.core.skeleton import JOINT_INDEX, MAIN_JOINTS, NUM_JOINTS
from inference_backend.evaluation import metrics
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.report import cell, markdown
from inference_backend.lifting.lifter import Lifter, LiftResult
from inference_backend.training.noise import body_parts

FRAMES = 81  # of a clip: 2.7 s at 30 frames a second
HIDDEN_SECONDS = (0.3, 1.0)
MARGIN = 0.3  # seconds seen before and after, where the clip allows it
CUTOFFS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)  # Hz
THRESHOLDS = (0.0, 0.04, 0.06, 0.09, 0.14, 0.2, 0.3)  # metres
LESS_HIDDEN = 0.15  # promised: share of the error on hidden joints that GPC removes
NO_LOSS = 0.005  # share by which the error elsewhere may differ and still count as none lost
_MAIN = [JOINT_INDEX[n] for n in MAIN_JOINTS]
_PARTS = {0: "left arm", 1: "right arm", 2: "both legs"}  # rows of training.noise.body_parts


@dataclass
class HiddenCase:
    """A film with a limb taken away."""

    case: LiftCase  # its track has confidence 0 where hidden
    hidden: np.ndarray  # (T, 35) bool
    part: str


@dataclass
class Figures:
    """Means over the reported clips: mm, m/s2, shares, and CPU ms per frame on top of TGT."""

    method: str
    hidden: float  # joints while hidden
    other: float  # all other joints and frames
    mpjpe: float
    accel_error: float
    resampled: float = 0.0
    ms: float = 0.0
    threshold: float | None = None


def hide_limbs(cases: list[LiftCase], seed: int) -> list[HiddenCase]:
    """An arm (left or right) or both legs of each case unseen for HIDDEN_SECONDS. Raises GentgError for short clips."""
    rng = np.random.default_rng(seed)
    chains = body_parts(torch.device("cpu")).numpy() > 0
    out = []
    for case in cases:
        track = case.track
        part = int(rng.choice([0, 1, 2], p=[0.25, 0.25, 0.5]))
        length = rng.uniform(*HIDDEN_SECONDS)
        first, last = track.timestamps[0] + MARGIN, track.timestamps[-1] - MARGIN - length
        if last < first:
            raise GentgError("bad_request", f"{case.reference.clip} is too short to hide a limb in.")
        start = rng.uniform(first, last)
        inside = (track.timestamps >= start) & (track.timestamps < start + length)
        hidden = inside[:, None] & chains[part]
        keypoints = track.keypoints.copy()
        keypoints[hidden] = 0.0
        out.append(HiddenCase(replace(case, track=track.with_keypoints(keypoints)), hidden, _PARTS[part]))
    return out


def low_pass(x: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Zero-phase Butterworth of second order, run forth and back, over the frames of (T, ...); `cutoff` in Hz."""
    return filtfilt(*butter(2, cutoff / (rate / 2.0)), x, axis=0)


def errors(case: HiddenCase, joints: np.ndarray) -> dict[str, float]:
    """Joints (T, 35, 3) from the pelvis in camera axes -> mm on hidden, other and all main joints, and m/s2."""
    reference = case.case.reference
    truth = reference.in_camera()
    truth = truth - truth[:, :1]
    pred, ref = joints[:, _MAIN], truth[:, _MAIN]
    distance, hidden = metrics.distances(pred, ref), case.hidden[:, _MAIN]
    return {
        "hidden": float(distance[hidden].mean()),
        "other": float(distance[~hidden].mean()),
        "mpjpe": float(distance.mean()),
        "accel_error": metrics.mean(metrics.motion_error(pred, ref, reference.times, 2)),
    }


def tuned_cutoff(cases: list[HiddenCase], lifted: list[np.ndarray], by: str) -> float:
    """The cut-off of CUTOFFS with the least mean error `by` (a key of `errors`) on these clips."""
    return min(
        (c for c in CUTOFFS if all(c < case.case.track.fps / 2 for case in cases)),
        key=lambda c: np.mean(
            [errors(k, low_pass(x, k.case.track.fps, c))[by] for k, x in zip(cases, lifted, strict=True)]
        ),
    )


def compare(
    cases: list[HiddenCase], settings: EstimateSettings, thresholds: tuple[float, ...],
    said: Callable[[str], None] | None = None, lifter: Lifter | None = None,
) -> list[Figures]:  # fmt: skip
    """Every method on the second half of `cases`; `settings.correction` is GPC's amount. Raises GentgError."""
    if len(cases) < 2:
        raise GentgError(
            "bad_request", "At least two clips are needed: one to tune the low-pass on, one to report."
        )
    lifter = lifter or Lifter(settings)
    shipped = lifter.corrector.threshold
    tune, test = cases[: len(cases) // 2], cases[len(cases) // 2 :]
    say = said or (lambda text: None)

    plain = _lifter(lifter, replace(settings, correction=0.0), shipped)
    say("TGT, clips to tune on")
    tuning = [_lift(plain, c)[0].tgt.joints for c in tune]
    say("TGT, clips to report")
    base, base_ms = _all(plain, test)
    own = [r.tgt.joints for r in base]
    out = [_figures("TGT", test, own)]
    for by, text in (("mpjpe", "least MPJPE"), ("accel_error", "least acceleration error")):
        cutoff = tuned_cutoff(tune, tuning, by)
        smooth = [low_pass(x, c.case.track.fps, cutoff) for c, x in zip(test, own, strict=True)]
        out.append(_figures(f"TGT + low-pass {cutoff:g} Hz ({text})", test, smooth))
    for threshold in sorted({*thresholds, shipped}):
        say(f"TGT + GPC, threshold {threshold:g} m")
        found, ms = _all(_lifter(lifter, settings, threshold), test)
        figures = _figures(f"TGT + GPC, {threshold:g} m" + (" (in use)" if threshold == shipped else ""),
                           test, [r.corrected.joints for r in found])  # fmt: skip
        share = float(np.mean([r.resampled for r in found]))
        out.append(replace(figures, resampled=share, ms=ms - base_ms, threshold=threshold))
    return out


def _lifter(like: Lifter, settings: EstimateSettings, threshold: float) -> Lifter:
    """Another lifter with the same networks."""
    corrector = replace(like.corrector, threshold=threshold)
    return Lifter(settings, like.tgt, like.gpc, corrector)


def _lift(lifter: Lifter, case: HiddenCase) -> tuple[LiftResult, float]:
    """-> the result and CPU seconds."""
    start = time.process_time()
    result = lifter.lift(case.case.track, case.case.K)
    return result, time.process_time() - start


def _all(lifter: Lifter, cases: list[HiddenCase]) -> tuple[list[LiftResult], float]:
    """-> results and CPU ms per frame."""
    done = [_lift(lifter, c) for c in cases]
    frames = sum(len(c.case.track) for c in cases)
    return [r for r, _ in done], 1e3 * sum(s for _, s in done) / frames


def _figures(method: str, cases: list[HiddenCase], joints: list[np.ndarray]) -> Figures:
    found = [errors(c, x) for c, x in zip(cases, joints, strict=True)]
    return Figures(method, **{k: float(np.mean([f[k] for f in found])) for k in found[0]})


def verdicts(figures: list[Figures]) -> list[str]:
    """What was promised of GPC, for the threshold in use, and whether it holds."""
    tgt, smooth = figures[0], min(figures[1:3], key=lambda f: f.accel_error)
    ours = next(f for f in figures if "(in use)" in f.method)
    gain = 1.0 - ours.hidden / tgt.hidden
    lines = [
        (
            f"error on hidden joints {100 * gain:.1f} % lower than TGT's (at least {100 * LESS_HIDDEN:.0f} %)",
            gain >= LESS_HIDDEN,
        ),
        (
            f"other joints {ours.other:.1f} mm against TGT's {tgt.other:.1f} mm (no loss)",
            ours.other <= tgt.other * (1 + NO_LOSS),
        ),
        (
            f"acceleration error {ours.accel_error:.2f} m/s2 against {smooth.accel_error:.2f} m/s2 of {smooth.method} (lower)",
            ours.accel_error < smooth.accel_error,
        ),
    ]
    return [f"{'holds ' if ok else 'MISSED'}  {text}" for text, ok in lines]


def table(figures: list[Figures]) -> str:
    """Markdown, one line a method."""
    heads = ["method", "hidden joints, mm", "other joints, mm", "MPJPE, mm", "accel error, m/s2",
             "joints resampled, %", "GPC, CPU ms/frame"]  # fmt: skip
    body = []
    for f in figures:
        gpc = [cell(100 * f.resampled, ".0f"), cell(f.ms, ".2f")] if f.threshold is not None else ["-", "-"]
        body.append(
            [
                f.method,
                *(cell(v, ".1f") for v in (f.hidden, f.other, f.mpjpe)),
                cell(f.accel_error, ".2f"),
                *gpc,
            ]
        )
    return markdown(heads, body)


def describe(cases: list[HiddenCase], settings: EstimateSettings) -> dict[str, Any]:
    """What the figures were taken on."""
    parts = [c.part for c in cases]
    return {
        "clips": len(cases), "reported": len(cases) - len(cases) // 2, "correction": settings.correction,
        "quality": settings.quality, "hidden_parts": {p: parts.count(p) for p in sorted(set(parts))},
        "hidden_seconds": list(HIDDEN_SECONDS),
    }  # fmt: skip


assert body_parts(torch.device("cpu")).shape[1] == NUM_JOINTS
