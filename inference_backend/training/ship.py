"""From a finished run to shipped weights: EMA weights, calibration, what the file says about itself."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any

import torch

from gentg_blender.core.confidence import ERROR_SPREAD
from gentg_blender.core.contract import GentgError
from inference_backend.lifting.correct import joint_sigma
from inference_backend.lifting.lifter import mean_with_mirror
from inference_backend.lifting.weights import save_weights
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.tgt import TGT, TGTConfig
from inference_backend.training.config import DataConfig, GeneratorConfig, as_recorded
from inference_backend.training.generator import Generator
from inference_backend.training.losses import truth_in_virtual_camera
from inference_backend.training.setup import motion_of, split


def load_run(run: Path) -> dict[str, Any]:
    """A run's checkpoint. Raises GentgError when there is none."""
    path = run / "checkpoint.pt"
    if not path.is_file():
        raise GentgError(
            "no_such_file", "The run has no checkpoint.", file=path, hint="Train first: gentg train."
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def ship(run: Path, folder: Path, motion: Path) -> dict[str, str]:
    """Write `tgt.safetensors` and/or `gpc.safetensors` of a run into `folder`. -> name: sha256.

    `motion` is the file that the run was trained on: its held-out subjects calibrate TGT's uncertainty.
    Raises GentgError for a run without a checkpoint, of another kind, or without held-out motion.
    """
    state = load_run(run)
    config, ema = state["config"], state["ema"]
    info = {"run": config["name"], "steps": state["step"], "minutes": round(state["seconds"] / 60, 1),
            "frames": state["step"] * config["optim"]["batch"] * config["generator"]["frames"],
            "commit": _commit(), "held_out_subjects": config["data"]["held_out_subjects"],
            "held_out_clips": config["data"]["held_out_clips"]}  # fmt: skip
    if config["kind"] not in ("tgt", "gpc", "e2e"):
        raise GentgError("bad_request", f"A run of kind {config['kind']} has no weights to ship.", file=run,
                         hint="Runs of kind tgt, gpc and e2e can be shipped.")  # fmt: skip
    if not TGTConfig(**config["tgt"]).ray_normalisation:
        raise GentgError("bad_request", "A TGT without ray normalisation is for comparison: nothing else can use it.",
                         file=run)  # fmt: skip
    hashes = {}
    if config["kind"] in ("tgt", "e2e"):
        model = TGT(TGTConfig(**config["tgt"]))
        model.load_state_dict(part_of(ema, "tgt.") if config["kind"] == "e2e" else ema)
        info_tgt = info | {"calibration": calibrate(model.eval(), motion, DataConfig(**config["data"]))}
        hashes["tgt"] = save_weights(folder / "tgt.safetensors", "tgt", model, info_tgt)
    if config["kind"] in ("gpc", "e2e"):
        model = GPC(GPCConfig(**config["gpc"]))
        model.load_state_dict(part_of(ema, "gpc."))
        hashes["gpc"] = save_weights(folder / "gpc.safetensors", "gpc", model, info)
    return hashes


def part_of(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of one network of several, by the prefix of their names."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@torch.no_grad()
def calibrate(model: TGT, motion: Path, data: DataConfig, batches: int = 12) -> list[float]:
    """Factors on the Laplace scales (plane, depth) that make sigma true.

    Found on half of the held-out clips (every second one); figures are given on the other half. The
    maximum-likelihood factor of a Laplace scale is mean(|error| / scale); a common factor then gives
    the distance's error the median that core.confidence expects, since averaging with the mirrored
    picture, as lifting does, makes errors smaller than either picture's.
    """
    _, test = split(motion_of(motion), data)
    if not test:
        raise GentgError(
            "bad_request",
            "Uncertainty is calibrated on held-out subjects, and the motion file holds none of them: "
            + ", ".join(data.held_out_subjects),
            file=motion,
        )
    generator = Generator(test[::2], as_recorded(GeneratorConfig()), torch.device("cpu"), seed=99)
    errors, scales = [], []
    for _ in range(batches):
        batch = generator.batch(16)
        x = batch.normalised(model.config.ray_normalisation)
        out = mean_with_mirror(
            model(x, batch.times, batch.family), model, batch.points, batch.confidence, batch.times, batch.family
        )  # fmt: skip
        # The middle of a window, which is what lifting blends overlapping windows from.
        middle = slice(out.joints.shape[1] // 4, -(out.joints.shape[1] // 4))
        errors.append((out.joints - truth_in_virtual_camera(batch, x)[0])[:, middle, 1:].flatten(0, 2))
        scales.append(out.scale[:, middle, 1:].flatten(0, 2))
    error, scale = torch.cat(errors), torch.cat(scales)
    factors = torch.stack(
        [(error[:, :2].abs().mean(-1) / scale[:, 0]).mean(), (error[:, 2].abs() / scale[:, 1]).mean()]
    )
    ratio = (error.norm(dim=-1) / joint_sigma(scale * factors)).median()
    return [round(float(f), 4) for f in factors * ratio * math.exp(ERROR_SPREAD**2)]


def _commit() -> str:
    """The checkout's commit, or "unknown" outside of one."""
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                              cwd=Path(__file__).parent, check=False)  # fmt: skip
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() or "unknown"
