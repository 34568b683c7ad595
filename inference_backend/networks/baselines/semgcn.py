"""Zhao et al., "Semantic Graph Convolutional Networks for 3D Human Pose Regression", CVPR 2019. One frame at a time.

With `nonlocal_layers` a non-local layer follows the first convolution and every residual block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_PARENTS, JOINTS, MAIN_JOINTS, mirror_name

SEMGCN16: tuple[str, ...] = tuple(n for n in MAIN_JOINTS if n != "nose")  # the 16 joints of the paper


@dataclass
class SemGCNConfig:
    """The paper: 16 joints, 2 features, width 128, 4 blocks = 0.27 M parameters, 0.43 M with non-local layers."""

    joints: tuple[str, ...] = JOINTS
    features: int = 3
    width: int = 128
    blocks: int = 4
    dropout: float = 0.0
    nonlocal_layers: bool = False


def skeleton_edges(joints: tuple[str, ...]) -> list[tuple[int, int]]:
    """(child, parent) index pairs; joints left out are bridged to the nearest ancestor that is in."""
    edges = []
    for i, name in enumerate(joints):
        parent = JOINT_PARENTS[JOINT_INDEX[name]]
        while parent >= 0 and JOINTS[parent] not in joints:
            parent = JOINT_PARENTS[parent]
        if parent >= 0:
            edges.append((i, joints.index(JOINTS[parent])))
    return edges


def pool_groups(joints: tuple[str, ...]) -> list[list[int]]:
    """Groups of at most two joints that non-local layers pool over: a limb's two outer joints, or two of the trunk.

    Walking from the leaves, each joint that is still free joins its parent on the same side of the body; what
    remains pairs with its mirror image or with the next joint of the middle line.
    """
    parent = dict(skeleton_edges(joints))
    free, groups = set(range(len(joints))), []

    def side(i: int) -> str:
        return joints[i][:2] if mirror_name(joints[i]) != joints[i] else ""

    for i in reversed(range(len(joints))):
        p = parent.get(i)
        if i in free and p in free and side(i) and side(i) == side(p):
            groups.append([i, p])
            free -= {i, p}
    for i in sorted(free):
        m = joints.index(mirror_name(joints[i]))
        if i in free and m != i and m in free:
            groups.append([i, m])
            free -= {i, m}
    rest = sorted(free)
    return sorted(groups + [rest[k : k + 2] for k in range(0, len(rest), 2)])


class SemGraphConv(nn.Module):
    """Eq. 3: each edge of the graph has its own learned weight, normalised over a joint's neighbours; a joint's
    own features and its neighbours' go through different matrices."""

    def __init__(self, inputs: int, outputs: int, adjacency: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs))
        self.edge = nn.Parameter(torch.ones(int(adjacency.sum())))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-1, 1) / outputs**0.5)
        for w in self.weight:
            nn.init.xavier_uniform_(w, gain=1.414)
        self.register_buffer("adjacency", adjacency, persistent=False)  # (J, J) bool with self loops

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, J, in) -> (N, J, out)
        logits = torch.full_like(self.adjacency, float("-inf"), dtype=self.edge.dtype)
        logits = logits.masked_scatter(self.adjacency, self.edge)
        a = logits.softmax(-1)  # (J, J)
        own = torch.diagonal(a)[:, None]
        others = a - torch.diag_embed(torch.diagonal(a))
        return own * (x @ self.weight[0]) + others @ (x @ self.weight[1]) + self.bias


class _GraphLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, adjacency: torch.Tensor, dropout: float):
        super().__init__()
        self.conv = SemGraphConv(inputs, outputs, adjacency)
        self.norm = nn.BatchNorm1d(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, J, C)
        h = self.conv(x)
        return self.dropout(self.norm(h.transpose(1, 2)).transpose(1, 2).relu())


class NonLocal(nn.Module):
    """Wang et al. 2018 in its concatenation form: every joint looks at every group of joints."""

    def __init__(self, width: int, groups: list[list[int]]):
        super().__init__()
        inner = width // 2
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.affinity = nn.Linear(2 * inner, 1, bias=False)
        self.leave = nn.Linear(inner, width)
        self.norm = nn.BatchNorm1d(width)
        nn.init.zeros_(self.norm.weight)  # starts as the identity
        padded = [g + g[:1] * (2 - len(g)) for g in groups]  # a single joint stands twice: max is itself
        self.register_buffer("groups", torch.tensor(padded), persistent=False)  # (G, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, J, C)
        key, value = (f(x)[:, self.groups].amax(2) for f in (self.key, self.value))  # (N, G, C/2)
        w_query, w_key = self.affinity.weight[0].chunk(2)
        # w . [query, key] splits into a sum, which saves building all pairs of vectors.
        pair = (self.query(x) @ w_query)[:, :, None] + (key @ w_key)[:, None]
        h = self.leave(pair.relu() @ value / len(self.groups))
        return x + self.norm(h.transpose(1, 2)).transpose(1, 2)


class SemGCN(nn.Module):
    def __init__(self, config: SemGCNConfig):
        super().__init__()
        c = self.config = config
        adjacency = torch.eye(len(c.joints), dtype=torch.bool)
        for i, p in skeleton_edges(c.joints):
            adjacency[i, p] = adjacency[p, i] = True
        groups = pool_groups(c.joints)

        def attend() -> nn.Module:
            return NonLocal(c.width, groups) if c.nonlocal_layers else nn.Identity()

        self.enter = nn.Sequential(_GraphLayer(c.features, c.width, adjacency, c.dropout), attend())
        self.blocks = nn.ModuleList(
            nn.Sequential(*(_GraphLayer(c.width, c.width, adjacency, c.dropout) for _ in range(2)))
            for _ in range(c.blocks)
        )
        self.attend = nn.ModuleList(attend() for _ in range(c.blocks))
        self.leave = SemGraphConv(c.width, 3, adjacency)

    def _lift(self, x: torch.Tensor) -> torch.Tensor:
        """(N, J, F) -> (N, J, 3)."""
        h = self.enter(x)
        for block, attend in zip(self.blocks, self.attend, strict=True):
            h = attend(h + block(h))
        return self.leave(h)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        b, t, j, _ = features.shape
        x = features.flatten(0, 1)
        if mask is None:
            return self._lift(x).reshape(b, t, j, 3)
        out = x.new_zeros(b * t, j, 3)
        there = mask.reshape(-1)
        out[there] = self._lift(x[there]).to(out.dtype)  # keeps absent frames out of batch statistics
        return out.reshape(b, t, j, 3)
