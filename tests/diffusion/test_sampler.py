"""DDIM and DDPM steps against the papers' formulas, written out here a second time."""

import math

import numpy as np
import pytest
import torch

from inference_backend.diffusion.sampler import Sampler
from inference_backend.diffusion.schedules import SCHEDULES


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("steps, start", [(1, 0.5), (3, 0.5), (10, 1.0), (1000, 1.0), (5, 0.001)])
def test_levels_fall_from_the_start_to_zero(steps, start):
    levels = Sampler(steps=steps, start=start).timesteps
    assert len(levels) == steps and levels[0] == max(steps, round(start * 1000)) - 1
    assert all(a > b for a, b in zip(levels, levels[1:]))
    assert steps == 1 or levels[-1] == 0


@pytest.mark.parametrize(
    "wrong", [dict(method="euler"), dict(steps=0), dict(steps=1001), dict(start=0.0), dict(start=1.1)]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        Sampler(**wrong)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("method, eta", [("ddim", 0.0), ("ddim", 0.5), ("ddpm", 0.0)])
def test_a_perfect_denoiser_gets_the_clean_sample_exactly(schedule, method, eta):
    sampler = Sampler(schedule, steps=7, start=0.8, method=method, eta=eta)
    x0 = randn(50)
    x = sampler.add_noise(x0, randn(50, seed=1), sampler.timesteps[0])
    for i in range(7):
        assert not torch.equal(x, x0)
        x = sampler.step(x0, x, i, randn(50, seed=2 + i))
    assert torch.equal(x, x0)


def test_noise_is_added_with_the_levels_mean_and_variance():
    sampler = Sampler("linear")
    for level in (0, 300, 999):
        a = float(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[level])
        x = sampler.add_noise(torch.full((200_000,), 2.0, dtype=torch.float64), randn(200_000), level)
        assert float(x.mean()) == pytest.approx(2 * math.sqrt(a), abs=0.01)
        assert float(x.var()) == pytest.approx(1 - a, rel=0.015)


def test_a_ddim_step_computed_by_hand():
    sampler = Sampler(steps=3, start=0.5)
    sampler.alpha_bar = torch.zeros(1000, dtype=torch.float64)
    sampler.alpha_bar[sampler.timesteps[0]], sampler.alpha_bar[sampler.timesteps[1]] = 0.36, 0.64
    # eps = (1.4 - 0.6 * 1) / 0.8 = 1; x' = 0.8 * 1 + 0.6 * 1
    out = sampler.step(torch.tensor([1.0]), torch.tensor([1.4]), 0, None)
    assert float(out) == pytest.approx(1.4)
    # eta 0.5: sigma = 0.5 sqrt(0.36 / 0.64 * (1 - 0.36 / 0.64)) = 0.248039;
    # x' = 0.8 + sqrt(0.36 - sigma^2) + 2 sigma
    sampler.eta = 0.5
    out = sampler.step(torch.tensor([1.0]), torch.tensor([1.4]), 0, torch.tensor([2.0]))
    assert float(out) == pytest.approx(0.8 + math.sqrt(0.36 - 0.0615234375) + 2 * 0.2480391854, abs=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddpm_between_neighbours_is_ho_et_als_posterior(schedule):
    """Equations 6 and 7 of Ho et al. 2020 for one level, which use betas and not DDIM's form."""
    sampler = Sampler(schedule, steps=1000, start=1.0, method="ddpm")
    bar = sampler.alpha_bar.numpy()
    x0, x = randn(20), randn(20, seed=1)
    for index in (100, 500, 900):
        n = sampler.timesteps[index]
        assert sampler.timesteps[index + 1] == n - 1
        alpha = bar[n] / bar[n - 1]
        mean = (math.sqrt(bar[n - 1]) * (1 - alpha) * x0 + math.sqrt(alpha) * (1 - bar[n - 1]) * x) / (
            1 - bar[n]
        )
        std = math.sqrt((1 - bar[n - 1]) / (1 - bar[n]) * (1 - alpha))
        torch.testing.assert_close(sampler.step(x0, x, index, torch.zeros(20, dtype=torch.float64)), mean)
        torch.testing.assert_close(
            sampler.step(x0, x, index, torch.ones(20, dtype=torch.float64)), mean + std
        )


@pytest.mark.parametrize("method, eta", [("ddim", 0.0), ("ddim", 0.7), ("ddpm", 0.0)])
def test_a_step_leads_from_one_levels_distribution_to_the_nexts(method, eta):
    sampler = Sampler("cosine", steps=4, start=0.9, method=method, eta=eta)
    n = 200_000
    x0 = torch.full((n,), 1.5, dtype=torch.float64)
    x = sampler.step(x0, sampler.add_noise(x0, randn(n), sampler.timesteps[0]), 0, randn(n, seed=9))
    a = float(sampler.alpha_bar[sampler.timesteps[1]])
    assert float(x.mean()) == pytest.approx(1.5 * math.sqrt(a), abs=0.01)
    assert float(x.var()) == pytest.approx(1 - a, rel=0.015)


def test_wild_estimates_are_clipped():
    sampler = Sampler(steps=2, clip=3.0)
    assert float(sampler.step(torch.tensor([50.0]), torch.tensor([0.0]), 1, None)) == 3.0
