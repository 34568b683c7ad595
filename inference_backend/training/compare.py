"""The comparison of networks: which runs it takes, each trained from scratch, finished ones left alone.

Two tables, equal numbers of training samples and equal wall time, hold TGT, TGT + GPC and the baselines; a third
holds TGT with one thing changed at a time, on the same number of samples.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gentg_blender.core.contract import GentgError, atomic_file
from inference_backend.networks.baselines import BASELINES
from inference_backend.training import builders
from inference_backend.training.config import (
    TrainConfig,
    check_choices,
    load_dataclass,
    to_dict,
    with_overrides,
)
from inference_backend.training.ship import ship

SAMPLES, MINUTES, ABLATION = "samples", "minutes", "ablation"  # the tables, and the folders of their runs
ENDLESS = 1_000_000_000  # steps, where time is what ends a run

# What each ablation changes. `fk_output` gives joints by forward kinematics instead of free ones; the loss's three
# terms are what trains directions and lengths.
ABLATIONS: dict[str, list[str]] = {
    "no limb tokens": ["tgt.limb_tokens=false"],
    "no graph bias": ["tgt.graph_bias=false"],
    "no temporal attention": ["tgt.temporal=false"],
    "no ray normalisation": ["tgt.ray_normalisation=false"],
    "no time encoding": ["tgt.rotary=false"],
    "no noise in training": ["generator.noise=0"],
    "no detector embedding": ["tgt.detector_embedding=false"],
    "joints by forward kinematics": ["tgt.fk_output=true"],
    "no forward-kinematics losses": ["loss.rigid=0", "loss.direction=0", "loss.length=0"],
}


@dataclass
class ScoringConfig:
    """How the trained networks are scored."""

    films: int = 64  # for each noise level
    noise: list[str] = field(default_factory=lambda: ["clean", "detector"])
    layout: str = "blazepose33"
    seed: int = 0
    timing_runs: int = 15  # 0: no times


@dataclass
class CompareConfig:
    """The whole comparison. Budgets are for each network."""

    name: str = "compare"
    out: str = "runs"
    niceness: int = 10  # lowers the priority of the process; 0 leaves it
    samples: int = 720  # clips each network is trained on in the table of equal samples; 0: no such table
    minutes: float = 0.5  # wall time each is trained for in the other; 0: no such table
    networks: list[str] = field(default_factory=lambda: ["tgt", "gpc", *BASELINES])
    ablations: dict[str, list[str]] = field(default_factory=lambda: dict(ABLATIONS))  # {}: none
    # Settings of one network that its paper gives and that differ from `train`.
    own: dict[str, list[str]] = field(
        default_factory=lambda: {"motionagformer_xs": ["optim.learning_rate=0.0005"]}
    )
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    train: TrainConfig = field(default_factory=TrainConfig)  # what all runs have in common


@dataclass(frozen=True)
class Planned:
    """One run of a table."""

    table: str
    label: str
    config: TrainConfig
    base: Path | None = None  # GPC: the run of the TGT that it corrects

    @property
    def folder(self) -> Path:
        return Path(self.config.out) / self.config.name


def load_compare(path: str | Path | None, overrides: list[str] = ()) -> CompareConfig:
    """YAML file and overrides (`train.optim.batch=8`) -> CompareConfig. Raises GentgError naming the key."""
    config = load_dataclass(CompareConfig, path, overrides)
    check_choices(config.train)
    unknown = sorted({*config.networks, *config.own} - {"tgt", "gpc", *BASELINES})
    if unknown:
        raise GentgError("bad_request", f"unknown network: {', '.join(unknown)}",
                         hint=f"Choose from tgt, gpc, {', '.join(BASELINES)}.")  # fmt: skip
    if "gpc" in config.networks and "tgt" not in config.networks[: config.networks.index("gpc")]:
        raise GentgError("bad_request", "networks: gpc corrects tgt, which must stand before it.")
    if config.ablations and not ("tgt" in config.networks and config.samples):
        raise GentgError("bad_request", "ablations are compared with tgt in the table of equal samples.",
                         hint="Add tgt and samples, or set ablations={}.")  # fmt: skip
    if not config.samples and not config.minutes:
        raise GentgError("bad_request", "samples and minutes are both 0: there is nothing to train.")
    return config


def plan(config: CompareConfig) -> list[Planned]:
    """Every run in the order of training. Raises GentgError for settings that cannot be."""
    runs = []
    for table, budget in ((SAMPLES, config.samples), (MINUTES, config.minutes)):
        if not budget:
            continue
        for network in config.networks:
            label = {"tgt": "TGT", "gpc": "TGT + GPC"}.get(network, network)
            folder = Path(config.out) / config.name / table / "tgt"
            base = folder if network == "gpc" else None
            run = _run(config, table, network, network, config.own.get(network, []))
            runs.append(Planned(table, label, run, base))
    for label, changes in config.ablations.items():
        name = label.replace(" ", "_")
        runs.append(Planned(ABLATION, label, _run(config, ABLATION, "tgt", name, changes)))
    return runs


def _run(config: CompareConfig, table: str, network: str, name: str, changes: list[str]) -> TrainConfig:
    run = with_overrides(
        config.train, [*config.own.get("tgt", []), *changes] if table == ABLATION else changes
    )
    run.kind = network if network in ("tgt", "gpc") else "baseline"
    run.baseline = network if run.kind == "baseline" else ""
    run.name, run.out = f"{config.name}/{table}/{name}", config.out
    if run.tgt_weights or run.gpc_weights:
        raise GentgError(
            "bad_request", "A comparison trains from scratch: tgt_weights and gpc_weights must be empty."
        )
    run.optim.validate_steps = 0  # every network is scored afterwards, on the same films
    if table == MINUTES:
        run.optim.minutes, run.optim.steps = config.minutes, ENDLESS
    else:
        run.optim.minutes, run.optim.steps = None, -(-config.samples // run.optim.batch)
    return run


def train(planned: Planned, say: Callable[[str], None]) -> bool:
    """Train a run, going on from its checkpoint; False when it was done already. Raises GentgError."""
    config = planned.config
    if planned.base:
        weights = planned.base / "weights" / "tgt.safetensors"
        if not weights.is_file():
            ship(planned.base, weights.parent, Path(config.data.motion))
        config.tgt_weights = str(weights)
    settings = json.loads(json.dumps(to_dict(config)))
    note = planned.folder / "run.json"
    before = _read(note)
    if before and before["config"] != settings:
        raise GentgError("bad_request", "This run was begun with other settings: "
                         + ", ".join(_differences(before["config"], settings)), file=note,
                         hint="Give the comparison another name (--set name=...), or delete the run's folder.")  # fmt: skip
    if before and before["done"]:
        return False
    say(f"{planned.table}: {planned.label}")
    _write(note, {"config": settings, "done": False})
    # The builder enters the sizes of the TGT that GPC corrects, which `settings` must not have from then on.
    runner = builders.build(with_overrides(config, []))
    figures = runner.run()
    _write(
        note,
        {
            "config": settings,
            "done": True,
            "steps": runner.step,
            "seconds": runner.seconds,
            "figures": figures,
        },
    )
    return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise GentgError(
            "bad_request", "The note of a run is damaged.", file=path, hint="Delete the run's folder."
        ) from error


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Dotted names of the settings that differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            d for k in sorted({*a, *b}) for d in _differences(a.get(k), b.get(k), f"{where}.{k}".strip("."))
        ]
    return [] if a == b else [where]
