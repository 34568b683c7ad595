"""DDIM and DDPM sampling of an x0-predicting denoiser. Knows schedules, not networks.

| here        | papers                                   |
|-------------|------------------------------------------|
| `alpha_bar` | alpha-bar_t (Ho et al. 2020)             |
| `x0`        | predicted clean sample                   |
| `eta`       | 0 = DDIM, 1 = DDPM's posterior variance  |
"""

from __future__ import annotations

import torch

from inference_backend.diffusion.schedules import alpha_bar


class Sampler:
    """Levels of one sampling run. `start` is the share of the levels that noise is added to (SDEdit)."""

    def __init__(
        self,
        schedule: str = "cosine",
        levels: int = 1000,
        steps: int = 6,
        start: float = 0.5,
        method: str = "ddim",
        eta: float = 0.0,
        clip: float = 6.0,
    ):
        if method not in ("ddim", "ddpm"):
            raise ValueError(f"unknown sampling method {method!r}: choose ddim or ddpm")
        if not 0 < start <= 1 or not 1 <= steps <= levels:
            raise ValueError("start lies in (0, 1] and steps between 1 and the number of levels")
        self.alpha_bar = alpha_bar(schedule, levels)
        self.eta = 1.0 if method == "ddpm" else eta
        self.clip = clip
        first = max(steps, round(start * levels)) - 1
        self.timesteps: list[int] = torch.linspace(first, 0, steps).round().long().tolist()

    def add_noise(self, x0: torch.Tensor, noise: torch.Tensor, level: int) -> torch.Tensor:
        """x0 noised to `level` (q(x_t | x_0))."""
        a = float(self.alpha_bar[level])
        return a**0.5 * x0 + (1 - a) ** 0.5 * noise

    def step(self, x0: torch.Tensor, x: torch.Tensor, index: int, noise: torch.Tensor | None) -> torch.Tensor:
        """From timesteps[index] to the next lower one, given the denoiser's x0; the last step returns x0.

        Equation 12 of Song et al. 2021 (DDIM). `noise` may be None when eta is 0.
        """
        x0 = x0.clamp(-self.clip, self.clip)
        if index == len(self.timesteps) - 1:
            return x0
        a, b = (float(self.alpha_bar[self.timesteps[i]]) for i in (index, index + 1))
        eps = (x - a**0.5 * x0) / max(1 - a, 1e-8) ** 0.5
        sigma = self.eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        out = b**0.5 * x0 + max(1 - b - sigma**2, 0.0) ** 0.5 * eps
        return out if noise is None or sigma == 0 else out + sigma * noise
