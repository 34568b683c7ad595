"""Training of GPC on a frozen TGT's errors, and of both together (end to end with a stop-gradient bridge)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from gentg_blender.core.contract import GentgError
from inference_backend.diffusion.schedules import alpha_bar
from inference_backend.lifting.correct import joint_sigma
from inference_backend.lifting.weights import load_weights
from inference_backend.networks.gpc import GPC, GPCCondition
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGT, TGTOutput
from inference_backend.training import bodies
from inference_backend.training.config import TrainConfig
from inference_backend.training.generator import Batch
from inference_backend.training.losses import JOINT_WEIGHT, tgt_loss, truth_in_virtual_camera
from inference_backend.training.noise import body_parts
from inference_backend.training.runner import Runner
from inference_backend.training.setup import begin
from inference_backend.training.train_tgt import family_for

LARGEST = 6.0  # whitened residuals beyond this are clipped, in training as in sampling
USED_LEVELS = 0.6  # sampling starts half way up; most of the training lies below this share of the levels
REGRESSION = 0.25  # share of clips trained as a plain regressor: top level, no noise
UNCONDITIONED = 0.1  # share of clips whose 2D input is hidden


class Corrector(nn.Module):
    """GPC beside the TGT it corrects, as one module for the runner. `tgt` trains only end to end."""

    def __init__(self, tgt: TGT, gpc: GPC, end_to_end: bool):
        super().__init__()
        self.tgt, self.gpc, self.end_to_end = tgt, gpc, end_to_end
        tgt.requires_grad_(end_to_end)

    def forward(self, x: Normalised, times: torch.Tensor, family: torch.Tensor) -> TGTOutput:
        if not self.end_to_end:
            self.tgt.eval()
        with torch.set_grad_enabled(self.end_to_end and torch.is_grad_enabled()):
            return self.tgt(x, times, family)


def detached_condition(out: TGTOutput, x: Normalised, times: torch.Tensor) -> GPCCondition:
    """The stop-gradient bridge: GPC sees TGT's answer but never pulls on it."""
    return GPCCondition(out.joints.detach(), out.scale.detach(), x.points, x.confidence,
                        out.features.detach().float(), times)  # fmt: skip


def random_masks(sigma: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Which joints to resample (B, T, 35): everything, the least certain, or limbs for a while."""
    b, t, joints = sigma.shape
    device = sigma.device

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=g, device=device)

    kind = rand(b, 1, 1)
    share = 0.05 + 0.6 * rand(b)
    limit = torch.quantile(sigma.flatten(1), 1 - share.mean(), dim=1)[:, None, None]
    uncertain = sigma > limit
    parts = (body_parts(device) > 0)[torch.randint(7, (b,), generator=g, device=device)][:, None]
    start, length = rand(b, 1) * t, 4 + rand(b, 1) * t
    frame = torch.arange(t, device=device)
    burst = ((frame >= start - length / 2) & (frame <= start + length / 2))[..., None] & parts
    mask = torch.where(kind < 0.3, torch.ones_like(uncertain), torch.where(kind < 0.7, uncertain, burst))
    mask[..., 0] = False
    return mask


def gpc_loss(
    gpc: nn.Module, out: TGTOutput, batch: Batch, x: Normalised, levels: torch.Tensor, g: torch.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Denoising loss of one batch. `levels` is the schedule's alpha_bar on the device."""
    joints, _, _ = truth_in_virtual_camera(batch, x)
    condition = detached_condition(out, x, batch.times)
    b, device = len(joints), joints.device

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=g, device=device)

    blind = (rand(b) < UNCONDITIONED)[:, None, None]
    condition.points = torch.where(blind[..., None], 0.0, condition.points)
    condition.confidence = torch.where(blind, 0.0, condition.confidence)
    scale = condition.scale3()
    mask = random_masks(joint_sigma(condition.scale), g)
    truth = ((joints - condition.joints) / scale).clamp(-LARGEST, LARGEST)

    top = torch.where(rand(b) < 0.8, USED_LEVELS, 1.0)
    level = (rand(b) * top * (len(levels) - 1)).long()
    regression = rand(b) < REGRESSION
    level = torch.where(regression, len(levels) - 1, level)
    a = levels[level].float()[:, None, None, None]
    noise = torch.randn(truth.shape, generator=g, device=device)
    signal = torch.where(mask[..., None], truth, 0.0)  # known joints stand at TGT's own pose
    noisy = torch.where(regression[:, None, None, None], 0.0, a.sqrt() * signal + (1 - a).sqrt() * noise)

    with torch.autocast(device.type, torch.bfloat16, enabled=torch.is_autocast_enabled(device.type)):
        x0 = gpc(noisy, level, mask, condition)
    w = (mask * JOINT_WEIGHT.to(device))[..., None]
    count = w.sum().clamp(min=1.0)
    predicted = torch.where(mask[..., None], condition.joints + x0 * scale, condition.joints)
    error = predicted - joints
    terms = {
        "denoising": (w * F.smooth_l1_loss(x0, truth, reduction="none", beta=1.0)).sum() / (3 * count),
        "position": (w[..., 0] * error.norm(dim=-1)).sum() / count,
    }
    length = bodies.edges_of(predicted).norm(dim=-1)
    terms["bone"] = ((length - batch.lengths[:, None]).abs() * mask).sum() / mask.sum().clamp(min=1)
    step = torch.diff(batch.times, dim=1)[..., None, None].clamp(min=1e-3)
    drift = (torch.diff(error, dim=1) / step).norm(dim=-1) * mask[:, 1:]
    terms["velocity"] = drift.sum() / mask.sum().clamp(min=1) / 30
    loss = terms["denoising"] + 10 * terms["position"] + 2 * terms["bone"] + 2 * terms["velocity"]
    return loss, terms


def build(config: TrainConfig) -> Runner:
    """A runner for kind gpc (frozen TGT) or e2e (both)."""
    setup = begin(config, config.seed + 1)
    device, generator = setup.device, setup.generator
    tgt = load_weights("tgt", device, Path(config.tgt_weights) if config.tgt_weights else None).model
    end_to_end = config.kind == "e2e"
    # The run's configuration states the networks as they are: weights that are built upon bring their sizes.
    config.tgt, config.gpc.d_tgt = tgt.config, tgt.config.d_time
    if config.gpc_weights:
        gpc = load_weights("gpc", device, Path(config.gpc_weights)).model.requires_grad_(True)
        config.gpc = gpc.config
        if gpc.config.d_tgt != tgt.config.d_time:
            raise GentgError(
                "bad_weights",
                f"This GPC was trained for a TGT of width {gpc.config.d_tgt}, not {tgt.config.d_time}.",
                file=config.gpc_weights,
            )
    else:
        gpc = GPC(config.gpc).to(device)
    model = Corrector(tgt, gpc, end_to_end)
    levels = alpha_bar(config.gpc.schedule, config.gpc.levels).float().to(device)

    def draw_loss(network: nn.Module, progress: float):
        with torch.autocast(device.type, enabled=False):
            batch = generator.batch(config.optim.batch)
            x = batch.normalised()
        out = network(x, batch.times, family_for(batch, generator.random))
        loss, terms = gpc_loss(network.gpc, out, batch, x, levels, generator.random)
        if end_to_end:
            with torch.autocast(device.type, enabled=False):
                own, tgt_terms = tgt_loss(out, batch, x, config.loss, 1.0)
            loss, terms = loss + own, terms | {f"tgt_{k}": v for k, v in tgt_terms.items()}
        return loss, terms

    def validate(ema: Corrector) -> dict[str, float]:
        before, after = [], []
        for batch in setup.held_out(seed=4321):
            x = batch.normalised()
            out = ema(x, batch.times, batch.family)
            joints, _, _ = truth_in_virtual_camera(batch, x)
            c = detached_condition(out, x, batch.times)
            mask = torch.ones(joints.shape[:3], dtype=torch.bool, device=device)
            mask[..., 0] = False
            top = torch.full((len(joints),), len(levels) - 1, device=device)
            x0 = ema.gpc(torch.zeros_like(joints), top, mask, c)
            before.append((out.joints - joints).norm(dim=-1).mean())
            after.append((c.joints + x0 * c.scale3() - joints).norm(dim=-1).mean())
        return {
            "tgt_mm": 1e3 * float(torch.stack(before).mean()),
            "regression_mm": 1e3 * float(torch.stack(after).mean()),
        }

    runner = Runner(config, model, draw_loss, [generator.random], validate if setup.test else None)
    runner.resume()
    return runner
