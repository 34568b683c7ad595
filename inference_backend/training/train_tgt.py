"""Training of TGT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from inference_backend.lifting.weights import load_weights
from inference_backend.networks.normalise import normalise
from inference_backend.networks.tgt import FAMILIES, TGT
from inference_backend.training import bodies
from inference_backend.training.config import GeneratorConfig, TrainConfig
from inference_backend.training.generator import Batch, Generator
from inference_backend.training.losses import rigid_joints, tgt_loss, truth_in_virtual_camera
from inference_backend.training.motion import MotionClip, read_motion
from inference_backend.training.runner import Runner, pick_device

UNKNOWN_FAMILY = 0.15  # share of clips whose detector the network isn't told


def split(clips: list[MotionClip], config) -> tuple[list[MotionClip], list[MotionClip]]:
    """Training and held-out clips; held-out subjects are wholly kept out."""
    test = [c for c in clips if c.subject in config.held_out_subjects]
    train = [
        c
        for c in clips
        if c.subject not in config.held_out_subjects and c.clip_id not in config.held_out_clips
    ]
    return train, test


def mean_lengths(clips: list[MotionClip]) -> torch.Tensor:
    """(35,) edge lengths in the middle between the recorded bodies and an average adult."""
    own = torch.stack([bodies.edges_of(torch.as_tensor(c.xyz)).norm(dim=-1).median(0).values for c in clips])
    g = torch.Generator().manual_seed(0)
    return bodies.random_lengths(own, 0.0, g).mean(0)


def family_for(batch: Batch, g: torch.Generator) -> torch.Tensor:
    """The batch's detector families with some replaced by `unknown`."""
    hide = torch.rand(len(batch.family), generator=g, device=batch.family.device) < UNKNOWN_FAMILY
    return torch.where(hide, len(FAMILIES), batch.family)


def quick_figures(model: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """MPJPE and P-MPJPE-like figures in millimetres over all joints, for following a run."""
    from gentg_blender.core.skeleton import JOINT_INDEX, MAIN_JOINTS

    main = [JOINT_INDEX[n] for n in MAIN_JOINTS]
    free, fixed, depth, gravity = [], [], [], []
    model.eval()
    for batch in batches:
        x = normalise(batch.points, batch.confidence, batch.times)
        out = model(x, batch.times, batch.family)
        joints, root, down = truth_in_virtual_camera(batch, x)
        free.append((out.joints - joints).norm(dim=-1)[:, :, main].mean())
        fixed.append((rigid_joints(out) - joints).norm(dim=-1)[:, :, main].mean())
        depth.append((out.root[..., 2] / root[..., 2].clamp(min=0.3)).log().abs().mean())
        gravity.append(torch.acos((out.gravity * down).sum(-1).clamp(-1, 1)).mean())
    mean = lambda v: float(torch.stack(v).mean())  # noqa: E731
    return {"mpjpe_mm": 1e3 * mean(free), "rigid_mpjpe_mm": 1e3 * mean(fixed), "depth_log": mean(depth),
            "gravity_deg": mean(gravity) * 57.3}  # fmt: skip


def fixed_batches(
    clips: list[MotionClip], config: GeneratorConfig, device: torch.device, count: int, seed: int
) -> list[Batch]:
    """The same batches every time, for validation."""
    generator = Generator(clips, config, device, seed)
    return [generator.batch(32) for _ in range(count)]


def build(config: TrainConfig) -> Runner:
    """A runner ready to `run()`; resumes from the run's own checkpoint when there is one."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = pick_device(config.device)
    train, test = split(read_motion(config.data.motion), config.data)
    generator = Generator(train, config.generator, device, config.seed)
    if config.tgt_weights:  # go on from earlier weights, whose sizes count
        model = load_weights("tgt", device, Path(config.tgt_weights)).model.requires_grad_(True)
        config.tgt = model.config
    else:
        model = TGT(config.tgt, mean_lengths(train)).to(device)
    held_out = fixed_batches(test, config.generator, device, 4, seed=1234) if test else []
    validate: Callable | None = (lambda ema: quick_figures(ema, held_out)) if held_out else None

    def draw_loss(network: nn.Module, progress: float):
        with torch.autocast(device.type, enabled=False):
            batch = generator.batch(config.optim.batch)
            x = normalise(batch.points, batch.confidence, batch.times)
        out = network(x, batch.times, family_for(batch, generator.random))
        with torch.autocast(device.type, enabled=False):
            return tgt_loss(out, batch, x, config.loss, progress)

    runner = Runner(config, model, draw_loss, [generator.random], validate)
    runner.resume()
    return runner
