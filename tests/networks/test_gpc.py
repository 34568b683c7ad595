"""GPC's denoiser on small random weights."""

import math

import pytest
import torch

from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.networks.gpc import GPC, GPCCondition, GPCConfig, level_embedding

CONFIG = dict(d_time=32, time_heads=4, time_layers=2, d_tgt=16)


pytestmark = pytest.mark.usefixtures("one_thread")


def network(stirred: bool = True) -> GPC:
    torch.manual_seed(2)
    model = GPC(GPCConfig(**CONFIG)).eval().requires_grad_(False)
    if stirred:
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(0.0, 0.1)
    return model


def inputs(frames: int = 12, batch: int = 2):
    g = torch.Generator().manual_seed(3)

    def randn(*shape):
        return torch.randn(batch, frames, *shape, generator=g)

    condition = GPCCondition(
        0.3 * randn(NUM_JOINTS, 3),
        0.02 + 0.05 * randn(NUM_JOINTS, 2).abs(),
        randn(NUM_JOINTS, 2),
        torch.rand(batch, frames, NUM_JOINTS, generator=g),
        randn(16),
        (torch.arange(frames) / 30).expand(batch, -1),
    )
    return randn(NUM_JOINTS, 3), torch.full((batch,), 400), randn(NUM_JOINTS) > 0, condition


def change(model: GPC, **replaced) -> float:
    """Largest change of the answer when one argument is replaced."""
    names = ("x", "level", "mask", "condition")
    args = dict(zip(names, inputs()))
    return float((model(**args) - model(**args | replaced)).abs().max())


@pytest.mark.parametrize("frames", [1, 2, 50])
def test_every_length(frames):
    x0 = network()(*inputs(frames))
    assert x0.shape == (2, frames, NUM_JOINTS, 3) and torch.isfinite(x0).all() and x0.abs().max() > 0.01


def test_untrained_it_answers_with_tgts_own_pose():
    assert (network(stirred=False)(*inputs()) == 0).all()


def test_the_level_embedding_is_the_transformers():
    got = level_embedding(torch.tensor([0, 7, 999]), 32)
    for row, level in zip(got, (0, 7, 999)):
        for k in range(16):
            angle = level / 10000 ** (k / 16)
            assert float(row[k]) == pytest.approx(math.sin(angle), abs=2e-4)
            assert float(row[16 + k]) == pytest.approx(math.cos(angle), abs=2e-4)


def test_noise_level_mask_and_every_condition_are_felt():
    model = network()
    x, level, mask, c = inputs()
    assert change(model, level=level + 300) > 1e-3
    assert change(model, mask=~mask) > 1e-3
    assert change(model, x=x + 0.5) > 1e-3
    for name, value in vars(c).items():
        other = GPCCondition(**vars(c) | {name: value * 2.0 if name == "times" else value + 0.3})
        assert change(model, condition=other) > 1e-3, name


def test_only_time_differences_matter():
    c = inputs()[3]
    assert change(network(), condition=GPCCondition(**vars(c) | {"times": c.times + 1.5})) < 1e-3


def test_one_clips_level_does_not_touch_the_other():
    model, (x, level, mask, c) = network(), inputs()
    moved = level.clone()
    moved[1] = 50
    a, b = model(x, level, mask, c), model(x, moved, mask, c)
    assert torch.equal(a[0], b[0]) and (a[1] - b[1]).abs().max() > 1e-3


def test_residuals_share_the_plane_scale_in_x_and_y():
    c = inputs()[3]
    assert torch.equal(c.scale3()[..., 0], c.scale[..., 0]) and torch.equal(
        c.scale3()[..., 1], c.scale[..., 0]
    )
    assert torch.equal(c.scale3()[..., 2], c.scale[..., 1])
