"""Is TGT's uncertainty true on held-out people, with errors it was trained on and with others?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX, MAIN_JOINTS
from inference_backend.evaluation import uncertainty
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.report import METRICS, cell, markdown
from inference_backend.evaluation.score import uncertainty_values
from inference_backend.lifting.lifter import Lifter
from inference_backend.training.motion import MotionClip

TOLERANCE = 0.03  # promised: coverage within this of nominal, with a noise model not used in training
_JOINTS = [JOINT_INDEX[n] for n in MAIN_JOINTS if n != "pelvis"]  # the root has no error to be uncertain of


@dataclass
class Pooled:
    """All joints of all clips of one noise level together. Metres."""

    noise: str
    error: np.ndarray  # (N, 16)
    sigma: np.ndarray  # (N, 16)

    @property
    def values(self) -> dict[str, float]:
        """Coverage at 50, 80, 90, 95 %, ECE, AUSE, Spearman's correlation, and the mean error and sigma in mm."""
        return uncertainty_values(self.error, self.sigma) | {
            "error_rms": 1e3 * float(np.sqrt(np.mean(self.error**2))),
            "sigma_rms": 1e3 * float(np.sqrt(np.mean(self.sigma**2))),
        }

    @property
    def radii(self) -> list[float]:
        """For each of uncertainty.LEVELS the multiple of sigma within which that share of the errors lies."""
        return [float(r) for r in np.quantile(self.error / self.sigma, uncertainty.LEVELS)]


def not_calibrated_on(clips: list[MotionClip]) -> list[MotionClip]:
    """Every second held-out clip: the others gave the factors on the scales (training/ship.py). Raises GentgError."""
    if len(clips) < 2:
        raise GentgError("bad_request", "There is no held-out clip beside the one that calibrates the uncertainty.",
                         hint="Name more held-out subjects with --subjects.")  # fmt: skip
    return clips[1::2]


def pool(noise: str, cases: Iterable[LiftCase], lifter: Lifter) -> Pooled:
    """Lift every case and collect the main joints' errors, pelvis to pelvis, with TGT's sigma."""
    error, sigma = [], []
    for case in cases:
        lifted = lifter.lift(case.track, case.K).tgt
        truth = case.reference.in_camera()
        gap = lifted.joints - (truth - truth[:, :1])
        seen = case.track.seen
        error.append(np.linalg.norm(gap, axis=-1)[seen][:, _JOINTS])
        sigma.append(lifted.sigma[seen][:, _JOINTS])
    return Pooled(noise, np.concatenate(error), np.concatenate(sigma))


def table(pools: list[Pooled]) -> str:
    """Markdown, one line a noise level."""
    names = [f"coverage_{round(100 * p)}" for p in uncertainty.LEVELS] + ["ece", "ause", "spearman"]
    heads = ["noise"] + [METRICS[n].title for n in names] + ["RMS error, mm", "RMS sigma, mm"]
    body = []
    for p in pools:
        v = p.values
        body.append(
            [
                p.noise,
                *(cell(v[n], ".3f") for n in names),
                *(cell(v[n], ".1f") for n in ("error_rms", "sigma_rms")),
            ]
        )
    return markdown(heads, body)


def radius_table(pools: list[Pooled]) -> str:
    """Markdown: the radius that holds each level, in units of sigma: as core.confidence assumes, and as found. Where they differ at all levels alike, sigma is off; where not, the errors' shape is."""
    heads = ["radius / sigma"] + [f"{100 * p:.0f} %" for p in uncertainty.LEVELS]
    body = [["assumed", *(cell(uncertainty.distance_quantile(p), ".2f") for p in uncertainty.LEVELS)]]
    body += [[p.noise, *(cell(r, ".2f") for r in p.radii)] for p in pools]
    return markdown(heads, body)


def joint_table(pools: list[Pooled], level: float = 0.9) -> str:
    """Markdown: coverage at one level by joint."""
    names = [n for n in MAIN_JOINTS if n != "pelvis"]
    body = [
        [name, *(cell(uncertainty.coverage(p.error[:, i], p.sigma[:, i], level), ".3f") for p in pools)]
        for i, name in enumerate(names)
    ]
    return markdown([f"within {100 * level:.0f} %"] + [p.noise for p in pools], body)


def verdicts(pooled: Pooled) -> list[str]:
    """Coverage against nominal at each level."""
    lines = []
    for level in uncertainty.LEVELS:
        found = pooled.values[f"coverage_{round(100 * level)}"]
        ok = abs(found - level) <= TOLERANCE
        lines.append(f"{'holds ' if ok else 'MISSED'}  {pooled.noise}: {100 * level:.0f} % radius holds "
                     f"{100 * found:.1f} % (within {100 * TOLERANCE:.0f} points)")  # fmt: skip
    return lines
