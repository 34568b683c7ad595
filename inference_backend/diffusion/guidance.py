"""What a corrected pose must agree with: the 2D keypoints, constant limb lengths, left = right.

The gradient acts on the denoiser's x0 estimate, so guidance costs no network evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from gentg_blender.core.skeleton import JOINT_MIRROR, JOINT_PARENTS

_PARENT = torch.as_tensor(JOINT_PARENTS).clamp(min=0)
_MIRROR = torch.as_tensor(JOINT_MIRROR)


@dataclass
class Evidence:
    """What the poses of a batch of windows are held against. Virtual camera axes, metres."""

    points: torch.Tensor  # (B, T, 35, 2) in units of the person's size
    confidence: torch.Tensor  # (B, T, 35)
    size: torch.Tensor  # (B, T)
    root: torch.Tensor  # (B, T, 3) predicted pelvis
    lengths: torch.Tensor  # (B, 35)


@dataclass
class GuidanceWeights:
    """Strength of each term."""

    reprojection: float = 0.5
    length: float = 0.25
    symmetry: float = 0.25


def reprojection_error(joints: torch.Tensor, e: Evidence) -> torch.Tensor:
    """(..., B, T, 35, 3) -> Huber distance (..., B, T, 35) to the 2D points, m² at the pelvis's depth."""
    cam = joints + e.root[:, :, None]
    metre = e.root[..., 2].clamp(min=0.3)[..., None, None]
    seen = cam[..., :2] / cam[..., 2:].clamp(min=0.2)
    gap = (seen - e.points * e.size[..., None, None]) * metre
    return F.huber_loss(gap, torch.zeros_like(gap), reduction="none", delta=0.05).sum(-1)


def energy(joints: torch.Tensor, e: Evidence, weights: GuidanceWeights) -> torch.Tensor:
    """Scalar disagreement of poses (..., B, T, 35, 3), in square metres summed over joints."""
    trust = e.confidence.clamp(max=1.0) ** 2
    total = weights.reprojection * (trust * reprojection_error(joints, e)).sum()
    edges = joints - joints[..., _PARENT.to(joints.device), :]
    length = (edges.square().sum(-1) + 1e-8).sqrt()
    total = total + weights.length * 0.5 * (length - e.lengths[:, None])[..., 1:].square().sum()
    mirrored = length[..., _MIRROR.to(joints.device)]
    return total + weights.symmetry * 0.25 * (length - mirrored)[..., 1:].square().sum()


def guide(
    joints: torch.Tensor, variance: torch.Tensor, e: Evidence, weights: GuidanceWeights, rate: float
) -> torch.Tensor:
    """One preconditioned gradient step: uncertain coordinates move, certain ones hold.

    `variance` (B, T, 35, 3) square metres, divided by a typical in-plane variance so that `rate`
    is a plain step length.
    """
    with torch.enable_grad():
        x = joints.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(energy(x, e, weights), x)
    gain = variance / (variance + 0.03**2)
    return joints - rate * gain * gradient
