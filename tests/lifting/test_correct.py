"""GPC's sampling with made-up denoisers: what they are asked, how often, and what comes of their answers."""

import pytest
import torch

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINT_MIRROR, JOINT_PARENTS, NUM_JOINTS
from inference_backend.diffusion.guidance import GuidanceWeights
from inference_backend.diffusion.schedules import alpha_bar
from inference_backend.lifting.correct import CorrectorSettings, correct, joint_sigma, uncertain_joints
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGTOutput

CERTAIN, UNCERTAIN = 0.01, 0.06  # Laplace scales; standard deviations are 0.024 and 0.147
SIZE = 0.1
UNGUIDED = GuidanceWeights(0.0, 0.0, 0.0)


class Denoiser:
    """Records what it is given; answers with `answer(x, level, mask, condition)`."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def __call__(self, x, level, mask, condition):
        self.calls.append((x.clone(), level.clone(), mask.clone()))
        return self.answer(x, level, mask, condition)


def case(batch: int = 2, frames: int = 20, uncertain: tuple[str, ...] = ("l_elbow",), error: float = 0.08):
    """TGT's answer with wrong `uncertain` limbs, and the truth that the 2D points agree with."""
    g = torch.Generator().manual_seed(0)
    lengths = 0.1 + 0.3 * torch.rand(batch, NUM_JOINTS, generator=g)
    lengths = (lengths + lengths[:, JOINT_MIRROR]) / 2
    lengths[:, 0] = 0.0
    direction = torch.nn.functional.normalize(torch.randn(batch, frames, NUM_JOINTS, 3, generator=g), dim=-1)
    truth = torch.zeros(batch, frames, NUM_JOINTS, 3)
    for j in range(1, NUM_JOINTS):
        truth[:, :, j] = truth[:, :, JOINT_PARENTS[j]] + direction[:, :, j] * lengths[:, None, j, None]
    root = torch.tensor([0.1, 0.0, 4.0]).expand(batch, frames, 3)
    camera = truth + root[:, :, None]
    points = camera[..., :2] / camera[..., 2:] / SIZE
    scale = torch.full((batch, frames, NUM_JOINTS, 2), CERTAIN)
    joints = truth.clone()
    for name in uncertain:
        scale[:, :, J[name]] = UNCERTAIN
        joints[:, :, J[name]] += error * torch.randn(batch, frames, 3, generator=g)
    out = TGTOutput(
        joints,
        direction,
        lengths,
        scale,
        root,
        torch.zeros(batch, frames, 4),
        torch.tensor([0.0, 1.0, 0.0]).expand(batch, frames, 3),
        torch.zeros(batch, frames, 8),
    )
    x = Normalised(points, torch.zeros_like(points), torch.ones(batch, frames, NUM_JOINTS),
                   torch.zeros(batch, frames, 6), torch.eye(3).expand(batch, frames, 3, 3),
                   torch.full((batch, frames), SIZE))  # fmt: skip
    times = (torch.arange(frames) / 30).expand(batch, -1)
    return out, x, times, truth


def run(denoiser, arguments, settings=None, seed: int = 0, scale=None):
    out, x, times, _ = arguments
    return correct(
        denoiser, out, x, times, settings or CorrectorSettings(), torch.Generator().manual_seed(seed), scale
    )


def zero(x, level, mask, condition):
    return torch.zeros_like(x)


def perfect(truth):
    return lambda x, level, mask, c: (truth - c.joints) / c.scale3()


# ------------------------------------------------------------------------------ choosing
def test_sigma_is_the_standard_deviation_of_the_distance():
    g = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.02, 0.05])
    u = torch.rand(400_000, 3, generator=g, dtype=torch.float64) - 0.5
    draw = (
        -torch.tensor([0.02, 0.02, 0.05]) * u.sign() * torch.log(1 - 2 * u.abs())
    )  # Laplace, by its inverse
    assert float(joint_sigma(scale)) == pytest.approx(float(draw.square().sum(-1).mean().sqrt()), rel=0.01)


def test_uncertain_joints_spread_down_the_limb_and_a_little_in_time():
    times = (torch.arange(30) / 30)[None]
    sigma = torch.full((1, 30, NUM_JOINTS), 0.02)
    sigma[0, 15, J["l_elbow"]] = 0.2
    mask = uncertain_joints(sigma, times, CorrectorSettings(threshold=0.06, dilation=0.1))[0]
    limb = {J[n] for n in ("l_elbow", "l_wrist", "l_index", "l_pinky", "l_thumb")}
    for frame in range(30):
        want = limb if 12 <= frame <= 18 else set()
        assert set(mask[frame].nonzero()[:, 0].tolist()) == want, frame


def test_the_pelvis_is_never_resampled_and_does_not_drag_the_body_along():
    sigma = torch.full((1, 3, NUM_JOINTS), 0.02)
    sigma[..., 0] = 1.0
    assert not uncertain_joints(sigma, torch.arange(3)[None] / 30, CorrectorSettings()).any()


# ------------------------------------------------------------------------------ sampling
def test_where_nothing_is_uncertain_the_network_is_not_asked():
    arguments, denoiser = case(uncertain=()), Denoiser(zero)
    joints, mask = run(denoiser, arguments)
    assert denoiser.calls == [] and not mask.any()
    assert torch.equal(joints, arguments[0].joints)


def test_only_windows_with_uncertain_joints_are_given_to_the_network():
    arguments, denoiser = case(batch=3), Denoiser(zero)
    arguments[0].scale[[0, 2]] = CERTAIN
    joints, mask = run(denoiser, arguments)
    assert {len(x) for x, _, _ in denoiser.calls} == {1}
    assert torch.equal(joints[[0, 2]], arguments[0].joints[[0, 2]]) and not mask[[0, 2]].any()
    assert not torch.equal(joints[1], arguments[0].joints[1])


def test_at_most_ten_evaluations_a_window():
    for settings in (
        CorrectorSettings(),
        CorrectorSettings(steps=10, hypotheses=1),
        CorrectorSettings(steps=5, hypotheses=2),
    ):
        denoiser = Denoiser(zero)
        run(denoiser, case(), settings)
        assert len(denoiser.calls) == settings.steps * settings.hypotheses <= 10
    for wrong in (
        dict(steps=4, hypotheses=4),
        dict(steps=11, hypotheses=1),
        dict(steps=0),
        dict(hypotheses=0),
    ):
        with pytest.raises(ValueError, match="10 network evaluations"):
            CorrectorSettings(**wrong)


def test_joints_outside_the_mask_are_unchanged():
    arguments = case()
    joints, mask = run(Denoiser(lambda x, *_: torch.full_like(x, 2.0)), arguments)
    assert torch.equal(joints[~mask], arguments[0].joints[~mask])
    assert (joints[mask] - arguments[0].joints[mask]).norm(dim=-1).min() > 1e-3


def test_what_the_denoiser_says_of_known_joints_means_nothing():
    """It was trained on the resampled ones only: what it says of others must not reach their neighbours."""
    arguments = case()
    mask = run(Denoiser(zero), arguments)[1]
    wild = Denoiser(lambda x, level, m, c: torch.where(m[..., None], 0.0, 5.0 * torch.ones_like(x)))
    assert torch.equal(run(wild, arguments)[0], run(Denoiser(zero), arguments)[0]) and mask.any()


def test_known_joints_are_noised_anew_to_every_level():
    arguments = case(batch=4, frames=60)
    denoiser = Denoiser(zero)
    run(denoiser, arguments, CorrectorSettings(steps=5, hypotheses=1, start=0.9))
    bar = alpha_bar("cosine")
    levels = [int(level[0]) for _, level, _ in denoiser.calls]
    assert levels[0] == 899 and levels[-1] == 0 and len(set(levels)) == 5
    known = ~denoiser.calls[0][2]
    seen = [
        x[known] for x, _, _ in denoiser.calls
    ]  # TGT's own pose is residual zero, so they are noise alone
    for x, level in zip(seen, levels):
        assert float(x.std()) == pytest.approx(float(1 - bar[level]) ** 0.5, rel=0.02)
        assert abs(float(x.mean())) < 0.02
    for a, b in zip(seen, seen[1:]):  # fresh noise, not the same scaled
        assert abs(float((a * b).mean() / (a.std() * b.std()))) < 0.03


@pytest.mark.parametrize("method", ["ddim", "ddpm"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "sqrt"])
def test_a_perfect_denoiser_brings_the_pose_to_the_truth(method, schedule):
    arguments = case()
    truth = arguments[3]
    before = (arguments[0].joints - truth).norm(dim=-1)
    assert float(before[:, :, J["l_elbow"]].mean()) > 0.1
    joints, mask = run(
        Denoiser(perfect(truth)), arguments, CorrectorSettings(method=method, schedule=schedule)
    )
    assert float((joints - truth)[mask].norm(dim=-1).max()) < 1e-4


def test_guidance_alone_brings_a_wrong_joint_nearer_to_the_evidence():
    arguments = case(error=0.05)
    truth, elbow = arguments[3], J["l_elbow"]

    def plane_error(settings):
        joints = run(Denoiser(zero), arguments, settings)[0]
        return float((joints - truth)[:, :, elbow, :2].norm(dim=-1).mean())

    unguided = plane_error(CorrectorSettings(guided_steps=0))
    assert plane_error(CorrectorSettings()) < 0.9 * unguided


def test_hypotheses_that_fit_the_image_count_more():
    """One hypothesis is right, the others 20 cm off in the image plane: the mean follows the right one."""
    arguments = case(error=0.0)
    calls = iter([0.0, 3.0, -3.0])
    off = Denoiser(lambda x, *_: torch.full_like(x, next(calls)))
    settings = CorrectorSettings(steps=1, hypotheses=3, guidance=UNGUIDED)
    joints, mask = run(off, arguments, settings)
    assert float((joints - arguments[3])[mask][..., :2].norm(dim=-1).mean()) < 0.02
    calls = iter([0.0, 3.0, 3.0])
    blind = CorrectorSettings(steps=1, hypotheses=3, guidance=UNGUIDED, sharpness=0.0)
    joints, mask = run(off, arguments, blind)
    gap = (joints - arguments[3])[:, :, J["l_elbow"]]
    torch.testing.assert_close(
        gap, torch.full_like(gap, 3 * UNCERTAIN * 2 / 3), atol=1e-4, rtol=0
    )  # a plain mean


def test_the_same_seed_gives_the_same_poses():
    arguments = case()
    noisy = Denoiser(lambda x, *_: 0.3 * x)
    one, two, other = (run(noisy, arguments, seed=s)[0] for s in (4, 4, 5))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_a_calibrated_scale_chooses_the_joints():
    arguments, denoiser = case(), Denoiser(zero)
    _, mask = run(denoiser, arguments, scale=arguments[0].scale * 0.1)
    assert not mask.any() and denoiser.calls == []
