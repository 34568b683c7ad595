"""What lifting live costs in accuracy: the same films offline, solved as in `estimate`, and frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gentg_blender.core.contract import EstimateSettings
from gentg_blender.core.skeleton import JOINT_INDEX, MAIN_JOINTS
from inference_backend.evaluation import metrics
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.report import cell, markdown
from inference_backend.lifting.lifter import Lifter
from inference_backend.live.lifter import SMOOTH, LiveLifter
from inference_backend.solve.solve import STANDARD_HEIGHT, solve

FRAMES = 120  # of a film
WARM_UP = 0.8  # seconds at the start that don't count: live knows no past there
_MAIN = [JOINT_INDEX[n] for n in MAIN_JOINTS]


@dataclass
class Row:
    """Means over the films."""

    method: str
    mpjpe: float  # mm
    p_mpjpe: float  # mm
    accel_error: float  # m/s2


def compare(
    cases: list[LiftCase],
    settings: EstimateSettings,
    say: Callable[[str], None],
) -> list[Row]:
    """Every way of lifting on the same films, TGT alone. Raises GentgError."""
    lifter = Lifter(settings)

    def live(case: LiftCase, smoothing: float) -> np.ndarray:
        stream = LiveLifter(
            case.K, case.track.layout, height=STANDARD_HEIGHT, smoothing=smoothing, device=settings.device,
            tgt=lifter.tgt,
        )  # fmt: skip
        steps = zip(case.track.keypoints, case.track.timestamps, strict=True)
        return np.array([stream.step(points, time).xyz_camera for points, time in steps])

    def solved(case: LiftCase) -> np.ndarray:
        lifted = lifter.lift(case.track, case.K).tgt
        return solve(lifted, case.track, case.K, settings, lambda *a: None).xyz_camera

    methods: dict[str, Callable[[LiftCase], np.ndarray]] = {
        "TGT offline": lambda c: lifter.lift(c.track, c.K).tgt.joints,
        "offline with the solver": solved,
        "live, no smoothing": lambda c: live(c, 0.0),
        f"live, {SMOOTH:g} s of smoothing": lambda c: live(c, SMOOTH),
    }
    rows = []
    for name, method in methods.items():
        say(name)
        found = np.array([_errors(case, method(case)) for case in cases])
        rows.append(Row(name, *found.mean(axis=0)))
    return rows


def _errors(case: LiftCase, joints: np.ndarray) -> tuple[float, float, float]:
    """Joints (T, 35, 3) in camera axes -> MPJPE and P-MPJPE (mm) and acceleration error (m/s2) after WARM_UP."""
    truth, times = case.reference.in_camera(), case.track.timestamps
    counts = times >= times[0] + WARM_UP
    pred, ref = ((x - x[:, :1])[counts][:, _MAIN] for x in (joints, truth))
    aligned = metrics.procrustes_aligned(pred, ref)
    acceleration = metrics.mean(metrics.motion_error(pred, ref, times[counts], 2))
    return metrics.distances(pred, ref).mean(), metrics.distances(aligned, ref).mean(), acceleration


def table(rows: list[Row]) -> str:
    """Markdown, one line a method."""
    heads = ["method", "MPJPE, mm", "P-MPJPE, mm", "accel error, m/s2"]
    body = [
        [r.method, cell(r.mpjpe, ".1f"), cell(r.p_mpjpe, ".1f"), cell(r.accel_error, ".1f")] for r in rows
    ]
    return markdown(heads, body)
