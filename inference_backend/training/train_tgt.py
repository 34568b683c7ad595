"""Training of TGT."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gentg_blender.core.skeleton import JOINT_INDEX, MAIN_JOINTS
from inference_backend.lifting.weights import load_weights
from inference_backend.networks.tgt import FAMILIES, TGT
from inference_backend.training import bodies
from inference_backend.training.config import TrainConfig
from inference_backend.training.generator import Batch
from inference_backend.training.losses import rigid_joints, tgt_loss, truth_in_virtual_camera
from inference_backend.training.motion import MotionClip
from inference_backend.training.runner import Runner
from inference_backend.training.setup import begin

UNKNOWN_FAMILY = 0.15  # share of clips whose detector the network isn't told


def mean_lengths(clips: list[MotionClip]) -> torch.Tensor:
    """(35,) edge lengths in the middle between the recorded bodies and an average adult."""
    own = torch.stack([bodies.edges_of(torch.as_tensor(c.xyz)).norm(dim=-1).median(0).values for c in clips])
    g = torch.Generator().manual_seed(0)
    return bodies.random_lengths(own, 0.0, g).mean(0)


def family_for(batch: Batch, g: torch.Generator) -> torch.Tensor:
    """The batch's detector families with some replaced by `unknown`."""
    hide = torch.rand(len(batch.family), generator=g, device=batch.family.device) < UNKNOWN_FAMILY
    return torch.where(hide, len(FAMILIES), batch.family)


def quick_figures(model: TGT, batches: list[Batch]) -> dict[str, float]:
    """MPJPE of the main joints, free and rigid, in millimetres, and errors of depth and gravity: to follow a run."""
    main = [JOINT_INDEX[n] for n in MAIN_JOINTS]
    free, fixed, depth, gravity = [], [], [], []
    model.eval()
    for batch in batches:
        x = batch.normalised(model.config.ray_normalisation)
        out = model(x, batch.times, batch.family)
        joints, root, down = truth_in_virtual_camera(batch, x)
        free.append((out.joints - joints).norm(dim=-1)[:, :, main].mean())
        fixed.append((rigid_joints(out) - joints).norm(dim=-1)[:, :, main].mean())
        depth.append((out.root[..., 2] / root[..., 2].clamp(min=0.3)).log().abs().mean())
        gravity.append(torch.acos((out.gravity * down).sum(-1).clamp(-1, 1)).mean())
    mean = lambda v: float(torch.stack(v).mean())  # noqa: E731
    return {"mpjpe_mm": 1e3 * mean(free), "rigid_mpjpe_mm": 1e3 * mean(fixed), "depth_log": mean(depth),
            "gravity_deg": mean(gravity) * 57.3}  # fmt: skip


def build(config: TrainConfig) -> Runner:
    """A runner ready to `run()`; resumes from the run's own checkpoint when there is one."""
    setup = begin(config, config.seed)
    device, generator = setup.device, setup.generator
    if config.tgt_weights:  # go on from earlier weights, whose sizes count
        model = load_weights("tgt", device, Path(config.tgt_weights)).model.requires_grad_(True)
        config.tgt = model.config
    else:
        model = TGT(config.tgt, mean_lengths(setup.train)).to(device)

    def validate(ema: TGT) -> dict[str, float]:
        return quick_figures(ema, setup.held_out(seed=1234))

    def draw_loss(network: nn.Module, progress: float):
        with torch.autocast(device.type, enabled=False):
            batch = generator.batch(config.optim.batch)
            x = batch.normalised(config.tgt.ray_normalisation)
        out = network(x, batch.times, family_for(batch, generator.random))
        with torch.autocast(device.type, enabled=False):
            return tgt_loss(out, batch, x, config.loss, progress)

    runner = Runner(config, model, draw_loss, [generator.random], validate if setup.test else None)
    runner.resume()
    return runner
