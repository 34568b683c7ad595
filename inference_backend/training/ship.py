"""From a finished run to shipped weights: EMA weights, calibration, what the file says about itself."""

from __future__ import annotations

import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gentg_blender.core.confidence import ERROR_SPREAD
from gentg_blender.core.contract import GentgError
from inference_backend.lifting.correct import joint_sigma
from inference_backend.lifting.lifter import WINDOW, mean_with_mirror
from inference_backend.lifting.weights import save_weights
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.normalise import normalise
from inference_backend.networks.tgt import BLAZEPOSE, TGT, TGTConfig
from inference_backend.training.config import DataConfig, GeneratorConfig, as_recorded
from inference_backend.training.generator import Batch, Generator
from inference_backend.training.setup import motion_of, split

HALF = WINDOW // 2  # frames that half overlapped windows share


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
            "frames": state["frames"], "commit": _commit(), "held_out_subjects": config["data"]["held_out_subjects"],
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
def calibrate(model: TGT, motion: Path, data: DataConfig, batches: int = 24) -> list[float]:
    """Factors on the Laplace scales (plane, depth) that make sigma true.

    Found on half of the held-out clips (every second one); figures are given on the other half. The
    maximum-likelihood factor of a Laplace scale is mean(|error| / scale); a common factor then gives
    the distance's error the median that core.confidence expects, since averaging with the mirrored
    image and the next window, as lifting does, makes errors smaller than those that scales are trained on.
    All in the default detector's layout: the few points of other layouts err more than their scales say.
    """
    _, test = split(motion_of(motion), data)
    if not test:
        raise GentgError(
            "bad_request",
            "Uncertainty is calibrated on held-out subjects, and the motion file holds none of them: "
            + ", ".join(data.held_out_subjects),
            file=motion,
        )
    # Half of the films without any fault: sigma must hold for good footage as for bad.
    films = replace(as_recorded(GeneratorConfig()), frames=3 * HALF, fault_free=0.5)
    generator = Generator(test[::2], films, torch.device("cpu"), seed=99)
    errors, scales = [], []
    for _ in range(batches):
        batch = generator.batch(16, torch.full((16,), BLAZEPOSE))
        error, scale = _blended(model, batch)
        errors.append(error[:, :, 1:].flatten(0, 2))
        scales.append(scale[:, :, 1:].flatten(0, 2))
    error, scale = torch.cat(errors), torch.cat(scales)
    factors = torch.stack(
        [(error[:, :2].abs().mean(-1) / scale[:, 0]).mean(), (error[:, 2].abs() / scale[:, 1]).mean()]
    )
    ratio = (error.norm(dim=-1) / joint_sigma(scale * factors)).median()
    return [round(float(f), 4) for f in factors * ratio * math.exp(ERROR_SPREAD**2)]


def _blended(model: TGT, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors (B, HALF, 35, 3) and scales (B, HALF, 35, 2) where two windows overlap, as lifting makes them there:
    mirrored answers averaged, windows cross-faded."""
    joints, variance = [], []
    for start, shared in ((0, slice(HALF, None)), (HALF, slice(0, HALF))):
        part = slice(start, start + 2 * HALF)
        p, c, t = batch.points[:, part], batch.confidence[:, part], batch.times[:, part]
        x = normalise(p, c, t - t[:, :1])
        out = mean_with_mirror(model(x, t, batch.family), model, p, c, t, batch.family)
        rotation = x.rotation[:, shared]
        joints.append(torch.einsum("btji,btkj->btki", rotation, out.joints[:, shared]))  # real camera axes
        variance.append(out.scale[:, shared].square())
    truth = batch.xyz[:, HALF : 2 * HALF]
    error = (joints[0] + joints[1]) / 2 - (truth - truth[:, :, :1])
    # Plane and depth are those of the virtual camera, which both windows agree on nearly.
    return torch.einsum("btij,btkj->btki", rotation, error), ((variance[0] + variance[1]) / 2).sqrt()


def _commit() -> str:
    """The checkout's commit, or "unknown" outside of one."""
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                              cwd=Path(__file__).parent, check=False)  # fmt: skip
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() or "unknown"
