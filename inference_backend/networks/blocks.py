"""Building blocks that TGT and GPC share: graph attention over a body's tokens, attention over time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from gentg_blender.core.skeleton import JOINT_PARENTS, LIMB_INDEX, NUM_JOINTS

NUM_LIMBS = len(LIMB_INDEX)
NUM_TOKENS = NUM_JOINTS + NUM_LIMBS
FARTHEST = 6  # hop distances beyond this share one bias


def token_hops() -> torch.Tensor:
    """(tokens, tokens) long: steps in the skeleton's tree, in which a limb sits between its two ends."""
    inf = 99
    near = torch.full((NUM_TOKENS, NUM_TOKENS), inf, dtype=torch.long)
    near.fill_diagonal_(0)
    for j, p in enumerate(JOINT_PARENTS):
        if p >= 0:
            near[j, p] = near[p, j] = 1
    for k, (a, b) in enumerate(LIMB_INDEX):
        for end in (a, b):
            near[NUM_JOINTS + k, end] = near[end, NUM_JOINTS + k] = 1
    for k in range(NUM_TOKENS):  # Floyd and Warshall
        near = torch.minimum(near, near[:, k : k + 1] + near[k : k + 1])
    return near.clamp(max=FARTHEST)


def _ancestors() -> torch.Tensor:
    """(35, 35): 1 where joint k lies on the way from the pelvis to joint j (j included)."""
    a = torch.zeros(NUM_JOINTS, NUM_JOINTS)
    for j in range(NUM_JOINTS):
        k = j
        while k > 0:
            a[j, k] = 1.0
            k = int(JOINT_PARENTS[k])
    return a


ANCESTORS = _ancestors()


def joints_from_edges(edges: torch.Tensor) -> torch.Tensor:
    """Vectors from the parent (..., 35, 3) -> joints relative to the pelvis (..., 35, 3)."""
    return torch.einsum("jk,...kc->...jc", ANCESTORS.to(edges), edges)


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class GraphAttention(nn.Module):
    """Attention among the tokens of one frame, biased by their distance in the skeleton's graph."""

    def __init__(self, dim: int, heads: int, use_bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.use_bias = use_bias
        if use_bias:
            # Per head: one bias a hop count (tree structure) plus one a token pair (learned deviations).
            self.hop_bias = nn.Parameter(torch.linspace(0.5, -0.5, FARTHEST + 1).repeat(heads, 1))
            self.pair_bias = nn.Parameter(torch.zeros(heads, NUM_TOKENS, NUM_TOKENS))
            self.register_buffer("hops", token_hops(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, tokens, dim)
        n, tokens, dim = x.shape
        q, k, v = (
            self.qkv(x).reshape(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        score = q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5  # (N, heads, tokens, tokens)
        if self.use_bias:
            score = score + (self.hop_bias[:, self.hops] + self.pair_bias).to(score.dtype)
        y = score.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, tokens, dim))


class GraphBlock(nn.Module):
    """Pre-norm graph attention and MLP within a frame."""

    def __init__(self, dim: int, heads: int, use_bias: bool = True):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = GraphAttention(dim, heads, use_bias)
        self.mlp = Mlp(dim, 2 * dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def rotary_table(times: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (B, 1, T, dim / 2) of rotary encoding on seconds (B, T).

    Periods run geometrically from 0.1 s (a stride's contact) to 20 s (longer than any window).
    """
    half = dim // 2
    frequency = 2 * torch.pi / torch.logspace(-1.0, 1.3, half, device=times.device, dtype=torch.float32)
    angle = (times.float()[:, :, None] * frequency)[:, None]
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply rotary encoding to (B, heads, T, dim)."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


class TimeAttention(nn.Module):
    """Attention over time on one token a frame; only time differences in seconds matter."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x, table, mask=None) -> torch.Tensor:  # (B, T, dim)
        q, k, v = self.project(x)
        if table is not None:
            q, k = rotate(q, *table), rotate(k, *table)
        return self.attend(q, k, v, mask)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values (B, heads, T, dim / heads), not yet rotated."""
        b, t, dim = x.shape
        return self.qkv(x).reshape(b, t, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask=None) -> torch.Tensor:
        """(B, heads, T or S, dim / heads) -> (B, T, dim): T queries over S keys."""
        b, heads, t, size = q.shape
        score = q @ k.transpose(-2, -1) * size**-0.5  # (B, heads, T, S)
        if mask is not None:
            score = score.masked_fill(~mask, -1e4)
        y = score.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, heads * size))


class TimeBlock(nn.Module):
    """Pre-norm temporal attention and MLP; `shift` and `scale` (B, 1 or T, dim) modulate it when given."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = TimeAttention(dim, heads)
        self.mlp = Mlp(dim, 2 * dim)

    def forward(self, x, table, mask=None, modulation=None) -> torch.Tensor:
        y = self.norm1(x)
        if modulation is not None:
            y = y * (1 + modulation[0]) + modulation[1]
        x = x + self.attention(y, table, mask)
        y = self.norm2(x)
        if modulation is not None:
            y = y * (1 + modulation[2]) + modulation[3]
        return x + self.mlp(y)
