"""Pavllo et al., "3D human pose estimation in video with temporal convolutions and semi-supervised training",
CVPR 2019: dilated convolutions over time, a pose for every frame.

A clip's ends are padded by repeating its first and last frame, outside the convolutions, so a frame far enough
from the ends gets what a single window around it would give.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gentg_blender.core.skeleton import NUM_JOINTS


@dataclass
class VideoPose3DConfig:
    """The paper: 17 joints, 2 features, 1024 channels, widths 3 3 3 3 3 (243 frames) = 16.95 M parameters."""

    joints_in: int = NUM_JOINTS
    joints_out: int = NUM_JOINTS
    features: int = 3
    channels: int = 1024
    widths: tuple[int, ...] = (3, 3, 3, 3)  # odd; the dilation of each is the product of those before
    dropout: float = 0.25

    @property
    def receptive_field(self) -> int:
        field = 1
        for width in self.widths:
            field *= width
        return field


class VideoPose3D(nn.Module):
    def __init__(self, config: VideoPose3DConfig):
        super().__init__()
        c = self.config = config
        if any(w % 2 == 0 for w in c.widths):
            raise ValueError("filter widths must be odd")
        self.enter = nn.Conv1d(c.joints_in * c.features, c.channels, c.widths[0], bias=False)
        self.enter_norm = nn.BatchNorm1d(c.channels)
        self.wide, self.point, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        dilation = c.widths[0]
        for width in c.widths[1:]:
            self.wide.append(nn.Conv1d(c.channels, c.channels, width, dilation=dilation, bias=False))
            self.point.append(nn.Conv1d(c.channels, c.channels, 1, bias=False))
            self.norms.append(nn.ModuleList(nn.BatchNorm1d(c.channels) for _ in range(2)))
            dilation *= width
        self.dropout = nn.Dropout(c.dropout)
        self.leave = nn.Conv1d(c.channels, c.joints_out * 3, 1)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        b, t = features.shape[:2]
        x = features.reshape(b, t, -1)  # (B, T, J F)
        if mask is not None:
            x = _repeat_last(x, mask)
        side = (self.config.receptive_field - 1) // 2
        x = torch.cat([x[:, :1].expand(-1, side, -1), x, x[:, -1:].expand(-1, side, -1)], 1).transpose(1, 2)
        h = self.dropout(self.enter_norm(self.enter(x)).relu())  # (B, C, T + padding)
        for wide, point, (norm_wide, norm_point) in zip(self.wide, self.point, self.norms, strict=True):
            cut = wide.dilation[0] * (wide.kernel_size[0] - 1) // 2  # what the convolution eats on each side
            inner = self.dropout(norm_wide(wide(h)).relu())
            inner = self.dropout(norm_point(point(inner)).relu())
            h = h[:, :, cut : h.shape[2] - cut] + inner
        return self.leave(h).transpose(1, 2).reshape(b, t, self.config.joints_out, 3)


def _repeat_last(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Frames that don't exist take the last one before them that does (the first one, at the start)."""
    number = torch.arange(x.shape[1], device=x.device).expand_as(mask)
    latest = torch.where(mask, number, -1).cummax(1).values
    first = mask.to(torch.int8).argmax(1, keepdim=True)
    return x.gather(1, torch.where(latest < 0, first, latest)[..., None].expand_as(x))
