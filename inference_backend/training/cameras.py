"""Random pinhole cameras around a moving person. Camera axes: x right, y down, z forward.

Images are described in normalised coordinates (x/z, y/z): no pixels anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inference_backend.training.motion import BODY_HEIGHT


@dataclass
class Filmed:
    """B clips of T frames seen by their cameras."""

    xyz: torch.Tensor  # (B, T, 35, 3) camera axes, metres
    gravity: torch.Tensor  # (B, T, 3) unit vector down, camera axes
    half_width: torch.Tensor  # (B,) edge of the image in normalised coordinates
    half_height: torch.Tensor  # (B,)


def _uniform(n: int, low: float, high: float, g: torch.Generator, device: torch.device) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=g, device=device)


def film(xyz: torch.Tensor, times: torch.Tensor, config, g: torch.Generator) -> Filmed:
    """World joints (B, T, 35, 3), Z up, with times (B, T) -> camera axes, by one random camera a clip."""
    b, device = len(xyz), xyz.device
    yaw = _uniform(b, -torch.pi, torch.pi, g, device)
    # Most cameras are held nearly level; some are put on a shelf or a wall and tilt either way.
    tilted = (torch.rand(b, generator=g, device=device) < config.tilted).float()
    pitch_spread = config.pitch_spread + tilted * (config.tilted_pitch_spread - config.pitch_spread)
    roll_spread = config.roll_spread + tilted * (config.tilted_roll_spread - config.roll_spread)
    pitch = config.pitch_mean + pitch_spread * torch.randn(b, generator=g, device=device)
    roll = roll_spread * torch.randn(b, generator=g, device=device)
    pitch = pitch.clamp(-1.2, 1.35)
    ahead = torch.stack([yaw.sin() * pitch.cos(), yaw.cos() * pitch.cos(), -pitch.sin()], -1)  # (B, 3)
    right = torch.stack([yaw.cos(), -yaw.sin(), torch.zeros_like(yaw)], -1)
    down = torch.cross(ahead, right, dim=-1)
    c, s = roll.cos()[:, None], roll.sin()[:, None]
    rotation = torch.stack([c * right + s * down, c * down - s * right, ahead], dim=1)  # (B, 3, 3)

    # Lens and image: a 36 x 24 mm frame cropped to 16:9, held upright in a third of the clips.
    focal = torch.exp(_uniform(b, *torch.tensor(config.focal_mm).log().tolist(), g, device))
    portrait = torch.rand(b, generator=g, device=device) < 0.35
    long_side, short_side = 18.0 / focal, 10.1 / focal
    half_width = torch.where(portrait, short_side, long_side)
    half_height = torch.where(portrait, long_side, short_side)

    fraction = torch.exp(_uniform(b, *torch.tensor(config.person_fraction).log().tolist(), g, device))
    distance = (BODY_HEIGHT / (2 * half_height * fraction)).clamp(1.5, 25.0)
    place = torch.stack(
        [
            half_width * _uniform(b, -0.6, 0.6, g, device),
            half_height * _uniform(b, -0.35, 0.35, g, device),
            torch.ones(b, device=device),
        ],
        -1,
    )
    middle = xyz[:, :, 0].mean(1)  # (B, 3)
    cam = torch.einsum("bij,btkj->btki", rotation, xyz - middle[:, None, None])
    nearest = cam[..., 2].amin(dim=(1, 2))
    distance = torch.maximum(distance, 0.6 - nearest)  # nobody walks through the lens
    cam = cam + (place * distance[:, None])[:, None, None]
    gravity = rotation[:, None, :, :] @ torch.tensor([0.0, 0.0, -1.0], device=device)
    gravity = gravity.expand(-1, xyz.shape[1], -1)

    # Panning: the camera turns about its own height axis after the person, late and loosely.
    pans = (torch.rand(b, generator=g, device=device) < config.panning).float() * _uniform(
        b, 0.3, 1.0, g, device
    )
    bearing = torch.atan2(cam[:, :, 0, 0], cam[:, :, 0, 2].clamp(min=0.3))
    bearing = bearing - bearing.mean(1, keepdim=True)
    late = (times[:, :, None] - times[:, None, :] - 0.15).abs()
    weight = torch.exp(-((late / 0.4) ** 2))
    angle = pans[:, None] * torch.einsum("bts,bs->bt", weight / weight.sum(-1, keepdim=True), bearing)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack(
        [angle.cos(), zero, -angle.sin(), zero, one, zero, angle.sin(), zero, angle.cos()], -1
    ).unflatten(-1, (3, 3))
    cam = torch.einsum("btij,btkj->btki", turn, cam)
    return Filmed(cam, torch.einsum("btij,btj->bti", turn, gravity), half_width, half_height)


def project(xyz: torch.Tensor) -> torch.Tensor:
    """Camera axes (..., 3) -> normalised image coordinates (..., 2)."""
    return xyz[..., :2] / xyz[..., 2:].clamp(min=0.1)
