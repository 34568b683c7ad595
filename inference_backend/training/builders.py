"""Which builder makes the runner of each kind of training."""

from __future__ import annotations

from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

from inference_backend.training import train_baseline, train_gpc, train_tgt
from inference_backend.training.config import TrainConfig
from inference_backend.training.runner import Runner

_BUILDERS = {
    "tgt": train_tgt.build,
    "gpc": train_gpc.build,
    "e2e": train_gpc.build,
    "baseline": train_baseline.build,
}


def build(config: TrainConfig) -> Runner:
    """The runner of `config.kind`."""
    return _BUILDERS[config.kind](config)


def profile(runner: Runner, steps: int = 5) -> str:
    """PyTorch's table of the costliest operations over `steps` training steps."""
    runner.train_step()
    with torch_profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            runner.train_step()
    return profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
