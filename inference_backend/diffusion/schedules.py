"""Noise schedules. `alpha_bar[n]` is the share of the signal's power left at level n, 0 = clean."""

from __future__ import annotations

import math

import torch

SCHEDULES = ("linear", "sqrt", "cosine")
_LARGEST_BETA = 0.999  # keeps the last level invertible


def alpha_bar(kind: str, levels: int = 1000) -> torch.Tensor:
    """(levels,) float64, decreasing. Raises ValueError on an unknown kind.

    linear: betas from 1e-4 to 0.02 at 1000 levels (Ho et al. 2020), scaled for other counts;
    cosine: squared cosine with offset 0.008 (Nichol and Dhariwal 2021);
    sqrt: 1 - sqrt(n / N + 1e-4) (Li et al. 2022, Diffusion-LM).
    """
    if kind == "linear":
        scale = 1000.0 / levels
        beta = torch.linspace(1e-4 * scale, 0.02 * scale, levels, dtype=torch.float64)
    elif kind in ("cosine", "sqrt"):

        def share(u: float) -> float:
            if kind == "cosine":
                return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
            return max(1.0 - math.sqrt(u + 1e-4), 1e-5)

        beta = torch.tensor(
            [1 - share((n + 1) / levels) / share(n / levels) for n in range(levels)], dtype=torch.float64
        )
    else:
        raise ValueError(f"unknown schedule {kind!r}: choose from {', '.join(SCHEDULES)}")
    return torch.cumprod(1 - beta.clamp(1e-6, _LARGEST_BETA), dim=0)
