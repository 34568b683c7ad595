"""TGT, the Temporal Graph Transformer: normalised 2D keypoints -> 3D pose with uncertainty.

A frame's 35 joint tokens and 18 limb tokens attend to each other along the skeleton's graph
(space), are gathered into one wide token a frame that attends over time (rotary encoding on
seconds), and are spread out to joints again. Limb tokens come from the 2D input. Works on windows
of any length and frame rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gentg_blender.core.skeleton import FEET, JOINT_MIRROR, LIMB_INDEX, NUM_JOINTS
from inference_backend.networks.blocks import (
    NUM_TOKENS,
    GraphBlock,
    TimeBlock,
    joints_from_edges,
    rotary_table,
)
from inference_backend.networks.normalise import CONDITIONS, TYPICAL_SPREAD, Normalised

# Detector families by the order of their embedding, which never changes.
FAMILIES = ("coco17", "halpe26", "wholebody133", "blazepose33", "h36m17")
BLAZEPOSE = FAMILIES.index("blazepose33")  # the default detector's
POINT_FEATURES = 5  # x, y, velocity x, y, confidence
LIMB_FEATURES = 6  # direction x, y, its velocity x, y, log length, confidence


@dataclass
class TGTConfig:
    """Sizes and the switches of the ablation study."""

    d_space: int = 48
    space_heads: int = 4
    space_layers: int = 2  # before time
    out_layers: int = 1  # after time
    d_time: int = 320
    time_heads: int = 8
    time_layers: int = 6
    limb_tokens: bool = True
    graph_bias: bool = True
    temporal: bool = True
    rotary: bool = True
    detector_embedding: bool = True
    ray_normalisation: bool = True  # False: screen coordinates; for comparison only, the lifter has rays
    fk_output: bool = False  # True: joints by forward kinematics from directions and lengths, not free


@dataclass
class TGTOutput:
    """In each frame's virtual camera axes; metres for a body of standard height."""

    joints: torch.Tensor  # (B, T, 35, 3) relative to the pelvis
    directions: torch.Tensor  # (B, T, 35, 3) unit vectors parent -> joint (pelvis: meaningless)
    lengths: torch.Tensor  # (B, 35) clip-level, symmetric, 0 for the pelvis
    scale: torch.Tensor  # (B, T, 35, 2) Laplace scale in the image plane and in depth, metres
    root: torch.Tensor  # (B, T, 3) pelvis in virtual camera axes, metres
    contacts: torch.Tensor  # (B, T, 4) logits
    gravity: torch.Tensor  # (B, T, 3) unit, down
    features: torch.Tensor  # (B, T, d_time) for GPC


class TGT(nn.Module):
    """See the module's text. `mean_lengths` (35,) are a standard body's edge lengths in metres."""

    def __init__(self, config: TGTConfig, mean_lengths: torch.Tensor | None = None):
        super().__init__()
        c = self.config = config
        self.point_in = nn.Linear(POINT_FEATURES, c.d_space)
        self.limb_in = nn.Linear(LIMB_FEATURES, c.d_space)
        self.token_embedding = nn.Parameter(0.02 * torch.randn(NUM_TOKENS, c.d_space))
        self.absent_embedding = nn.Parameter(0.02 * torch.randn(NUM_TOKENS, c.d_space))
        self.space = nn.ModuleList(
            GraphBlock(c.d_space, c.space_heads, c.graph_bias) for _ in range(c.space_layers)
        )
        self.gather = nn.Linear(NUM_TOKENS * c.d_space, c.d_time)
        self.condition_in = nn.Linear(CONDITIONS, c.d_time)
        self.family_embedding = nn.Embedding(len(FAMILIES) + 1, c.d_time)  # the last one: unknown
        nn.init.normal_(self.family_embedding.weight, std=0.02)
        self.time = nn.ModuleList(TimeBlock(c.d_time, c.time_heads) for _ in range(c.time_layers))
        self.time_norm = nn.LayerNorm(c.d_time)
        self.spread = nn.Linear(c.d_time, NUM_TOKENS * c.d_space)
        self.out = nn.ModuleList(
            GraphBlock(c.d_space, c.space_heads, c.graph_bias) for _ in range(c.out_layers)
        )
        self.out_norm = nn.LayerNorm(c.d_space)

        self.joint_head = nn.Linear(c.d_space, 8)  # position 3, direction 3, log scale 2
        self.global_joint_head = nn.Linear(c.d_time, NUM_JOINTS * 6)  # position, direction again: undivided
        self.root_head = nn.Linear(c.d_time, 3)  # offset x, y in person sizes; log depth factor
        self.contact_head = nn.Linear(c.d_time, len(FEET))
        self.gravity_head = nn.Linear(c.d_time, 3)
        self.length_head = nn.Sequential(
            nn.Linear(c.d_time, c.d_time // 2), nn.GELU(), nn.Linear(c.d_time // 2, NUM_JOINTS)
        )
        with torch.no_grad():
            for layer in (self.joint_head, self.global_joint_head, self.root_head, self.length_head[-1]):
                layer.weight.mul_(0.1)
                layer.bias.zero_()
            self.gravity_head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
        if mean_lengths is None:
            mean_lengths = torch.full((NUM_JOINTS,), 0.2)
            mean_lengths[0] = 0.0
        self.register_buffer("mean_lengths", mean_lengths.float().clone())
        self.register_buffer("mirror", torch.as_tensor(JOINT_MIRROR), persistent=False)
        self.register_buffer("limbs", torch.as_tensor(LIMB_INDEX), persistent=False)

    def tokens(self, x: Normalised) -> torch.Tensor:
        """Input tokens (B, T, 53, d_space)."""
        present = x.confidence > 0  # (B, T, 35)
        point = torch.cat([x.points, x.velocity, x.confidence[..., None]], -1)
        joint = torch.where(present[..., None], self.point_in(point).float(), 0.0)
        a, b = self.limbs[:, 0], self.limbs[:, 1]
        both = present[:, :, a] & present[:, :, b]
        v = x.points[:, :, b] - x.points[:, :, a]  # (B, T, 18, 2)
        length = v.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        limb = torch.cat(
            [v / length, (x.velocity[:, :, b] - x.velocity[:, :, a]), length.log(),
             torch.minimum(x.confidence[:, :, a], x.confidence[:, :, b])[..., None]], -1
        )  # fmt: skip
        limb = torch.where(both[..., None], self.limb_in(limb).float(), 0.0)
        if not self.config.limb_tokens:
            limb, both = torch.zeros_like(limb), torch.zeros_like(both)
        absent = ~torch.cat([present, both], -1)
        h = torch.cat([joint, limb], 2) + self.token_embedding
        return h + absent[..., None] * self.absent_embedding

    def forward(
        self, x: Normalised, times: torch.Tensor, family: torch.Tensor, causal: bool = False
    ) -> TGTOutput:
        """`times` (B, T) seconds; `family` (B,) detector family, len(FAMILIES) = unknown.

        -> outputs in virtual camera axes. `causal` lets no frame attend to later ones, for live use; only
        `lengths`, one value a clip, come from all frames given.
        """
        c = self.config
        h, f = self.encode(x, family)
        if c.temporal:
            table = rotary_table(times, c.d_time // c.time_heads) if c.rotary else None
            mask = (times[:, None, :, None] >= times[:, None, None, :]) if causal else None
            for block in self.time:
                f = block(f, table, mask)
        f = self.time_norm(f)
        return self.decode(h, f, x, f.float().mean(1).to(f.dtype))

    def encode(self, x: Normalised, family: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each frame by itself: its tokens (B T, 53, d_space), and gathered into one (B, T, d_time)."""
        b, t = x.size.shape
        h = self.tokens(x).flatten(0, 1)
        for block in self.space:
            h = block(h)
        f = self.gather(h.flatten(1)).reshape(b, t, -1) + self.condition_in(x.condition)
        if self.config.detector_embedding:
            f = f + self.family_embedding(family)[:, None]
        return h, f

    def decode(self, h: torch.Tensor, f: torch.Tensor, x: Normalised, whole_clip: torch.Tensor) -> TGTOutput:
        """Outputs from a frame's tokens `h` as `encode` gives them and `f` (B, T, d_time) after attention over
        time; `whole_clip` (B, d_time), the mean of `f` over the clip, decides the lengths."""
        c = self.config
        b, t = x.size.shape
        h = h + self.spread(f).reshape(b * t, NUM_TOKENS, c.d_space)
        for block in self.out:
            h = block(h)
        per_joint = self.joint_head(self.out_norm(h[:, :NUM_JOINTS])).float().reshape(b, t, NUM_JOINTS, 8)
        whole = self.global_joint_head(f).float().reshape(b, t, NUM_JOINTS, 6)
        joints = per_joint[..., :3] + whole[..., :3]
        joints = joints - joints[:, :, :1]
        directions = nn.functional.normalize(per_joint[..., 3:6] + whole[..., 3:] + 1e-6, dim=-1)
        scale = torch.exp((per_joint[..., 6:] - 3.2).clamp(-7.0, 1.0))  # starts near 4 cm

        log_length = self.length_head(whole_clip).float()
        log_length = (log_length + log_length[:, self.mirror]) / 2
        lengths = self.mean_lengths * log_length.exp()
        if c.fk_output:
            joints = joints_from_edges(directions * lengths[:, None, :, None])
        offset = self.root_head(f).float()
        depth = TYPICAL_SPREAD / x.size * offset[..., 2].exp()
        root = torch.cat([offset[..., :2] * (x.size * depth)[..., None], depth[..., None]], -1)
        return TGTOutput(
            joints, directions, lengths, scale, root,
            self.contact_head(f).float(), nn.functional.normalize(self.gravity_head(f).float(), dim=-1), f,
        )  # fmt: skip
