"""The report of `gentg train compare`: scores of its runs, kept beside their checkpoints, and the three tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inference_backend.evaluation.candidates import Candidate, of_run
from inference_backend.evaluation.network_table import (
    NOTES,
    Films,
    Row,
    add_costs,
    as_json,
    films_of,
    network_table,
    row_of,
)
from inference_backend.evaluation.report import write
from inference_backend.training.compare import ABLATION, MINUTES, SAMPLES, CompareConfig, Planned

_TITLES = {
    SAMPLES: "Equal number of training samples",
    MINUTES: "Equal time",
    ABLATION: "Ablation of TGT, on the same number of samples",
}
REFERENCE = "TGT"  # the row that an ablation is compared with


class Comparison:
    """Scores runs as they are finished and writes `report.md` and `report.json` into the comparison's folder."""

    def __init__(self, config: CompareConfig):
        self.config = config
        self.folder = Path(config.out) / config.name
        self._films: Films | None = None
        self._rows: dict[str, dict[str, Row]] = {}  # table -> label -> row

    def add(self, planned: Planned) -> None:
        """Score a finished run, or read the scores that lie beside its checkpoint. Raises GentgError."""
        note = planned.folder / "score.json"
        about = self._about(planned)
        kept = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if kept.get("about") == about:
            rows = [Row.read(r) for r in kept["rows"]]
        else:
            rows = [row_of(c, self._all_films()) for c in self._candidates(planned)]
            write(note, {"about": about, "rows": as_json(rows)})
        table = self._rows.setdefault(planned.table, {})
        table.update({r.label: r for r in rows})

    def measure(self, done: list[Planned], report: Callable[[str], None]) -> None:
        """Time and multiply-adds of the networks of the runs added, each table's in turn."""
        scoring = self.config.scoring
        if scoring.timing_runs < 1:
            return
        for table, rows in self._rows.items():
            report(f"{table}: time")
            found = [c for p in done if p.table == table for c in self._candidates(p)]
            add_costs(list(rows.values()), found, scoring.timing_runs)

    def write(self) -> Path:
        """-> the report's path. Tables without a finished run are left out."""
        data = self.config.train.data
        texts = [f"# Networks compared\n\n{self._introduction()}"]
        content: dict[str, Any] = {"config": asdict(self.config), "tables": {}}
        for table, title in _TITLES.items():
            rows = list(self._rows.get(table, {}).values())
            if not rows:
                continue
            if table == ABLATION:
                rows = [r for r in (self._rows.get(SAMPLES, {}).get(REFERENCE),) if r] + rows
            texts.append(f"## {title}\n\n{network_table(rows)}")
            if table != ABLATION:
                texts.append("\n".join(winners(rows)))
            content["tables"][table] = as_json(rows)
        texts.append(NOTES + f"\nHeld-out subjects: {', '.join(data.held_out_subjects)}.")
        path = self.folder / "report.md"
        write(path, "\n\n".join(texts))
        write(path.with_suffix(".json"), content)
        return path

    def _introduction(self) -> str:
        c = self.config
        parts = []
        if c.samples:
            parts.append(f"{c.samples} clips of {c.train.generator.frames} frames for each network")
        if c.minutes:
            clock = "processor" if c.train.optim.clock == "cpu" else "wall"
            parts.append(f"{c.minutes:g} minutes of {clock} time for each")
        return (
            "By `gentg train compare`, all from scratch on the same motion, noise, split and input: "
            + "; ".join(parts)
            + "".join(f"; {network} with {', '.join(own)}" for network, own in c.own.items())
            + f". Scored on {c.scoring.films} films for each noise level. TGT + GPC is GPC trained for one budget more on the "
            "TGT of its table."
        )

    def _about(self, planned: Planned) -> dict[str, Any]:
        """What a kept score depends on besides its run."""
        note = json.loads((planned.folder / "run.json").read_text(encoding="utf-8"))
        scoring = asdict(self.config.scoring)
        del scoring["timing_runs"]
        return {"scoring": scoring, "run": note}

    def _candidates(self, planned: Planned) -> list[Candidate]:
        found = of_run(planned.folder, Path(planned.config.data.motion), planned.label)
        # Of ablated networks only the joints that they hand over count.
        return found[:1] if planned.table == ABLATION else found

    def _all_films(self) -> Films:
        if self._films is None:
            s, data = self.config.scoring, self.config.train.data
            self._films = films_of(Path(data.motion), tuple(data.held_out_subjects), s.noise, s.films,
                                   layout=s.layout, frames=self.config.train.generator.frames, seed=s.seed)  # fmt: skip
        return self._films


def winners(rows: list[Row]) -> list[str]:
    """Whether TGT beats every baseline on MPJPE and P-MPJPE, at each noise level."""
    ours = {"TGT", "TGT, rigid", "TGT + GPC"}
    tgt = next((r for r in rows if r.label == REFERENCE), None)
    others = [r for r in rows if r.label not in ours]
    if tgt is None or not others:
        return []
    lines = []
    for noise, values in tgt.values.items():
        for metric, title in (("mpjpe", "MPJPE"), ("p_mpjpe", "P-MPJPE")):
            best = min(others, key=lambda r: r.values[noise][metric])
            won = values[metric] < best.values[noise][metric]
            lines.append(f"{'holds ' if won else 'MISSED'}  {title}, {noise}: TGT {values[metric]:.1f} mm, the best baseline "
                         f"{best.values[noise][metric]:.1f} mm ({best.label})")  # fmt: skip
    return lines
