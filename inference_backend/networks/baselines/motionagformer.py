"""Mehraban et al., "MotionAGFormer: Enhancing 3D Human Pose Estimation with a Transformer-GCNFormer Network",
WACV 2024, size XS.

Two streams in every layer, one of attention, one of graph convolutions, each over joints and then over time,
and learned weights that blend them. A window has a fixed number of frames (the graph stream normalises frame by
frame); longer clips are cut into windows, the last one padded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from gentg_blender.core.skeleton import JOINTS
from inference_backend.networks.baselines.semgcn import skeleton_edges


@dataclass
class MotionAGFormerConfig:
    """The paper's XS: 17 joints, 3 features, 27 frames, 12 layers, width 64 = 2.2 M parameters."""

    joints: tuple[str, ...] = JOINTS
    features: int = 3
    frames: int = 27
    width: int = 64
    representation: int = 512
    layers: int = 12
    heads: int = 8
    mlp_ratio: int = 4
    neighbours: int = 2  # frames that a frame's temporal graph connects it to, by similarity
    layer_scale: float = 1e-5


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.leave = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
        """(N, L, C) over L; `there` (N, L) False for tokens nobody may look at."""
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if there is None else there[:, None, None]
        h = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.leave(h.transpose(1, 2).reshape(n, length, width))


class _Graph(nn.Module):
    """relu(x + norm(A V x + U x)), A the skeleton or, over time, each frame's most similar frames."""

    def __init__(self, width: int, nodes: int, adjacency: torch.Tensor | None, neighbours: int):
        super().__init__()
        self.own, self.other = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(nodes)
        self.neighbours = neighbours
        self.register_buffer("fixed", None if adjacency is None else _normalised(adjacency), persistent=False)

    def forward(self, x: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
        a = self.fixed if self.fixed is not None else self._similar(x, there)
        return (x + self.norm(a @ self.other(x) + self.own(x))).relu()

    def _similar(self, x: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
        likeness = x @ x.transpose(1, 2)  # (N, T, T)
        if there is not None:
            likeness = likeness.masked_fill(~there[:, None], float("-inf"))
        bound = likeness.topk(min(self.neighbours, x.shape[1]), dim=-1).values[..., -1:]
        linked = likeness >= bound
        if there is not None:
            linked &= there[:, None]
        return _normalised(linked.to(x.dtype))


def _normalised(a: torch.Tensor) -> torch.Tensor:
    """D^-1/2 A D^-1/2 by rows' degrees (Kipf and Welling 2017)."""
    d = a.sum(-1).clamp(min=1e-9).rsqrt()
    return d[..., :, None] * a * d[..., None, :]


class _Block(nn.Module):
    """A mixer and an MLP, each pre-normalised, scaled and added."""

    def __init__(self, mixer: nn.Module, c: MotionAGFormerConfig):
        super().__init__()
        self.mixer = mixer
        self.norm_mixer, self.norm_mlp = nn.LayerNorm(c.width), nn.LayerNorm(c.width)
        inner = c.width * c.mlp_ratio
        self.mlp = nn.Sequential(nn.Linear(c.width, inner), nn.GELU(), nn.Linear(inner, c.width))
        self.scale_mixer = nn.Parameter(torch.full((c.width,), c.layer_scale))
        self.scale_mlp = nn.Parameter(torch.full((c.width,), c.layer_scale))

    def forward(self, x: torch.Tensor, there: torch.Tensor | None = None) -> torch.Tensor:
        x = x + self.scale_mixer * self.mixer(self.norm_mixer(x), there)
        return x + self.scale_mlp * self.mlp(self.norm_mlp(x))


class _Layer(nn.Module):
    def __init__(self, c: MotionAGFormerConfig, adjacency: torch.Tensor):
        super().__init__()
        joints = len(c.joints)
        self.attention = nn.ModuleList(_Block(_Attention(c.width, c.heads), c) for _ in range(2))
        self.graph = nn.ModuleList(
            [
                _Block(_Graph(c.width, joints, adjacency, 0), c),
                _Block(_Graph(c.width, c.frames, None, c.neighbours), c),
            ]
        )
        self.blend = nn.Linear(2 * c.width, 2)
        nn.init.zeros_(self.blend.weight)
        nn.init.constant_(self.blend.bias, 0.5)

    def forward(self, x: torch.Tensor, there: torch.Tensor | None) -> torch.Tensor:
        b, t, j, c = x.shape
        streams = []
        for space, time in (self.attention, self.graph):
            h = space(x.reshape(b * t, j, c)).reshape(b, t, j, c)
            h = h.transpose(1, 2).reshape(b * j, t, c)
            h = time(h, None if there is None else there.repeat_interleave(j, 0))
            streams.append(h.reshape(b, j, t, c).transpose(1, 2))
        weight = self.blend(torch.cat(streams, -1)).softmax(-1)
        return weight[..., :1] * streams[0] + weight[..., 1:] * streams[1]


class MotionAGFormer(nn.Module):
    def __init__(self, config: MotionAGFormerConfig):
        super().__init__()
        c = self.config = config
        adjacency = torch.zeros(len(c.joints), len(c.joints))
        for i, p in skeleton_edges(c.joints):
            adjacency[i, p] = adjacency[p, i] = 1.0
        self.enter = nn.Linear(c.features, c.width)
        self.position = nn.Parameter(torch.zeros(len(c.joints), c.width))
        self.layers = nn.ModuleList(_Layer(c, adjacency) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.represent = nn.Linear(c.width, c.representation)
        self.leave = nn.Linear(c.representation, 3)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        b, t, j, f = features.shape
        size = self.config.frames
        windows = -(-t // size)
        spare = windows * size - t
        if spare:
            if mask is None:
                mask = torch.ones(b, t, dtype=torch.bool, device=features.device)
            features = torch.cat([features, features[:, -1:].expand(-1, spare, -1, -1)], 1)
            mask = functional.pad(mask, (0, spare))
        there = None
        if mask is not None:
            there = mask.reshape(b * windows, size)
            there = there | ~there.any(1, keepdim=True)  # a window without a frame looks at itself: no NaN
        h = self.enter(features.reshape(b * windows, size, j, f)) + self.position
        for layer in self.layers:
            h = layer(h, there)
        out = self.leave(self.represent(self.norm(h)).tanh())
        return out.reshape(b, windows * size, j, 3)[:, :t]
