"""Training of TGT, GPC, both end to end and a baseline, in small; and what is shipped of a run."""

import json
import math

import pytest
import torch

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_MIRROR
from inference_backend.diffusion.schedules import alpha_bar
from inference_backend.lifting import weights
from inference_backend.lifting.weights import load_weights, save_weights, sha256_of
from inference_backend.networks.normalise import normalise
from inference_backend.networks.tgt import FAMILIES, TGT
from inference_backend.training import builders, ship, train_gpc
from inference_backend.training.config import DataConfig
from inference_backend.training.motion import read_motion
from inference_backend.training.setup import fixed_batches, split
from inference_backend.training.train_tgt import family_for, mean_lengths


@pytest.fixture
def small_tgt(tiny, trained_tgt):
    """A TGT to correct, as a file that `tiny` starts from."""
    tiny.tgt_weights = str(trained_tgt)
    return trained_tgt


def steps(runner, count: int) -> list[dict[str, float]]:
    return [runner.train_step() for _ in range(count)]


def mean(values, name: str) -> float:
    return sum(v[name] for v in values) / len(values)


# ------------------------------------------------------------------------------ data
def test_held_out_subjects_and_clips_are_kept_out(clips):
    config = DataConfig(held_out_subjects=["made_3"], held_out_clips=["made_1_1"])
    train, test = split(clips, config)
    assert [c.clip_id for c in train] == ["made_1_0", "made_2_0", "made_2_1"]
    assert [c.clip_id for c in test] == ["made_3_0", "made_3_1"]


def test_mean_lengths_are_a_persons(clips):
    lengths = mean_lengths(clips)
    assert lengths[0] == 0 and torch.allclose(lengths, lengths[JOINT_MIRROR])
    assert 0.35 < lengths[26] < 0.5 and (lengths[1:] > 0.02).all()


def test_detectors_are_hidden_from_some_clips(clips):
    class Drawn:
        family = torch.full((4000,), 2)

    family = family_for(Drawn, torch.Generator().manual_seed(0))
    assert set(family.tolist()) == {2, len(FAMILIES)}
    assert float((family == len(FAMILIES)).float().mean()) == pytest.approx(0.15, abs=0.03)


# ------------------------------------------------------------------------------ GPC
def test_masks_take_everything_the_least_certain_or_limbs_for_a_while():
    g = torch.Generator().manual_seed(0)
    sigma = torch.rand(300, 20, 35, generator=g)
    mask = train_gpc.random_masks(sigma, g)
    assert not mask[..., 0].any()
    share = mask[..., 1:].float().mean((1, 2))
    full = share == 1
    assert float(full.float().mean()) == pytest.approx(0.3, abs=0.1)
    uncertain = [
        i
        for i in range(300)
        if not full[i]
        and mask[i].any()
        and sigma[i][..., 1:][mask[i][..., 1:]].min() > sigma[i][..., 1:][~mask[i][..., 1:]].max()
    ]
    assert 70 < len(uncertain) < 170
    limbs = [i for i in range(300) if not full[i] and i not in uncertain and mask[i].any()]
    for i in limbs:
        rows = mask[i].any(-1).nonzero()[:, 0]
        assert rows[-1] - rows[0] + 1 == len(rows)  # one interval
        assert (mask[i][rows] == mask[i][rows[0]]).all()  # of the same joints


def test_gpc_learns_and_leaves_the_frozen_tgt_alone(tiny, small_tgt):
    tiny.kind = "gpc"
    runner = builders.build(tiny)
    before = {k: v.clone() for k, v in runner.model.tgt.state_dict().items()}
    done = steps(runner, 100)
    assert all(torch.equal(v, before[k]) for k, v in runner.model.tgt.state_dict().items())
    assert mean(done[-20:], "denoising") < 0.9 * mean(done[:20], "denoising")
    assert all(math.isfinite(d["loss"]) for d in done)
    figures = runner.validate(runner.ema)
    assert figures["regression_mm"] < figures["tgt_mm"]  # a single regression step already helps


def test_gpc_resumes_bit_exactly(tiny, small_tgt):
    tiny.kind = "gpc"
    whole = builders.build(tiny)
    steps(whole, 4)
    first = builders.build(tiny)
    steps(first, 2)
    first.save()
    second = builders.build(tiny)
    assert second.step == 2
    steps(second, 2)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_an_all_knowing_gpc_has_no_denoising_loss(tiny, small_tgt, clips):
    """With the answer given, what is left is only what lies beyond the clip of the residuals."""
    tiny.kind = "gpc"
    runner = builders.build(tiny)
    g = torch.Generator().manual_seed(0)
    batch = fixed_batches(clips, tiny.generator, torch.device("cpu"), 1, 0)[0]
    x = normalise(batch.points, batch.confidence, batch.times)
    with torch.no_grad():
        out = runner.model(x, batch.times, batch.family)
        out.scale[:] = 0.5  # wide enough that no residual is clipped
        joints = train_gpc.truth_in_virtual_camera(batch, x)[0]

        def oracle(noisy, level, mask, condition):
            return (joints - condition.joints) / condition.scale3()

        _, terms = train_gpc.gpc_loss(oracle, out, batch, x, alpha_bar("cosine").float(), g)
        assert float(terms["denoising"]) < 1e-6 and float(terms["position"]) < 1e-5
        _, terms = train_gpc.gpc_loss(
            lambda n, *_: torch.zeros_like(n), out, batch, x, alpha_bar("cosine").float(), g
        )
    assert float(terms["denoising"]) > 1e-3 and float(terms["position"]) > 0.02


def test_end_to_end_gpcs_loss_never_pulls_on_tgt(tiny, small_tgt):
    tiny.kind = "e2e"
    tiny.tgt.d_time = 64  # the configuration is wrong about the sizes; the weights know them
    runner = builders.build(tiny)
    assert tiny.tgt.d_time == tiny.gpc.d_tgt == 32
    model = runner.model
    batch = fixed_batches(read_motion(tiny.data.motion), tiny.generator, torch.device("cpu"), 1, 0)[0]
    x = normalise(batch.points, batch.confidence, batch.times)
    out = model(x, batch.times, batch.family)
    loss, _ = train_gpc.gpc_loss(
        model.gpc, out, batch, x, alpha_bar("cosine").float(), torch.Generator().manual_seed(0)
    )
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.tgt.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.gpc.parameters())
    before = [p.detach().clone() for p in (model.tgt.point_in.weight, model.gpc.joints_out.weight)]
    done = steps(runner, 3)
    assert {"denoising", "tgt_position"} <= done[0].keys()
    assert not torch.equal(before[0], model.tgt.point_in.weight)
    assert not torch.equal(before[1], model.gpc.joints_out.weight)


def test_a_gpc_of_another_tgts_width_is_refused(tiny, small_tgt, tmp_path):
    from inference_backend.networks.gpc import GPC, GPCConfig

    path = tmp_path / "gpc.safetensors"
    save_weights(path, "gpc", GPC(GPCConfig(d_time=32, time_heads=2, time_layers=1, d_tgt=48)), {})
    tiny.kind, tiny.gpc_weights = "e2e", str(path)
    with pytest.raises(GentgError, match="48") as caught:
        builders.build(tiny)
    assert caught.value.code == "bad_weights" and caught.value.file == str(path)


# ------------------------------------------------------------------------------ baselines
def test_martinez_learns(tiny):
    tiny.kind, tiny.baseline, tiny.optim.learning_rate = "baseline", "martinez", 1e-3
    runner = builders.build(tiny)
    done = steps(runner, 40)
    assert mean(done[-8:], "position") < 0.7 * mean(done[:8], "position")


def test_an_unknown_baseline_is_refused(tiny):
    tiny.kind, tiny.baseline = "baseline", "pose_magic"
    with pytest.raises(GentgError, match="pose_magic"):
        builders.build(tiny)


# ------------------------------------------------------------------------------ shipping
def test_what_is_shipped_is_loaded(tiny, small_tgt, tmp_path, monkeypatch):
    tiny.kind, tiny.optim.steps = "e2e", 3
    runner = builders.build(tiny)
    steps(runner, 3)
    runner.save()
    folder = tmp_path / "shipped"
    hashes = ship.ship(runner.folder, folder, tiny.data.motion)
    assert set(hashes) == {"tgt", "gpc"}
    monkeypatch.setattr(weights, "FOLDER", folder)
    for kind in ("tgt", "gpc"):
        loaded = load_weights(kind)
        assert loaded.sha256 == hashes[kind] == sha256_of(folder / f"{kind}.safetensors")
        assert loaded.info["steps"] == 3 and loaded.info["held_out_subjects"] == ["made_3"]
        slow = getattr(runner.ema, kind).state_dict()
        for name, value in loaded.model.state_dict().items():
            if name in slow:
                torch.testing.assert_close(value, slow[name], rtol=1e-3, atol=1e-5)
    factors = load_weights("tgt").info["calibration"]
    assert len(factors) == 2 and all(0.1 < f < 20 for f in factors)
    assert set(json.loads((folder / "manifest.json").read_text())) == {"tgt.safetensors", "gpc.safetensors"}


def test_calibration_finds_the_factor_that_was_put_in(tiny, small_tgt):
    """Halving every scale doubles the factors."""
    model = load_weights("tgt", path=small_tgt).model
    data = DataConfig(held_out_subjects=["made_3"])
    one = ship.calibrate(model, tiny.data.motion, data, batches=2)

    class Halved(TGT):
        def forward(self, *args):
            out = super().forward(*args)
            out.scale = out.scale / 2
            return out

    half = Halved(model.config)
    half.load_state_dict(model.state_dict())
    two = ship.calibrate(half.eval(), tiny.data.motion, data, batches=2)
    assert two == pytest.approx([2 * f for f in one], rel=1e-3)


def test_runs_that_cannot_be_shipped_say_why(tiny, tmp_path):
    with pytest.raises(GentgError, match="no checkpoint"):
        ship.ship(tmp_path / "nowhere", tmp_path, tiny.data.motion)
    tiny.kind, tiny.baseline = "baseline", "martinez"
    runner = builders.build(tiny)
    runner.save()
    with pytest.raises(GentgError, match="baseline"):
        ship.ship(runner.folder, tmp_path, tiny.data.motion)
    tiny.kind, tiny.name, tiny.data.held_out_subjects = "tgt", "all", ["nobody"]
    runner = builders.build(tiny)
    runner.save()
    with pytest.raises(GentgError, match="nobody"):
        ship.ship(runner.folder, tmp_path, tiny.data.motion)
