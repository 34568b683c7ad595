"""Loss terms: nothing at the truth, what they should be beside it, the likelihood against scipy's."""

import numpy as np
import pytest
import torch
from scipy import stats

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.networks.normalise import normalise
from inference_backend.networks.tgt import TGTOutput
from inference_backend.training.bodies import edges_of
from inference_backend.training.config import GeneratorConfig, LossConfig
from inference_backend.training.generator import Generator
from inference_backend.training.losses import (
    JOINT_WEIGHT,
    laplace_nll,
    rigid_joints,
    tgt_loss,
    truth_in_virtual_camera,
)


@pytest.fixture
def perfect(clips):
    """A clean batch, its normalised input, and a TGT answer that is the truth."""
    config = GeneratorConfig(frames=12, noise=0.0, focal_error=0.0)
    batch = Generator(clips, config, torch.device("cpu"), 1).batch(6)
    x = normalise(batch.points, batch.confidence, batch.times)
    joints, root, gravity = truth_in_virtual_camera(batch, x)
    out = TGTOutput(
        joints,
        torch.nn.functional.normalize(edges_of(joints), dim=-1),
        batch.lengths,
        torch.full((*joints.shape[:3], 2), 0.03),
        root,
        30 * (2 * batch.contacts - 1),
        gravity,
        torch.zeros(6, 12, 8),
    )
    return out, batch, x


def terms_of(out, batch, x, progress: float = 0.0) -> dict[str, float]:
    return {k: float(v) for k, v in tgt_loss(out, batch, x, LossConfig(), progress)[1].items()}


def test_every_term_but_the_likelihood_is_zero_at_the_truth(perfect):
    terms = terms_of(*perfect)
    assert set(terms) == {"position", "rigid", "scale_free", "velocity", "direction", "length", "symmetry",
                          "length_smoothness", "reprojection", "root", "contact", "gravity"}  # fmt: skip
    for name, value in terms.items():
        assert value == pytest.approx(0.0, abs=2e-5), name


def test_the_truth_is_turned_into_the_virtual_camera(perfect):
    out, batch, x = perfect
    back = torch.einsum("btji,btkj->btki", x.rotation, out.joints + out.root[:, :, None])
    torch.testing.assert_close(back, batch.xyz, atol=1e-4, rtol=0)
    torch.testing.assert_close(rigid_joints(out), out.joints, atol=1e-4, rtol=0)


def test_a_shift_of_all_joints_but_the_pelvis_is_its_length(perfect):
    out, batch, x = perfect
    out.joints = out.joints + torch.tensor([0.0, 0.03, 0.04])
    terms = terms_of(out, batch, x)
    assert terms["position"] == pytest.approx(0.05, abs=1e-5)  # weights have mean one
    assert terms["velocity"] == pytest.approx(0.0, abs=1e-5)
    assert float(JOINT_WEIGHT.mean()) == pytest.approx(1.0)
    assert JOINT_WEIGHT[J["l_wrist"]] == JOINT_WEIGHT[J["r_wrist"]] > JOINT_WEIGHT[J["l_eye"]]


def test_a_wrong_scale_is_free_in_the_scale_free_term_only(perfect):
    out, batch, x = perfect
    out.joints = out.joints * 1.1
    terms = terms_of(out, batch, x)
    assert terms["scale_free"] == pytest.approx(0.0, abs=1e-5) and terms["position"] > 0.03
    assert terms["symmetry"] == pytest.approx(0.0, abs=1e-5)


def test_a_drift_in_time_is_metres_per_thirtieth_of_a_second(perfect):
    out, batch, x = perfect
    out.joints = out.joints + 0.6 * batch.times[:, :, None, None] * torch.tensor([1.0, 0, 0])
    assert terms_of(out, batch, x)["velocity"] == pytest.approx(0.6 / 30, rel=1e-3)


def test_lengths_root_and_gravity_are_measured_in_their_units(perfect):
    out, batch, x = perfect
    out.lengths = out.lengths * torch.e**0.1
    out.root = torch.cat([out.root[..., :2] * 1.2, out.root[..., 2:] * 1.2], -1)
    out.gravity = -out.gravity
    terms = terms_of(out, batch, x)
    assert terms["length"] == pytest.approx(0.1, abs=1e-4)
    assert terms["root"] == pytest.approx(np.log(1.2), abs=1e-4)
    assert terms["gravity"] == pytest.approx(2.0, abs=1e-4)


def test_points_of_no_confidence_do_not_count_in_reprojection(perfect):
    out, batch, x = perfect
    x.points = x.points + 10.0 * (x.confidence == 0)[..., None]
    assert (x.confidence == 0).any() and terms_of(out, batch, x)["reprojection"] == pytest.approx(
        0.0, abs=2e-5
    )
    x.points = x.points + 1.0
    assert terms_of(out, batch, x)["reprojection"] == pytest.approx(
        2 * (1.0 - 0.05), rel=1e-3
    )  # smooth L1, two axes


def test_the_likelihood_is_scipys_laplace_less_its_constant():
    g = torch.Generator().manual_seed(0)
    error, scale = torch.randn(50, 3, generator=g) * 0.1, 0.01 + 0.1 * torch.rand(50, 2, generator=g)
    e, b = error.double().numpy(), scale.double().numpy()[:, [0, 0, 1]]
    want = -stats.laplace.logpdf(e, scale=b).sum(-1) - 3 * np.log(2)
    np.testing.assert_allclose(laplace_nll(error, scale).numpy(), want, rtol=1e-4)


def test_the_likelihood_comes_late_and_first_moves_the_scale_alone(perfect):
    out, batch, x = perfect
    config = LossConfig(likelihood_start=0.2)
    for progress, has, pulls in ((0.1, False, False), (0.3, True, False), (0.7, True, True)):
        joints = (out.joints + 0.01).detach().requires_grad_(True)
        scale = out.scale.clone().requires_grad_(True)
        terms = tgt_loss(
            TGTOutput(**vars(out) | {"joints": joints, "scale": scale}), batch, x, config, progress
        )[1]
        assert ("likelihood" in terms) == has
        if has:
            terms["likelihood"].backward()
            assert (joints.grad is not None and bool(joints.grad.any())) == pulls
            assert scale.grad[:, :, 1:].any() and not scale.grad[:, :, 0].any()


def test_the_likelihoods_best_scale_is_the_mean_absolute_error():
    """Its gradient vanishes there, so that the trained scale is calibrated in the mean."""
    error = torch.tensor([[0.03, -0.05, 0.2], [0.01, 0.07, -0.1]], dtype=torch.float64)
    scale = torch.tensor([0.04, 0.15], dtype=torch.float64, requires_grad=True)
    laplace_nll(error, scale.expand(2, 2)).sum().backward()
    assert float(scale.grad.abs().max()) < 1e-9


def test_the_total_is_the_weighted_sum(perfect):
    out, batch, x = perfect
    out.joints = out.joints + 0.02 * torch.randn(out.joints.shape, generator=torch.Generator().manual_seed(0))
    config = LossConfig()
    total, terms = tgt_loss(out, batch, x, config, 0.9)
    assert float(total) == pytest.approx(
        sum(getattr(config, k) * float(v) for k, v in terms.items()), rel=1e-5
    )
    assert len(JOINT_WEIGHT) == NUM_JOINTS
