"""Networks side by side: shipped weights and training runs, each as one function from a batch to poses.

Every candidate sees the same windows once: no averaging over mirrored input, no overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINTS, MAIN_JOINTS
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.poses import Poses
from inference_backend.evaluation.report import mean_score
from inference_backend.evaluation.score import Score, score
from inference_backend.lifting.correct import CorrectorSettings, correct, joint_sigma
from inference_backend.lifting.weights import load_weights
from inference_backend.networks.baselines import BASELINES
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGT, TGTConfig
from inference_backend.training.config import DataConfig
from inference_backend.training.generator import Batch
from inference_backend.training.losses import rigid_joints
from inference_backend.training.ship import calibrate, load_run, part_of
from inference_backend.training.train_baseline import BaselineLifter

Predict = Callable[[Batch], torch.Tensor]
UNCERTAIN_SHARE = 0.2  # of a clip's frames, when GPC is timed


@dataclass
class Candidate:
    """A network and what was spent on it. `predict`: batch -> (B, T, joints, 3) from the pelvis, camera axes."""

    label: str
    predict: Predict
    parameters: int
    names: tuple[str, ...] = JOINTS
    frames: int | None = None  # trained on; None = not trained
    minutes: float | None = None
    timed: Predict | None = None  # what stands for it when time is measured, if that isn't `predict`
    joints: tuple[str, ...] = field(init=False)  # those it is scored on: the main ones that it gives

    def __post_init__(self) -> None:
        self.joints = tuple(n for n in MAIN_JOINTS if n in self.names)


def parameters(*models: nn.Module) -> int:
    """How many numbers were or can be learned."""
    return sum(p.numel() for m in models for p in m.parameters())


def shipped(amount: float = 1.0) -> list[Candidate]:
    """TGT, its rigid output and TGT + GPC as they come with the program, on the CPU. Raises GentgError."""
    tgt, gpc = load_weights("tgt"), load_weights("gpc")
    process = {"schedule": gpc.model.config.schedule, "levels": gpc.model.config.levels}
    settings = CorrectorSettings(**gpc.info.get("corrector", {}) | process)
    factors = tgt.info.get("calibration", [1.0, 1.0])
    return [
        *of_tgt(tgt.model, "TGT", frames=tgt.info.get("frames"), minutes=tgt.info.get("minutes")),
        of_gpc(tgt.model, gpc.model, factors, settings, "TGT + GPC", amount,
               frames=gpc.info.get("frames"), minutes=gpc.info.get("minutes")),
    ]  # fmt: skip


def untrained_baselines() -> list[Candidate]:
    """Every baseline at its published size with random weights, for its cost."""
    return [of_baseline(BaselineLifter(name).eval().requires_grad_(False), name) for name in BASELINES]


def of_run(folder: Path, motion: Path, label: str = "", amount: float = 1.0) -> list[Candidate]:
    """The networks of a training run's folder (EMA weights), on the CPU. Raises GentgError.

    Runs of kind baseline give one; tgt two (its rigid output as well); gpc and e2e TGT + GPC. `motion` is the
    file trained on: the uncertainty that chooses what GPC resamples is calibrated on its held-out subjects.
    """
    state = load_run(folder)
    config, ema = state["config"], state["ema"]
    spent = {"frames": state["frames"], "minutes": state["seconds"] / 60}
    try:
        if config["kind"] == "baseline":
            model = BaselineLifter(config["baseline"])
            model.load_state_dict(ema)
            return [of_baseline(model.eval().requires_grad_(False), label or config["baseline"], **spent)]
        tgt = TGT(TGTConfig(**config["tgt"]))
        tgt.load_state_dict(ema if config["kind"] == "tgt" else part_of(ema, "tgt."))
        tgt.eval().requires_grad_(False)
        if config["kind"] == "tgt":
            return of_tgt(tgt, label or config["name"], **spent)
        gpc = GPC(GPCConfig(**config["gpc"]))
        gpc.load_state_dict(part_of(ema, "gpc."))
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise GentgError("bad_weights", f"The run's checkpoint cannot be used: {error}", file=folder,
                         hint="Was it trained by another version?") from error  # fmt: skip
    factors = _calibration(config, tgt, motion)
    settings = CorrectorSettings(schedule=gpc.config.schedule, levels=gpc.config.levels)
    name = label or config["name"]
    return [of_gpc(tgt, gpc.eval().requires_grad_(False), factors, settings, name, amount, **spent)]


def of_tgt(model: TGT, label: str, **spent: Any) -> list[Candidate]:
    """TGT's free joints, and the rigid body of its directions and clip-level lengths."""

    def answer(batch: Batch, rigid: bool) -> torch.Tensor:
        x = batch.normalised(model.config.ray_normalisation)
        out = model(x, batch.times, batch.family)
        return to_camera(rigid_joints(out) if rigid else out.joints, x)

    size = parameters(model)
    return [
        Candidate(label, lambda batch: answer(batch, False), size, **spent),
        Candidate(f"{label}, rigid", lambda batch: answer(batch, True), size, **spent),
    ]


def of_gpc(tgt: TGT, gpc: nn.Module, factors: list[float], settings: CorrectorSettings, label: str,
           amount: float = 1.0, **spent: Any) -> Candidate:  # fmt: skip
    """TGT with GPC's correction, blended by `amount`. Timed on a clip with UNCERTAIN_SHARE uncertain frames."""
    factor = torch.tensor(factors)

    def answer(batch: Batch, share: float | None) -> torch.Tensor:
        x = batch.normalised()
        out = tgt(x, batch.times, batch.family)
        scale, used = out.scale * factor, settings
        if share is not None:
            worst = joint_sigma(scale)[..., 1:].amax(-1).flatten()
            used = replace(settings, threshold=float(torch.quantile(worst, 1.0 - share)))
        joints, _ = correct(gpc, out, x, batch.times, used, torch.Generator().manual_seed(0), scale)
        return to_camera(out.joints + amount * (joints - out.joints), x)

    return Candidate(label, lambda batch: answer(batch, None), parameters(tgt, gpc), **spent,
                     timed=lambda batch: answer(batch, UNCERTAIN_SHARE))  # fmt: skip


def of_baseline(model: BaselineLifter, label: str, **spent: Any) -> Candidate:
    """A published lifter behind TGT's input."""
    names = tuple(JOINTS[i] for i in model.joints.tolist())

    def answer(batch: Batch) -> torch.Tensor:
        x = batch.normalised()
        return to_camera(model(x), x)

    return Candidate(label, answer, parameters(model), names, **spent)


def to_camera(joints: torch.Tensor, x: Normalised) -> torch.Tensor:
    """Virtual camera axes (B, T, J, 3) -> the real camera's."""
    return torch.einsum("btji,btkj->btki", x.rotation, joints)


@torch.no_grad()
def score_candidate(candidate: Candidate, films: list[tuple[Batch, list[LiftCase]]]) -> Score:
    """Mean over the clips, on the main joints that the network gives, centred on the middle of the hips."""
    scores = []
    for batch, cases in films:
        xyz = candidate.predict(batch).double().numpy()
        for case, pose in zip(cases, xyz, strict=True):
            track = case.track
            pose = np.where(track.seen[:, None, None], pose, np.nan)
            poses = Poses(candidate.names, pose, track.timestamps, track.frames, absolute=False)
            scores.append(score(poses, case.reference, candidate.joints, feet=False))
    return mean_score(scores)


def _calibration(config: dict[str, Any], tgt: TGT, motion: Path) -> list[float]:
    """Factors on TGT's scales: those in the file of the frozen TGT if the run names one, else found again."""
    path = Path(config["tgt_weights"])
    if config["kind"] == "gpc" and path.is_file():
        info = load_weights("tgt", path=path).info
        if "calibration" in info:
            return info["calibration"]
    return calibrate(tgt, motion, DataConfig(**config["data"]))
