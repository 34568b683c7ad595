"""GPC, the Generative Pose Corrector's denoiser: noisy residuals of TGT's pose -> clean residuals.

It works on whitened residuals (true joint - TGT's joint) / TGT's scale, so the noise level means
the same for a sure and an uncertain joint. One token a frame attends over time; the noise level
modulates every block (AdaLN). Which joints are being resampled is an input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.networks.blocks import TimeBlock, rotary_table

# Per joint: residual 3, TGT's position 3, log scale 2, 2D point 2, confidence 1, resampled 1.
JOINT_FEATURES = 12


@dataclass
class GPCConfig:
    """Sizes and the diffusion process that the weights were trained for."""

    d_time: int = 256
    time_heads: int = 8
    time_layers: int = 4
    d_tgt: int = 320  # width of TGT's features
    levels: int = 1000
    schedule: str = "cosine"  # linear | sqrt | cosine


@dataclass
class GPCCondition:
    """What the denoiser is told about B windows of T frames (virtual camera axes, metres)."""

    joints: torch.Tensor  # (B, T, 35, 3) TGT's estimate, root-relative
    scale: torch.Tensor  # (B, T, 35, 2) TGT's Laplace scale in plane and depth
    points: torch.Tensor  # (B, T, 35, 2)
    confidence: torch.Tensor  # (B, T, 35)
    features: torch.Tensor  # (B, T, d_tgt)
    times: torch.Tensor  # (B, T) seconds

    def scale3(self) -> torch.Tensor:
        """(B, T, 35, 3): the scale of each coordinate, the unit of the residuals."""
        return torch.cat([self.scale[..., :1], self.scale], -1)


def level_embedding(level: torch.Tensor, dim: int) -> torch.Tensor:
    """Sinusoidal embedding (B, dim) of noise levels (B,)."""
    frequency = torch.exp(-math.log(10000.0) * torch.arange(dim // 2, device=level.device) / (dim // 2))
    angle = level.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)


class GPC(nn.Module):
    """See the module's text."""

    def __init__(self, config: GPCConfig):
        super().__init__()
        c = self.config = config
        self.joints_in = nn.Linear(NUM_JOINTS * JOINT_FEATURES, c.d_time)
        self.features_in = nn.Linear(c.d_tgt, c.d_time)
        self.level_in = nn.Sequential(nn.Linear(c.d_time, c.d_time), nn.SiLU(), nn.Linear(c.d_time, c.d_time))
        self.modulation = nn.ModuleList(nn.Linear(c.d_time, 4 * c.d_time) for _ in range(c.time_layers))
        self.time = nn.ModuleList(TimeBlock(c.d_time, c.time_heads) for _ in range(c.time_layers))
        self.norm = nn.LayerNorm(c.d_time)
        self.joints_out = nn.Linear(c.d_time, NUM_JOINTS * 3)
        with torch.no_grad():
            for layer in (*self.modulation, self.joints_out):
                layer.weight.zero_()
                layer.bias.zero_()

    def forward(
        self, x: torch.Tensor, level: torch.Tensor, mask: torch.Tensor, condition: GPCCondition
    ) -> torch.Tensor:
        """`x` (B, T, 35, 3) whitened residuals noised to `level` (B,); `mask` (B, T, 35) True = resampled.

        -> x0 estimate (B, T, 35, 3).
        """
        c = condition
        b, t = x.shape[:2]
        joint = torch.cat(
            [x, c.joints, c.scale.log(), c.points, c.confidence[..., None], mask[..., None].to(x.dtype)], -1
        )  # (B, T, 35, 12)
        f = self.joints_in(joint.flatten(2)) + self.features_in(c.features.to(x.dtype))
        table = rotary_table(c.times, self.config.d_time // self.config.time_heads)
        e = self.level_in(level_embedding(level, self.config.d_time).to(f.dtype))
        for block, modulation in zip(self.time, self.modulation, strict=True):
            f = block(f, table, None, modulation(e)[:, None].chunk(4, dim=-1))
        return self.joints_out(self.norm(f)).float().reshape(b, t, NUM_JOINTS, 3)
