"""Training of published lifters on the same data, noise, split and inputs as TGT."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX, JOINTS
from inference_backend.networks.baselines import BASELINES, input_joints
from inference_backend.networks.normalise import CONDITIONS, Normalised
from inference_backend.networks.tgt import POINT_FEATURES
from inference_backend.training.config import TrainConfig
from inference_backend.training.losses import JOINT_WEIGHT, truth_in_virtual_camera
from inference_backend.training.runner import Runner
from inference_backend.training.setup import begin

# What TGT sees of a joint, and of the frame, on every joint: nobody wins by better input.
FEATURES = POINT_FEATURES + 1 + CONDITIONS


class BaselineLifter(nn.Module):
    """A published network behind TGT's input; gives root-relative joints in virtual camera axes."""

    def __init__(self, name: str):
        super().__init__()
        if name not in BASELINES:
            raise GentgError(
                "bad_request", f"unknown baseline {name!r}", hint=f"Choose from {', '.join(BASELINES)}."
            )
        config, network = BASELINES[name]
        self.network = network(dataclasses.replace(config, features=FEATURES))
        names = input_joints(config) or JOINTS
        self.register_buffer("joints", torch.tensor([JOINT_INDEX[n] for n in names]), persistent=False)

    def forward(self, x: Normalised) -> torch.Tensor:
        """-> (B, T, joints, 3) metres; `self.joints` are their places among the 35."""
        b, t, j = x.confidence.shape
        frame = x.condition[:, :, None].expand(b, t, j, CONDITIONS)
        present = (x.confidence > 0).to(x.points)[..., None]
        features = torch.cat([x.points, x.velocity, x.confidence[..., None], present, frame], -1)
        return self.network(features[:, :, self.joints]).float()


def joints_of(model: BaselineLifter, joints: torch.Tensor) -> torch.Tensor:
    """The model's joints of (B, T, 35, 3)."""
    return joints[:, :, model.joints]


def build(config: TrainConfig) -> Runner:
    """A runner for config.baseline: position and velocity losses, the optimiser of TGT."""
    setup = begin(config, config.seed)
    device, generator = setup.device, setup.generator
    model = BaselineLifter(config.baseline).to(device)
    weight = JOINT_WEIGHT.to(device)[model.joints]

    def draw_loss(network: nn.Module, progress: float):
        with torch.autocast(device.type, enabled=False):
            batch = generator.batch(config.optim.batch)
            x = batch.normalised()
        predicted = network(x)
        truth = joints_of(model, truth_in_virtual_camera(batch, x)[0])
        error = predicted - truth
        step = torch.diff(batch.times, dim=1)[..., None, None].clamp(min=1e-3)
        terms = {
            "position": (weight * error.norm(dim=-1)).mean(),
            "velocity": (torch.diff(error, dim=1) / step).norm(dim=-1).mean() / 30.0,
        }
        return config.loss.position * terms["position"] + config.loss.velocity * terms["velocity"], terms

    def validate(ema: BaselineLifter) -> dict[str, float]:
        ema.eval()
        errors = []
        for batch in setup.held_out(seed=1234):
            x = batch.normalised()
            truth = joints_of(ema, truth_in_virtual_camera(batch, x)[0])
            errors.append((ema(x) - truth).norm(dim=-1).mean())
        return {"mpjpe_mm": 1e3 * float(torch.stack(errors).mean())}

    runner = Runner(config, model, draw_loss, [generator.random], validate if setup.test else None)
    runner.resume()
    return runner
