"""Published lifters, rewritten from their papers, to compare TGT with. May import: torch, networks, gentg_blender.core.

All share one interface: `forward(features (B, T, J, F), mask (B, T) bool or None) -> (B, T, J_out, 3)`; `mask` is
True for frames that exist. `BASELINES` maps a name to its default config and its class; sizes of input and
output are set with `dataclasses.replace(config, features=..., ...)`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from inference_backend.networks.baselines.martinez import Martinez, MartinezConfig
from inference_backend.networks.baselines.motionagformer import MotionAGFormer, MotionAGFormerConfig
from inference_backend.networks.baselines.semgcn import SEMGCN16, SemGCN, SemGCNConfig
from inference_backend.networks.baselines.videopose3d import VideoPose3D, VideoPose3DConfig

BASELINES: dict[str, tuple[Any, type[nn.Module]]] = {
    "martinez": (MartinezConfig(), Martinez),
    "semgcn": (SemGCNConfig(), SemGCN),
    "semgcn_nonlocal": (SemGCNConfig(nonlocal_layers=True), SemGCN),
    "semgcn16": (SemGCNConfig(joints=SEMGCN16), SemGCN),
    "semgcn16_nonlocal": (SemGCNConfig(joints=SEMGCN16, nonlocal_layers=True), SemGCN),
    "videopose3d": (VideoPose3DConfig(), VideoPose3D),
    "motionagformer_xs": (MotionAGFormerConfig(), MotionAGFormer),
}


def input_joints(config: Any) -> tuple[str, ...] | None:
    """The joints a network takes and gives, when its graph fixes them; None: all 35, in the skeleton's order."""
    return getattr(config, "joints", None)
