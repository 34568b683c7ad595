"""Networks side by side as one table: accuracy on the same films, parameters, multiply-adds, time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference_backend.evaluation.candidates import Candidate, score_candidate
from inference_backend.evaluation.cost import OVERLAP, WINDOW, Cost, any_window, measure
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.motion_suite import FRAMES, MotionCase, held_out, motion_films
from inference_backend.evaluation.report import cell, markdown
from inference_backend.training.generator import Batch

Films = dict[str, list[tuple[Batch, list[LiftCase]]]]  # by noise level
_KEPT = ("mpjpe", "p_mpjpe", "accel_error", "bone_std")


@dataclass
class Row:
    """One network's line; what isn't known is None."""

    label: str
    joints: int
    values: dict[str, dict[str, float]]  # noise level -> metric -> number, in report.METRICS's units
    parameters: int
    frames: int | None = None  # trained on
    minutes: float | None = None
    cost: Cost | None = None

    @classmethod
    def read(cls, data: dict[str, Any]) -> Row:
        """From `asdict` by way of JSON, in which NaN was null."""
        values = {
            n: {m: math.nan if v is None else v for m, v in found.items()}
            for n, found in data["values"].items()
        }
        return cls(**data | {"values": values, "cost": Cost(**data["cost"]) if data.get("cost") else None})


def films_of(motion: Path, subjects: tuple[str, ...], noises: Iterable[str], count: int, *,
             layout: str = "blazepose33", rate: float = 30.0, frames: int = FRAMES, seed: int = 0) -> Films:  # fmt: skip
    """The films that every network is scored on. Raises GentgError."""
    clips = held_out(motion, subjects)
    return {
        n: list(motion_films(clips, MotionCase(layout, n, rate), count, frames=frames, seed=seed))
        for n in noises
    }


def row_of(candidate: Candidate, films: Films) -> Row:
    """Score a network on all films."""
    values = {}
    for noise, batches in films.items():
        found = score_candidate(candidate, batches).values
        values[noise] = {m: found.get(m, math.nan) for m in _KEPT}
    c = candidate
    return Row(c.label, len(c.joints), values, c.parameters, c.frames, c.minutes)


def add_costs(rows: list[Row], candidates: list[Candidate], runs: int) -> None:
    """Measure all in turn and enter the costs by label."""
    costs = measure(candidates, any_window(), runs)
    for row in rows:
        row.cost = costs.get(row.label, row.cost)


def network_table(rows: list[Row]) -> str:
    """Markdown. MPJPE and P-MPJPE for every noise level; acceleration and bones for the last."""
    noises = list(rows[0].values)
    heads = ["network", "training frames, M", "minutes"]
    heads += [f"{title}, {n}, mm" for n in noises for title in ("MPJPE", "P-MPJPE")]
    heads += [
        "accel error, m/s2",
        "bone std, mm",
        "parameters, M",
        "MACs/frame, M",
        "ms/frame",
        "ms/frame, overlapped",
    ]
    body = []
    for r in rows:
        last = r.values[noises[-1]]
        name = r.label + ("" if r.joints == 17 else f" ({r.joints} joints)")
        cost = (
            [cell(r.cost.macs / 1e6, ".1f"), cell(r.cost.ms, ".2f"), cell(r.cost.ms_overlapped, ".2f")]
            if r.cost
            else ["-"] * 3
        )
        body.append(
            [name, cell(_or_nan(r.frames, 1e-6), ".3f"), cell(_or_nan(r.minutes), ".1f")]
            + [cell(r.values[n][m], ".1f") for n in noises for m in ("mpjpe", "p_mpjpe")]
            + [
                cell(last["accel_error"], ".2f"),
                cell(last["bone_std"], ".2f"),
                cell(r.parameters / 1e6, ".2f"),
                *cost,
            ]
        )
    return markdown(heads, body)


def _or_nan(value: float | None, factor: float = 1.0) -> float:
    return math.nan if value is None else value * factor


NOTES = f"""\
MPJPE and P-MPJPE over the 17 main joints (16 where a network's graph has no nose), centred on the middle of the hips,
on the same held-out films for all; acceleration error and bone lengths' standard deviation at the last noise level.
Every network sees a window once, unmirrored. Time is the median wall time of one {WINDOW}-frame window, all networks in
turn; "overlapped" is what a frame costs where windows overlap by {OVERLAP:.0%}, as in lifting. MACs are those of matrix
products and convolutions. TGT + GPC is timed with a fifth of the window's frames uncertain; "rigid" is the body that
TGT's directions and clip-level lengths make, at the same cost."""


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """For `report.write`."""
    return [asdict(r) for r in rows]
