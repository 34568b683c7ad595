"""The training loop: schedule, checkpoints, exact resume, agreement of several processes."""

import io
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from gentg_blender.core.contract import GentgError
from inference_backend.training import builders, train_tgt
from inference_backend.training.config import OptimConfig, TrainConfig, to_dict
from inference_backend.training.runner import Runner

ROOT = Path(__file__).resolve().parents[2]


def regression(tmp_path, **optim) -> Runner:
    """Fits a line: three numbers, so that every step can be followed."""
    torch.manual_seed(0)
    model, g = nn.Linear(2, 1), torch.Generator().manual_seed(0)
    config = TrainConfig(name="line", out=str(tmp_path), device="cpu")
    settings = dict(steps=100, warmup=0.1, precision="fp32", learning_rate=0.05, log_steps=1, ema=0.9) | optim
    config.optim = OptimConfig(**settings)

    def draw_loss(network, progress):
        x = torch.randn(16, 2, generator=g)
        loss = (network(x)[:, 0] - (2 * x[:, 0] - x[:, 1] + 0.5)).square().mean()
        return loss, {"squares": loss}

    return Runner(config, model, draw_loss, [g])


def test_learning_rate_warms_up_and_falls_along_a_cosine(tmp_path):
    runner = regression(tmp_path, steps=1000, warmup=0.1, learning_rate=2e-3, final_learning_rate=0.01)
    rates = {}
    for step in (0, 1, 50, 99, 100, 550, 1000):
        runner.step = step
        rates[step] = runner.learning_rate()
    assert rates[0] == rates[1] == pytest.approx(2e-3 * 0.001 / 0.1)
    assert rates[50] == pytest.approx(1e-3) and rates[99] == pytest.approx(2e-3 * 0.99)
    assert rates[100] == pytest.approx(2e-3)
    assert rates[550] == pytest.approx(2e-3 * (0.01 + 0.99 * 0.5))
    assert rates[1000] == pytest.approx(2e-5)
    runner.step = 325  # a quarter of the cosine
    assert runner.learning_rate() == pytest.approx(2e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 4))))


def test_the_clock_leads_when_it_is_further_on(tmp_path):
    runner = regression(tmp_path, steps=1000, minutes=2.0)
    runner.step, runner.seconds = 100, 60.0
    assert runner.progress() == 0.5
    runner.step, runner.seconds = 900, 60.0
    assert runner.progress() == 0.9
    runner.seconds = 500.0
    assert runner.progress() == 1.0


def test_processor_time_counts_no_waiting(tmp_path):
    spent = {}
    for clock in ("wall", "cpu"):
        runner = regression(tmp_path / clock, steps=20, clock=clock)
        draw = runner.draw_loss
        runner.draw_loss = lambda *a, draw=draw: (time.sleep(0.02), draw(*a))[1]
        runner.run(io.StringIO())
        spent[clock] = runner.seconds
    assert spent["wall"] > 0.4 > spent["cpu"] > 0.0


def test_a_run_reaches_its_end_and_leaves_checkpoint_and_log(tmp_path):
    runner = regression(tmp_path, steps=200)
    runner.run()
    assert runner.step == 200
    torch.testing.assert_close(runner.ema.weight.data, torch.tensor([[2.0, -1.0]]), atol=0.05, rtol=0)
    assert runner.checkpoint.is_file() and list((tmp_path / "line" / "tensorboard").iterdir())
    assert [p.name for p in runner.folder.iterdir() if p.name.startswith(".")] == []


def test_averaged_weights_follow_their_recurrence(tmp_path):
    runner = regression(tmp_path, ema=0.9)
    slow = runner.model.weight.detach().clone()
    for step in range(1, 31):
        runner.train_step()
        decay = min(0.9, (1 + step) / (10 + step))
        slow = decay * slow + (1 - decay) * runner.model.weight.detach()
    torch.testing.assert_close(runner.ema.weight, slow)


def test_a_batch_that_explodes_does_not_poison_the_weights(tmp_path):
    runner = regression(tmp_path)
    before = runner.model.weight.detach().clone()
    runner.draw_loss = lambda network, progress: (network.weight.sum() * float("inf"), {})
    runner.train_step()
    assert torch.equal(runner.model.weight, before) and torch.isfinite(runner.ema.weight).all()


def test_gradients_are_clipped(tmp_path):
    runner = regression(tmp_path, clip_gradient=0.5)
    runner.draw_loss = lambda network, progress: (1e4 * network.weight.sum(), {})
    runner.train_step()
    norm = math.sqrt(
        sum(float(p.grad.square().sum()) for p in runner.model.parameters() if p.grad is not None)
    )
    assert norm == pytest.approx(0.5, rel=1e-4)


def weights_of(runner: Runner) -> dict[str, torch.Tensor]:
    return {
        k: v.clone()
        for k, v in (
            *runner.model.state_dict().items(),
            *((f"ema.{k}", v) for k, v in runner.ema.state_dict().items()),
        )
    }


@pytest.mark.parametrize(
    "kind, baseline, optimizer",
    [("tgt", "", "adamw"), ("tgt", "", "muon"), ("baseline", "martinez", "adamw")],
)
def test_resuming_is_bit_exact(tiny, tmp_path, kind, baseline, optimizer):
    """Five steps in one go, or three, a checkpoint, other random numbers, and two by a new runner."""
    tiny.kind, tiny.baseline, tiny.optim.optimizer = kind, baseline, optimizer
    whole = builders.build(tiny)
    whole.folder = tmp_path / "whole"
    for _ in range(5):
        whole.train_step()

    first = builders.build(tiny)
    assert first.step == 0
    for _ in range(3):
        first.train_step()
    first.save()
    torch.rand(100)
    second = builders.build(tiny)
    assert second.step == 3
    for _ in range(2):
        second.train_step()
    want, got = weights_of(whole), weights_of(second)
    assert want.keys() == got.keys() and all(torch.equal(want[k], got[k]) for k in want)
    assert any(not torch.equal(got[k], v) for k, v in weights_of(first).items())


def test_a_checkpoint_of_another_network_and_a_damaged_one_are_named(tiny):
    runner = train_tgt.build(tiny)
    runner.save()
    tiny.tgt.d_time = 16
    with pytest.raises(GentgError) as caught:
        train_tgt.build(tiny)
    assert caught.value.code == "bad_request" and caught.value.file == str(runner.checkpoint)
    for content in (b"", b"nonsense", runner.checkpoint.read_bytes()[:5000]):
        runner.checkpoint.write_bytes(content)
        with pytest.raises(GentgError) as caught:
            runner.resume()
        assert caught.value.file == str(runner.checkpoint)


def test_a_checkpoint_of_another_optimiser_is_refused(tiny):
    train_tgt.build(tiny).save()
    tiny.optim.optimizer = "muon"
    with pytest.raises(GentgError, match="another optimiser"):
        train_tgt.build(tiny)


def test_muon_turns_hidden_matrices_by_steps_of_adams_size(tiny):
    """Its steps spread over many directions alike. What AdamW keeps moves as with AdamW alone."""
    moved = {}
    for name in ("adamw", "muon"):
        tiny.optim.optimizer, tiny.optim.weight_decay = name, 0.0
        tiny.optim.batch = 32  # fewer clips give a gradient of few directions
        runner = train_tgt.build(tiny)
        runner.learning_rate = lambda: 1e-3
        before = {k: v.detach().clone() for k, v in runner.model.named_parameters()}
        runner.train_step()
        moved[name] = {k: v.detach().clone() - before[k] for k, v in runner.model.named_parameters()}
    hidden = [k for k in moved["muon"] if k.startswith("time.") and k.endswith("mlp.up.weight")]
    assert hidden
    for key in hidden:
        rank = {
            n: float((m[key].norm() / torch.linalg.matrix_norm(m[key], 2)) ** 2) for n, m in moved.items()
        }
        assert rank["muon"] > 3 * rank["adamw"]
        rms = moved["muon"][key].square().mean().sqrt()
        assert 0.5 * 0.2e-3 < float(rms) < 1.5 * 0.2e-3
    for key in ("root_head.weight", "point_in.weight", "token_embedding"):
        assert torch.equal(moved["muon"][key], moved["adamw"][key])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_lowers_the_loss(tiny, optimizer):
    tiny.optim.steps, tiny.optim.optimizer = 120, optimizer
    runner = train_tgt.build(tiny)
    losses = [runner.train_step() for _ in range(120)]
    first, last = (sum(s["position"] for s in part) / 15 for part in (losses[:15], losses[-15:]))
    assert last < 0.6 * first
    figures = runner.validate(runner.ema)
    assert 20 < figures["mpjpe_mm"] < 400 and 0 < figures["gravity_deg"] < 60


def test_mixed_precision_trains_too(tiny):
    tiny.optim.precision = "bf16"
    runner = train_tgt.build(tiny)
    losses = [runner.train_step()["loss"] for _ in range(40)]
    assert all(math.isfinite(v) for v in losses) and sum(losses[-8:]) < sum(losses[:8])
    assert next(runner.model.parameters()).dtype == torch.float32


def test_the_profiler_tells_the_costliest_operations(tiny):
    assert "addmm" in builders.profile(train_tgt.build(tiny), steps=1)


PROCESS = """
import sys, torch, hashlib
torch.set_num_threads(1)
from inference_backend.training.config import load_config
from inference_backend.training import builders
runner = builders.build(load_config(sys.argv[1]))
drawn = hashlib.sha256()
inner = runner.draw_loss
def draw_loss(network, progress):
    drawn.update(bytes(runner.random[0].get_state()[:64].tolist()))
    return inner(network, progress)
runner.draw_loss = draw_loss
for _ in range(2):
    runner.train_step()
weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in runner.model.parameters()))
print(drawn.hexdigest(), weights.hexdigest(), runner._agreed(float(runner.rank)), runner.frames)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_several_processes_draw_their_own_data_and_keep_the_same_weights(tiny, trained_tgt, tmp_path):
    """Also for GPC, whose loss calls a part of the model outside of its forward."""
    tiny.kind, tiny.tgt_weights = "gpc", str(trained_tgt)
    tables = to_dict(tiny)
    tables["generator"]["focal_mm"] = list(tables["generator"]["focal_mm"])
    tables["generator"]["person_fraction"] = list(tables["generator"]["person_fraction"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tables), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "run.yaml")]
    ranks = [
        subprocess.Popen(
            command,
            env=os.environ | there | {"RANK": str(r), "LOCAL_RANK": str(r)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(2)
    ]
    said = [p.communicate(timeout=240) for p in ranks]
    assert all(p.returncode == 0 for p in ranks), said
    (drawn0, weights0, late0, frames0), (drawn1, weights1, late1, frames1) = (out.split() for out, _ in said)
    assert drawn0 != drawn1 and weights0 == weights1
    assert late0 == late1 == "1.0"  # the longest time of both
    assert int(frames0) == int(frames1) == 2 * 2 * tiny.optim.batch * tiny.generator.frames
