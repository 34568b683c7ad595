"""Training configuration: dataclasses read from YAML, checked, with dotted command-line overrides."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from gentg_blender.core.contract import GentgError
from inference_backend.diffusion.schedules import SCHEDULES
from inference_backend.networks.gpc import GPCConfig
from inference_backend.networks.tgt import TGTConfig


@dataclass
class DataConfig:
    """Which motion is trained on and which subjects are kept out of it."""

    motion: str = "data/motion/cmu_mocap.npz"
    # Whole subjects for our own tests; 02 and 127 are also sources of rendered test clips ...
    held_out_subjects: list[str] = field(
        default_factory=lambda: ["cmu_02", "cmu_127", "cmu_07", "cmu_55", "cmu_88"]
    )
    # ... and these are the others: their subjects are too varied to be spared from training.
    held_out_clips: list[str] = field(
        default_factory=lambda: ["cmu_05_02", "cmu_14_02", "cmu_14_32", "cmu_16_09", "cmu_29_01", "cmu_29_25"]
    )


@dataclass
class GeneratorConfig:
    """The synthetic filming of motion. Probabilities are per clip, lengths in metres, times in seconds."""

    frames: int = 64
    frame_rates: list[float] = field(default_factory=lambda: [24.0, 25.0, 30.0, 30.0, 50.0, 60.0])
    speed_spread: float = 0.2  # log-normal spread of the time warp
    mirror: float = 0.5
    limb_mixing: float = 0.25  # legs of one clip under the trunk of another
    bent: float = 0.25  # share of clips in which half of the ball joints (poses.py) are turned
    bent_spread: float = 0.3  # radians
    stances: float = 0.0  # share of clips in which a standing person crouches or raises a leg instead
    leans: float = 0.0  # share of clips in which a standing person leans far over one leg
    body_spread: float = 0.06  # log-normal spread of every limb length
    pitch_mean: float = 0.10  # radians, camera looking down
    pitch_spread: float = 0.15
    roll_spread: float = 0.05
    tilted: float = 0.35  # share of cameras that are far from level
    tilted_pitch_spread: float = 0.38
    tilted_roll_spread: float = 0.2
    focal_mm: tuple[float, float] = (22.0, 80.0)  # full-frame equivalent
    person_fraction: tuple[float, float] = (0.22, 1.05)  # standing height / image height
    panning: float = 0.2
    focal_error: float = 0.5  # share of clips whose assumed focal length is wrong
    focal_error_spread: float = 0.15
    noise: float = 1.0  # scale of all 2D noise; 0 gives exact projections
    occlusion: float = 0.45
    swap: float = 0.12
    frame_drop: float = 0.08
    fault_free: float = 0.1  # share of clips without any noise: the network must know clean 2D too


def as_recorded(config: GeneratorConfig) -> GeneratorConfig:
    """The same filming of motion that is not changed: to test on."""
    return dataclasses.replace(config, limb_mixing=0.0, bent=0.0, stances=0.0, leans=0.0)


@dataclass
class LossConfig:
    """Weights of the terms in losses.py."""

    position: float = 1.0
    rigid: float = 0.5
    scale_free: float = 0.5
    velocity: float = 0.3
    direction: float = 0.2
    length: float = 0.2
    symmetry: float = 0.1
    length_smoothness: float = 0.05
    reprojection: float = 0.3
    root: float = 0.3
    contact: float = 0.05
    gravity: float = 0.1
    likelihood: float = 0.1
    likelihood_start: float = 0.2  # share of the training after which the likelihood counts


@dataclass
class OptimConfig:
    """Optimiser, schedule and running."""

    steps: int = 6000
    batch: int = 24
    optimizer: str = "adamw"  # adamw | muon (on the hidden matrices; on a CPU a step takes longer)
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.03  # share of the steps
    final_learning_rate: float = 0.01  # share of the peak at the end of the cosine
    ema: float = 0.999
    clip_gradient: float = 1.0
    precision: str = "bf16"  # bf16 | fp32
    minutes: float | None = None  # stop (and finish the schedule) after this time of training
    clock: str = (
        "wall"  # wall | cpu: what minutes are; processor time is fair to runs that share a busy machine
    )
    checkpoint_minutes: float = 5.0
    log_steps: int = 50
    validate_steps: int = 1000  # 0: never, not even at the end


@dataclass
class TrainConfig:
    """Everything of one training run."""

    name: str = "tgt"
    kind: str = "tgt"  # tgt | gpc | e2e | baseline
    seed: int = 0
    device: str = "auto"
    threads: int = 0  # 0: torch's choice
    out: str = "runs"
    tgt_weights: str = ""  # a TGT to go on from (tgt, e2e) or to correct (gpc)
    gpc_weights: str = ""  # a GPC to go on from (gpc, e2e)
    baseline: str = ""  # baseline: a name of networks.baselines
    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tgt: TGTConfig = field(default_factory=TGTConfig)
    gpc: GPCConfig = field(default_factory=GPCConfig)


_CHOICES = {
    "kind": ("tgt", "gpc", "e2e", "baseline"), "optim.precision": ("bf16", "fp32"), "gpc.schedule": SCHEDULES,
    "optim.optimizer": ("adamw", "muon"), "optim.clock": ("wall", "cpu"),
}  # fmt: skip
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # YAML 1.1 takes 1e-3 for a word: it wants 1.0e-3


T = TypeVar("T")


def load_config(path: str | Path | None, overrides: list[str] = ()) -> TrainConfig:
    """YAML file and `a.b=value` overrides -> TrainConfig.

    Raises GentgError for unknown keys, wrong types and words that are no choice, naming the key.
    """
    return check_choices(load_dataclass(TrainConfig, path, overrides))


def load_dataclass(cls: type[T], path: str | Path | None, overrides: list[str] = ()) -> T:
    """The same for any configuration made of dataclasses, without the check of choices."""
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
            _build(cls, tree, "")
        except FileNotFoundError as error:
            raise GentgError(
                "no_such_file", "The training configuration does not exist.", file=path
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise GentgError("bad_request", f"Not valid YAML: {error}", file=path) from error
        except GentgError as error:
            raise GentgError(error.code, error.message, file=path, hint=error.hint) from error
    return _overridden(cls, tree, overrides)


def with_overrides(config: TrainConfig, overrides: list[str]) -> TrainConfig:
    """A copy with `a.b=value` settings replaced. Raises GentgError as `load_config` does."""
    return check_choices(_overridden(TrainConfig, to_dict(config), overrides))


def _overridden(cls: type[T], tree: dict[str, Any], overrides: list[str]) -> T:
    for item in overrides:
        _override(tree, item)
    return _build(cls, tree, "")


def check_choices(config: TrainConfig) -> TrainConfig:
    """-> the same. Raises GentgError for a word that is no choice."""
    for key, choices in _CHOICES.items():
        value = config
        for name in key.split("."):
            value = getattr(value, name)
        if value not in choices:
            raise GentgError("bad_request", f"{key} is {value!r}", hint=f"Choose from {', '.join(choices)}.")
    return config


def _override(tree: dict[str, Any], item: str) -> None:
    """Enter `a.b=value` into nested tables."""
    key, sep, text = item.partition("=")
    if not sep or not all(key.split(".")):
        raise GentgError("bad_request", f"an override looks like optim.steps=100, not {item!r}")
    node = tree
    *parents, leaf = key.split(".")
    for name in parents:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise GentgError("bad_request", f"unknown setting: {key} ({name} is no table of settings)")
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise GentgError("bad_request", f"the value of {key} is not valid YAML: {text!r}") from error


def _build(cls: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise GentgError("bad_request", f"{where or 'the configuration'} must be a table of settings")
    hints = typing.get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise GentgError(
            "bad_request",
            f"unknown setting: {', '.join(where + u for u in unknown)}",
            hint=f"Known here: {', '.join(sorted(known))}",
        )
    return cls(**{k: _convert(hints[k], v, where + k) for k, v in values.items()})


def _convert(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, where + ".")
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _convert(args[0], value, where)
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        if origin is tuple and len(value) != len(args):
            raise GentgError("bad_request", f"{where} must be {len(args)} values, not {value!r}")
        return origin(_convert(args[0], v, where) for v in value)
    if origin is dict and isinstance(value, dict):
        return {_convert(args[0], k, where): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise GentgError("bad_request", f"{where} must be {getattr(kind, '__name__', kind)}, not {value!r}")


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain tables, for YAML and for the metadata of weights."""
    return dataclasses.asdict(config)
