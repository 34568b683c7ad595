"""The terms of TGT's loss. Metres and seconds; every term is a mean, so weights don't depend on sizes."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from gentg_blender.core.skeleton import JOINTS, NUM_JOINTS
from inference_backend.networks.blocks import joints_from_edges
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGTOutput
from inference_backend.training import bodies
from inference_backend.training.config import LossConfig
from inference_backend.training.generator import Batch

# Limb ends matter most to people and are hardest; the face and toe points ride on others.
_IMPORTANCE = {"wrist": 1.5, "ankle": 1.5, "elbow": 1.3, "knee": 1.3, "eye": 0.4, "ear": 0.6, "thumb": 0.4,
               "small_toe": 0.4, "pinky": 0.6, "index": 0.7, "nose": 0.8}  # fmt: skip
JOINT_WEIGHT = torch.tensor([_IMPORTANCE.get(n.removeprefix("l_").removeprefix("r_"), 1.0) for n in JOINTS])
JOINT_WEIGHT = JOINT_WEIGHT / JOINT_WEIGHT.mean()


def truth_in_virtual_camera(batch: Batch, x: Normalised) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """-> joints relative to the pelvis (B, T, 35, 3), pelvis (B, T, 3), gravity (B, T, 3)."""
    cam = torch.einsum("btij,btkj->btki", x.rotation, batch.xyz)
    return cam - cam[:, :, :1], cam[:, :, 0], torch.einsum("btij,btj->bti", x.rotation, batch.gravity)


def rigid_joints(out: TGTOutput) -> torch.Tensor:
    """Forward kinematics of predicted directions and clip-level lengths -> (B, T, 35, 3)."""
    return joints_from_edges(out.directions * out.lengths[:, None, :, None])


def laplace_nll(error: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Negative log of three Laplace densities, less the constant 3 log 2 -> (...).

    `error` (..., 3) metres; `scale` (..., 2) metres, of both axes in the image plane and of depth.
    """
    plane = error[..., :2].abs().sum(-1) / scale[..., 0] + 2 * scale[..., 0].log()
    return plane + error[..., 2].abs() / scale[..., 1] + scale[..., 1].log()


def tgt_loss(
    out: TGTOutput, batch: Batch, x: Normalised, config: LossConfig, progress: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """`progress` 0..1 through the training. -> loss, its terms for logging."""
    joints, root, gravity = truth_in_virtual_camera(batch, x)
    w = JOINT_WEIGHT.to(joints)
    error = out.joints - joints
    distance = error.norm(dim=-1)  # (B, T, 35)
    fk = rigid_joints(out)
    terms = {
        "position": (w * distance).mean(),
        "rigid": (w * (fk - joints).norm(dim=-1)).mean(),
    }
    # N-MPJPE: the best common scale of a clip is taken out
    scale = (out.joints * joints).sum((1, 2, 3)) / out.joints.square().sum((1, 2, 3)).clamp(min=1e-6)
    terms["scale_free"] = (w * (scale[:, None, None, None] * out.joints - joints).norm(dim=-1)).mean()

    step = torch.diff(batch.times, dim=1)[..., None, None].clamp(min=1e-3)
    terms["velocity"] = (torch.diff(error, dim=1) / step).norm(dim=-1).mean() / 30.0
    edges = bodies.edges_of(joints)
    unit = F.normalize(edges, dim=-1)
    terms["direction"] = (1 - (out.directions * unit).sum(-1))[:, :, 1:].mean()
    terms["length"] = (
        (out.lengths.clamp(min=1e-4).log() - batch.lengths.clamp(min=1e-4).log())[:, 1:].abs().mean()
    )
    free = bodies.edges_of(out.joints).norm(dim=-1)[:, :, 1:]
    mirrored = bodies.edges_of(out.joints[:, :, bodies.MIRROR.to(joints.device)]).norm(dim=-1)[:, :, 1:]
    terms["symmetry"] = (free - mirrored).abs().mean()
    terms["length_smoothness"] = (torch.diff(free, dim=1) / step[..., 0]).abs().mean() / 30.0

    # Reprojection into the virtual camera with the predicted root, in units of the person's size
    cam = out.joints + out.root[:, :, None]
    seen = cam[..., :2] / cam[..., 2:].clamp(min=0.2) / x.size[..., None, None]
    trust = x.confidence.clamp(max=1.0)
    gap = F.smooth_l1_loss(seen, x.points, beta=0.1, reduction="none").sum(-1)
    terms["reprojection"] = (trust * gap).sum() / trust.sum().clamp(min=1.0)

    depth = root[..., 2].clamp(min=0.3)
    terms["root"] = (out.root[..., 2] / depth).clamp(min=1e-3).log().abs().mean() + (
        ((out.root[..., :2] / out.root[..., 2:]) - root[..., :2] / depth[..., None]) / x.size[..., None]
    ).abs().mean()
    terms["contact"] = F.binary_cross_entropy_with_logits(out.contacts, batch.contacts)
    terms["gravity"] = (1 - (out.gravity * gravity).sum(-1)).mean()
    if progress >= config.likelihood_start:
        terms["likelihood"] = laplace_nll(error.detach() if progress < 0.5 else error, out.scale)[
            :, :, 1:
        ].mean()
    total = sum(getattr(config, name) * value for name, value in terms.items())
    return total, terms


assert len(JOINT_WEIGHT) == NUM_JOINTS
