"""Scores as tables: markdown for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gentg_blender.core.contract import atomic_file
from inference_backend.evaluation.score import Score


@dataclass(frozen=True)
class Metric:
    """How a number is headed and printed; `lower` is better, None = neither."""

    title: str
    unit: str
    form: str
    lower: bool | None = True


METRICS: dict[str, Metric] = {
    "coverage": Metric("frames", "share", ".3f", False),
    "mpjpe": Metric("MPJPE", "mm", ".1f"),
    "n_mpjpe": Metric("N-MPJPE", "mm", ".1f"),
    "p_mpjpe": Metric("P-MPJPE", "mm", ".1f"),
    "mpjpe_rot": Metric("MPJPE, clip rotated", "mm", ".1f"),
    "pa_clip": Metric("PA per clip", "mm", ".1f"),
    "mpjve": Metric("MPJVE", "m/s", ".3f"),
    "accel_error": Metric("accel error", "m/s2", ".2f"),
    "accel_ref": Metric("accel of reference", "m/s2", ".2f", None),
    "jitter": Metric("jitter", "m/s3", ".0f", None),
    "jitter_ref": Metric("jitter of reference", "m/s3", ".0f", None),
    "pck150": Metric("PCK@150", "share", ".3f", False),
    "auc": Metric("AUC", "share", ".3f", False),
    "bone_std": Metric("bone std", "mm", ".2f"),
    "bone_scale": Metric("bone scale", "ratio", ".3f", None),
    "side_difference": Metric("left/right difference", "mm", ".2f"),
    "swap": Metric("swapped", "share", ".3f"),
    "skate": Metric("foot skate", "m/s", ".3f"),
    "skate_ref": Metric("skate of reference", "m/s", ".3f", None),
    "skate_own_root": Metric("skate, own root", "m/s", ".3f"),
    "floor_mean": Metric("below floor, mean", "mm", ".1f"),
    "floor_max": Metric("below floor, most", "mm", ".1f"),
    "root_error": Metric("root error", "mm", ".0f"),
    "root_error_percent": Metric("root error", "% of path", ".1f"),
    "coverage_50": Metric("within 50 %", "share", ".3f", None),
    "coverage_80": Metric("within 80 %", "share", ".3f", None),
    "coverage_90": Metric("within 90 %", "share", ".3f", None),
    "coverage_95": Metric("within 95 %", "share", ".3f", None),
    "ece": Metric("ECE", "share", ".3f"),
    "ause": Metric("AUSE", "share", ".3f"),
    "spearman": Metric("Spearman", "", ".3f", False),
}
SHORT = ("mpjpe", "p_mpjpe", "pa_clip", "accel_error", "bone_std", "skate", "swap", "pck150", "auc")


def mean_score(scores: Iterable[Score], *, by_frames: bool = False, **groups: str) -> Score:
    """The mean over clips, each counted once or by its frames; metrics that a clip lacks are left to the others."""
    scores = list(scores)
    if not scores:
        raise ValueError("no score to average")
    names = [m for m in METRICS if any(m in s.values for s in scores)]
    weights = np.array([s.frames if by_frames else 1.0 for s in scores], float)

    def average(values: list[float]) -> float:
        v = np.array(values, float)
        ok = np.isfinite(v) & (weights > 0)
        return float(np.average(v[ok], weights=weights[ok])) if ok.any() else math.nan

    values = {m: average([s.values.get(m, math.nan) for s in scores]) for m in names}
    kinds = {k for s in scores for k in s.per_joint}
    joints = {k: list(scores[0].per_joint.get(k, {})) for k in sorted(kinds)}
    per_joint = {
        k: {j: average([s.per_joint.get(k, {}).get(j, math.nan) for s in scores]) for j in js}
        for k, js in joints.items()
    }
    return Score(values, per_joint, sum(s.frames for s in scores), dict(groups))


def grouped(scores: list[Score], group: str, *, by_frames: bool = False) -> list[Score]:
    """One mean score for each value of a group, e.g. "action"; clips without that group are refused."""
    keys = sorted({s.groups[group] for s in scores})
    return [
        mean_score([s for s in scores if s.groups[group] == k], by_frames=by_frames, **{group: k})
        for k in keys
    ]


def table(rows: list[tuple[str, Score]], metrics: Iterable[str] = SHORT, first: str = "clip") -> str:
    """Markdown with a row for each label; metrics that no row has are left out."""
    used = [m for m in metrics if any(math.isfinite(s.values.get(m, math.nan)) for _, s in rows)]
    heads = [first] + [f"{METRICS[m].title}{', ' + METRICS[m].unit if METRICS[m].unit else ''}" for m in used]
    body = [[label] + [cell(s.values.get(m, math.nan), METRICS[m].form) for m in used] for label, s in rows]
    return markdown(heads, body)


def joint_table(rows: list[tuple[str, Score]], metric: str = "mpjpe") -> str:
    """Markdown of one metric by joint (rows) and method or clip (columns), mm."""
    joints = list(rows[0][1].per_joint[metric])
    heads = [f"{METRICS[metric].title}, mm"] + [label for label, _ in rows]
    return markdown(
        heads, [[j] + [cell(s.per_joint[metric].get(j, math.nan), ".1f") for _, s in rows] for j in joints]
    )


def cell(value: float, form: str) -> str:
    """A number as it stands in a table; "-" where there is none."""
    return format(value, form) if math.isfinite(value) else "-"


def markdown(heads: list[str], body: list[list[str]]) -> str:
    """A table in markdown, first column to the left, the others to the right."""
    widths = [max(len(r[i]) for r in [heads, *body]) for i in range(len(heads))]

    def line(cells: list[str]) -> str:
        padded = [cells[0].ljust(widths[0])] + [
            c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (w + 1) + ":" for w in widths[1:]]) + "|"
    return "\n".join([line(heads), rule, *map(line, body)])


def as_json(methods: dict[str, list[Score]], **facts: Any) -> dict[str, Any]:
    """Everything, per method and clip, for programs; NaN becomes null."""
    content = {
        **facts,
        "units": {name: m.unit for name, m in METRICS.items()},
        "methods": {
            method: [
                {"frames": s.frames, **s.groups, "values": s.values, "per_joint": s.per_joint} for s in scores
            ]
            for method, scores in methods.items()
        },
    }
    return plain(content)


def plain(value: Any) -> Any:
    """For JSON, which knows no NaN: null."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(path: Path, content: str | dict[str, Any]) -> None:
    """Markdown or JSON (NaN becomes null), atomically. Raises GentgError."""
    if not isinstance(content, str):
        content = json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_file(path) as temporary:
        temporary.write_text(content.rstrip() + "\n", encoding="utf-8")
