"""Ray normalisation: keypoints of any camera, lens and image size -> one virtual camera.

Each frame's virtual camera looks straight at the person; coordinates are divided by the person's
angular size. So neither the focal length nor the place in the image changes what the network
sees, and what they do tell (viewing direction, apparent size) is passed beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gentg_blender.core.skeleton import JOINTS

_TRUNK = torch.tensor([1.0 if n[2:] in ("shoulder", "hip") else 0.1 for n in JOINTS])
SMOOTHING = 0.25  # seconds; slow enough to be no second source of motion
TYPICAL_SIZE = 0.12  # angular size of a person who fills half the image's height
TYPICAL_SPREAD = 0.45  # metres: root mean square distance of a standing body's joints from its trunk
CONDITIONS = 6


@dataclass
class Normalised:
    """B clips of T frames in their virtual cameras. `rotation` takes real camera axes to virtual ones."""

    points: torch.Tensor  # (B, T, 35, 2) in units of the person's size; 0 where absent
    velocity: torch.Tensor  # (B, T, 35, 2) a tenth of the points' change per second
    confidence: torch.Tensor  # (B, T, 35)
    condition: torch.Tensor  # (B, T, CONDITIONS)
    rotation: torch.Tensor  # (B, T, 3, 3)
    size: torch.Tensor  # (B, T) normalised image units


def normalise(
    points: torch.Tensor, confidence: torch.Tensor, times: torch.Tensor, causal: bool = False
) -> Normalised:
    """`points` (B, T, 35, 2) = (x/z, y/z); `confidence` (B, T, 35), 0 = absent; `times` (B, T) seconds.

    `causal`: no frame's values depend on later ones, for live use. The same averages then run over the past
    half of the kernel, and velocities are differences to the frame before.
    """
    present = confidence > 0
    trunk = confidence.clamp(max=1.0) * _TRUNK.to(points)  # (B, T, 35)
    smooth = _time_kernel(times, causal)
    total = (smooth @ trunk.sum(-1, keepdim=True)).clamp(min=1e-4)  # (B, T, 1)
    centre = smooth @ torch.einsum("btj,btjc->btc", trunk, points) / total

    rotation = _look_at(centre)
    ray = torch.cat([points, torch.ones_like(points[..., :1])], -1)
    seen = torch.einsum("btij,btkj->btki", rotation, ray)
    flat = seen[..., :2] / seen[..., 2:].clamp(min=0.05)
    flat = torch.where(present[..., None], flat, 0.0)

    weight = present.to(points) * (0.2 + 0.8 * confidence.clamp(max=1.0))
    square = torch.einsum("btj,btjc->bt", weight, flat**2)[..., None]
    size = (
        (smooth @ square / (smooth @ weight.sum(-1, keepdim=True)).clamp(min=1e-4))
        .sqrt()[..., 0]
        .clamp(min=1e-4)
    )
    view = torch.stack(
        [torch.log(size / TYPICAL_SIZE), torch.atan(centre[..., 0]), torch.atan(centre[..., 1])], dim=-1
    )
    return _described(flat / size[..., None, None], confidence, times, view, rotation, size, causal)


def screen_coordinates(
    points: torch.Tensor, confidence: torch.Tensor, times: torch.Tensor, half_width: torch.Tensor
) -> Normalised:
    """What lifters without ray normalisation see, for comparison: the image from -1 to 1 across its width.

    Arguments as for `normalise`, and the image's edge `half_width` (B,) in the units of `points`. The virtual
    camera is the real one; the network isn't told the lens, nor where in the image the person stands but by
    the points themselves (Pavllo et al. 2019, section 3.1).
    """
    b, t = times.shape
    size = half_width[:, None].expand(b, t)
    unit = torch.where((confidence > 0)[..., None], points / size[..., None, None], 0.0)
    rotation = torch.eye(3, device=points.device, dtype=points.dtype).expand(b, t, 3, 3)
    return _described(unit, confidence, times, points.new_zeros(b, t, 3), rotation, size)


def _described(
    unit: torch.Tensor,
    confidence: torch.Tensor,
    times: torch.Tensor,
    view: torch.Tensor,
    rotation: torch.Tensor,
    size: torch.Tensor,
    causal: bool = False,
) -> Normalised:
    """Normalised points with their velocity and the frame's condition; `view` (B, T, 3) is its first part."""
    present = confidence > 0
    step = (times[:, 2:] - times[:, :-2]).clamp(min=1e-3)[..., None, None] if times.shape[1] > 2 else None
    velocity = torch.zeros_like(unit)
    if causal:
        step = times.diff(dim=1).clamp(min=1e-3)[..., None, None]
        both = (present[:, 1:] & present[:, :-1])[..., None]
        velocity[:, 1:] = torch.where(both, 0.1 * unit.diff(dim=1) / step, 0.0).clamp(-3, 3)
    elif step is not None:
        both = (present[:, 2:] & present[:, :-2])[..., None]
        velocity[:, 1:-1] = torch.where(both, 0.1 * (unit[:, 2:] - unit[:, :-2]) / step, 0.0).clamp(-3, 3)
    if times.shape[1] > 1:
        gap = torch.diff(times, dim=1)
        first = torch.full_like(gap[:, :1], 1 / 30) if causal else gap[:, :1]
        gap = torch.cat([first, gap], 1).clamp(min=1e-3)
    else:
        gap = torch.full_like(times, 1 / 30)
    frame = torch.stack(
        [torch.log2(gap * 30.0), present.to(unit).mean(-1) * 2 - 1, confidence.mean(-1) * 2 - 1], dim=-1
    )
    condition = torch.cat([view, frame], -1)
    return Normalised(unit, velocity, confidence, condition, rotation, size)


def _time_kernel(times: torch.Tensor, causal: bool = False) -> torch.Tensor:
    """(B, T) -> (B, T, T) Gaussian weights in time, 0 for later frames if `causal`; rows sum to one."""
    gap = (times[:, :, None] - times[:, None, :]) / SMOOTHING
    kernel = torch.exp(-0.5 * gap**2)
    if causal:
        kernel = kernel * (gap >= 0)
    return kernel / kernel.sum(-1, keepdim=True)


def _look_at(centre: torch.Tensor) -> torch.Tensor:
    """Rotations (..., 3, 3) that turn the ray (x, y, 1) onto the optical axis without rolling the image."""
    z = torch.nn.functional.normalize(torch.cat([centre, torch.ones_like(centre[..., :1])], -1), dim=-1)
    x = torch.nn.functional.normalize(
        torch.stack([z[..., 2], torch.zeros_like(z[..., 0]), -z[..., 0]], -1), dim=-1
    )
    return torch.stack([x, torch.cross(z, x, dim=-1), z], dim=-2)
