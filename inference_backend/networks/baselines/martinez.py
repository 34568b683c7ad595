"""Martinez et al., "A simple yet effective baseline for 3d human pose estimation", ICCV 2017. One frame at a time.

Left out on purpose: the max-norm constraint on weights (the paper's own ablation gives it under 1 mm).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gentg_blender.core.skeleton import NUM_JOINTS


@dataclass
class MartinezConfig:
    """The paper: 16 joints, 2 features, 1024 wide, 2 blocks, dropout 0.5 = 4.29 M parameters."""

    joints_in: int = NUM_JOINTS
    joints_out: int = NUM_JOINTS
    features: int = 3
    width: int = 1024
    blocks: int = 2
    dropout: float = 0.25


class _Block(nn.Module):
    """Two linear layers around which the input is added."""

    def __init__(self, c: MartinezConfig):
        super().__init__()
        half = [layer for _ in range(2) for layer in
                (nn.Linear(c.width, c.width), nn.BatchNorm1d(c.width), nn.ReLU(), nn.Dropout(c.dropout))]  # fmt: skip
        self.layers = nn.Sequential(*half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Martinez(nn.Module):
    def __init__(self, config: MartinezConfig):
        super().__init__()
        c = self.config = config
        self.enter = nn.Sequential(
            nn.Linear(c.joints_in * c.features, c.width),
            nn.BatchNorm1d(c.width),
            nn.ReLU(),
            nn.Dropout(c.dropout),
        )
        self.blocks = nn.Sequential(*(_Block(c) for _ in range(c.blocks)))
        self.leave = nn.Linear(c.width, c.joints_out * 3)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)  # He et al. 2015, as the paper says
                nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        b, t = features.shape[:2]
        x = features.reshape(b * t, -1)  # (B T, J F)
        if mask is None:
            return self.leave(self.blocks(self.enter(x))).reshape(b, t, self.config.joints_out, 3)
        out = x.new_zeros(b * t, self.config.joints_out * 3)
        there = mask.reshape(-1)
        # Frames that don't exist must not enter batch normalisation's statistics.
        out[there] = self.leave(self.blocks(self.enter(x[there]))).to(out.dtype)
        return out.reshape(b, t, self.config.joints_out, 3)
