"""GPC at work: which joints are resampled, how hypotheses are drawn, guided and combined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from gentg_blender.core.skeleton import JOINT_PARENTS, JOINTS, NUM_JOINTS
from inference_backend.diffusion.guidance import Evidence, GuidanceWeights, guide, reprojection_error
from inference_backend.diffusion.sampler import Sampler
from inference_backend.networks.gpc import GPCCondition
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGTOutput

MOST_EVALUATIONS = 10

Denoiser = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, GPCCondition], torch.Tensor]


@dataclass
class CorrectorSettings:
    """How GPC samples. At most MOST_EVALUATIONS network evaluations a window: steps times hypotheses.

    `schedule` and `levels` must be the ones that the weights were trained with.
    """

    threshold: float = 0.14  # metres; joints with a larger standard deviation are resampled
    dilation: float = 0.1  # seconds around an uncertain moment
    schedule: str = "cosine"
    levels: int = 1000
    method: str = "ddim"
    eta: float = 0.0
    steps: int = 3
    start: float = 0.5  # SDEdit: share of the noise levels that TGT's pose is taken up to
    hypotheses: int = 3
    sharpness: float = 20.0  # 1/metre: how much a better reprojection counts among hypotheses
    guided_steps: int = 3  # the last ones
    guidance_rate: float = 0.3
    guidance: GuidanceWeights = field(default_factory=GuidanceWeights)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.hypotheses < 1 or self.steps * self.hypotheses > MOST_EVALUATIONS:
            raise ValueError(
                f"{self.steps} steps for {self.hypotheses} hypotheses: take at least one of each, "
                f"and at most {MOST_EVALUATIONS} network evaluations in all"
            )


# Limb chains whose joints take one hypothesis together, so that a blend never tears a limb apart.
_ARM, _LEG = (
    ("elbow", "wrist", "index", "pinky", "thumb"),
    ("knee", "ankle", "heel", "foot_index", "small_toe"),
)
_LIMB_CHAINS = (("l_", _ARM), ("r_", _ARM), ("l_", _LEG), ("r_", _LEG))
_CHAIN_OF = torch.tensor(
    [
        next(
            (i + 1 for i, (side, parts) in enumerate(_LIMB_CHAINS) if n.startswith(side) and n[2:] in parts),
            0,
        )
        for n in JOINTS
    ]
)  # 0 = trunk and head
_CHAINS = F.one_hot(_CHAIN_OF, 5).float()  # (35, chains)


def joint_sigma(scale: torch.Tensor) -> torch.Tensor:
    """Laplace scales (..., 2) -> standard deviation of the joint's distance, metres (...)."""
    return (4 * scale[..., 0] ** 2 + 2 * scale[..., 1] ** 2).sqrt()


def uncertain_joints(sigma: torch.Tensor, times: torch.Tensor, settings: CorrectorSettings) -> torch.Tensor:
    """(B, T, 35) metres -> bool: above the threshold, near in time to it, or further out on such a limb."""
    mask = sigma > settings.threshold
    mask[..., 0] = False  # the pelvis is the origin
    near = (times[:, :, None] - times[:, None, :]).abs() <= settings.dilation + 1e-4  # float32 seconds
    mask = torch.einsum("bts,bsj->btj", near.float(), mask.float()) > 0
    for j in range(1, NUM_JOINTS):  # parents stand before children
        if JOINT_PARENTS[j] > 0:
            mask[..., j] |= mask[..., JOINT_PARENTS[j]]
    return mask


def correct(
    denoiser: Denoiser,
    out: TGTOutput,
    x: Normalised,
    times: torch.Tensor,
    settings: CorrectorSettings,
    random: torch.Generator,
    scale: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Corrected joints (B, T, 35, 3) in virtual camera axes and the mask of resampled ones.

    Windows in which nothing is uncertain cost no network evaluation. `scale` overrides TGT's
    (for instance the calibrated one) in choosing joints.
    """
    mask = uncertain_joints(joint_sigma(out.scale if scale is None else scale), times, settings)
    chosen = mask.any(-1).any(-1).nonzero()[:, 0]
    if len(chosen) == 0:
        return out.joints, mask
    condition = GPCCondition(out.joints[chosen], out.scale[chosen], x.points[chosen], x.confidence[chosen],
                             out.features[chosen], times[chosen])  # fmt: skip
    evidence = Evidence(
        x.points[chosen], x.confidence[chosen], x.size[chosen], out.root[chosen], out.lengths[chosen]
    )
    drawn = torch.stack(
        [
            _sample(denoiser, condition, evidence, mask[chosen], settings, random)
            for _ in range(settings.hypotheses)
        ]
    )  # (H, b, T, 35, 3)
    combined = _aggregate(drawn, evidence, settings)
    joints = out.joints.clone()
    joints[chosen] = torch.where(mask[chosen][..., None], combined, out.joints[chosen])
    return joints, mask


def _sample(
    denoiser: Denoiser,
    c: GPCCondition,
    e: Evidence,
    mask: torch.Tensor,
    settings: CorrectorSettings,
    random: torch.Generator,
) -> torch.Tensor:
    """One hypothesis: joints (b, T, 35, 3)."""
    sampler = Sampler(settings.schedule, settings.levels, settings.steps, settings.start, settings.method,
                      settings.eta)  # fmt: skip
    resampled = mask[..., None]
    scale = c.scale3()
    known = torch.zeros_like(scale)  # TGT's own pose: residual zero

    def noise() -> torch.Tensor:
        return torch.randn(scale.shape, generator=random, device=scale.device)

    residual = sampler.add_noise(known, noise(), sampler.timesteps[0])
    for i, level in enumerate(sampler.timesteps):
        # Joints that are not resampled stand at their known value, noised to this very level (RePaint).
        residual = torch.where(resampled, residual, sampler.add_noise(known, noise(), level))
        at = torch.full((len(mask),), level, device=scale.device)
        # The denoiser was trained on the resampled joints only: what it says of known ones means nothing.
        x0 = torch.where(resampled, denoiser(residual, at, mask, c), known).clamp(-sampler.clip, sampler.clip)
        if i >= len(sampler.timesteps) - settings.guided_steps:
            variance = torch.where(resampled, 2 * scale**2, 0.0)  # known joints hold
            joints = guide(c.joints + x0 * scale, variance, e, settings.guidance, settings.guidance_rate)
            x0 = (joints - c.joints) / scale
        residual = sampler.step(x0, residual, i, noise() if sampler.eta > 0 else None)
    return c.joints + residual * scale


def _aggregate(drawn: torch.Tensor, e: Evidence, settings: CorrectorSettings) -> torch.Tensor:
    """Mean of hypotheses (H, b, T, 35, 3) weighted by reprojection with the predicted root, by chains."""
    if len(drawn) == 1:
        return drawn[0]
    chains = _CHAINS.to(drawn.device)
    trust = e.confidence.clamp(max=1.0) ** 2
    error = (
        (reprojection_error(drawn, e) * trust) @ chains / (trust @ chains).clamp(min=1e-3)
    )  # (H, b, T, chains)
    smooth = F.avg_pool1d(error.permute(0, 1, 3, 2).flatten(0, 2)[:, None], 9, 1, 4, count_include_pad=False)
    error = smooth[:, 0].reshape(error.permute(0, 1, 3, 2).shape).permute(0, 1, 3, 2)
    weight = torch.softmax(-settings.sharpness * error.sqrt(), dim=0) @ chains.T  # (H, b, T, 35)
    return (weight[..., None] * drawn).sum(0)
