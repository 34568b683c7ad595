"""The training loop that every kind of network shares: schedule, EMA, precision, checkpoints, logging."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import torch
from torch import nn
from tqdm import tqdm

from gentg_blender.core.contract import GentgError, atomic_file
from inference_backend.training.config import TrainConfig, to_dict
from inference_backend.training.optimizer import Optimizer

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


def pick_device(name: str) -> torch.device:
    """auto: this process's CUDA device, else Apple's, else the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class Runner:
    """Trains `model` on what `draw_loss(model, progress)` returns. Resumes exactly from its checkpoint.

    `random` are the torch.Generators whose states belong to the run; `validate(ema_model) -> dict`
    gives figures to log. With torchrun every process draws its own data and gradients are averaged.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        draw_loss: Callable[[nn.Module, float], Loss],
        random: list[torch.Generator],
        validate: Callable[[nn.Module], dict[str, float]] | None = None,
    ):
        self.config, self.model, self.draw_loss = config, model, draw_loss
        self.validate = validate if config.optim.validate_steps else None
        self.random, self.device = random, next(model.parameters()).device
        self.folder = Path(config.out) / config.name
        self.optimizer = Optimizer(model, config.optim)
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        self.frames = 0  # drawn so far by all processes
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        if self.world > 1:
            torch.distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            for value in model.state_dict().values():
                torch.distributed.broadcast(value, 0)
            self._reseed()

    # ------------------------------------------------------------------ schedule
    def progress(self) -> float:
        """0..1: by steps, or by time when the run is limited in minutes and that is further on."""
        o = self.config.optim
        by_time = self.seconds / (60 * o.minutes) if o.minutes else 0.0
        return min(1.0, max(self.step / o.steps, by_time))

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine down to a small share of the peak."""
        o, p = self.config.optim, self.progress()
        if p < o.warmup:
            return o.learning_rate * max(p, 1.0 / o.steps) / o.warmup
        cosine = 0.5 * (1 + math.cos(math.pi * (p - o.warmup) / (1 - o.warmup)))
        return o.learning_rate * (o.final_learning_rate + (1 - o.final_learning_rate) * cosine)

    # ------------------------------------------------------------------ running
    def run(self, stream: TextIO | None = None) -> dict[str, float]:
        """Train to the end of the schedule, with progress on `stream` (stderr). -> the last validation's figures."""
        o, stream = self.config.optim, stream or sys.stderr
        self.folder.mkdir(parents=True, exist_ok=True)
        writer = self._writer()
        clock = time.process_time if o.clock == "cpu" else time.monotonic
        bar = tqdm(
            total=o.steps, initial=self.step, desc=self.config.name, disable=self.rank > 0, file=stream,
            mininterval=5.0 if stream.isatty() else 60.0,
        )  # fmt: skip
        saved, figures = time.monotonic(), {}
        mean: dict[str, float] = {}
        while self.progress() < 1.0:
            started = clock()
            for name, value in self.train_step().items():
                mean[name] = value if name not in mean else 0.98 * mean[name] + 0.02 * value
            self.seconds = self._agreed(self.seconds + clock() - started)
            bar.update()
            if self.step % o.log_steps == 0 and writer:
                bar.set_postfix({k: f"{v:.4f}" for k, v in list(mean.items())[:3]})
                for name, value in mean.items():
                    writer.add_scalar(f"train/{name}", value, self.step)
                writer.add_scalar("train/learning_rate", self.learning_rate(), self.step)
            if self.validate and self.step % o.validate_steps == 0 and self.rank == 0:
                figures = self._validate(writer, bar)
            if time.monotonic() - saved > 60 * o.checkpoint_minutes and self.rank == 0:
                self.save()
                saved = time.monotonic()
        if self.rank == 0:
            self.save()
            if self.validate:
                figures = self._validate(writer, bar)
        bar.close()
        return figures

    def train_step(self) -> dict[str, float]:
        """One optimiser step. -> the loss and its terms."""
        o = self.config.optim
        rate = self.learning_rate()
        self.model.train()
        with self._autocast():
            loss, terms = self.draw_loss(self.model, self.progress())
        self.optimizer.zero_grad()
        loss.backward()
        self._average_gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), o.clip_gradient)
        if torch.isfinite(norm):  # one bad batch must not poison the weights
            self.optimizer.step(rate)
        self.step += 1
        self.frames += o.batch * self.config.generator.frames * self.world
        decay = min(o.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for slow, fast in zip(
                self.ema.state_dict().values(), self.model.state_dict().values(), strict=True
            ):
                slow.lerp_(fast, 1 - decay) if slow.is_floating_point() else slow.copy_(fast)
        return {"loss": float(loss.detach())} | {k: float(v.detach()) for k, v in terms.items()}

    # ------------------------------------------------------------------ several processes
    def _average_gradients(self) -> None:
        """Mean over processes, all gradients as one vector.

        Not DistributedDataParallel: it sees only what passes through one module's forward, while a
        loss here may call parts of the model on their own.
        """
        if self.world == 1:
            return
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in trained])
        torch.distributed.all_reduce(flat)
        for p, g in zip(trained, (flat / self.world).split([p.numel() for p in trained]), strict=True):
            p.grad.copy_(g.view_as(p))

    def _agreed(self, seconds: float) -> float:
        """The longest time of any process: learning rates and the end must be the same everywhere."""
        if self.world == 1:
            return seconds
        longest = torch.tensor(seconds, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(longest, torch.distributed.ReduceOp.MAX)
        return float(longest)

    def _reseed(self) -> None:
        """Other random numbers in every process but the first, which keeps its own."""
        if self.rank > 0:
            seed = (self.config.seed * 1_000_003 + self.step) * self.world + self.rank
            torch.manual_seed(seed)
            for k, g in enumerate(self.random):
                g.manual_seed(seed + 7919 * (k + 1))

    def _autocast(self):
        if self.config.optim.precision == "fp32" or self.device.type == "mps":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _validate(self, writer, bar) -> dict[str, float]:
        with torch.no_grad():
            figures = self.validate(self.ema)
        for name, value in figures.items():
            if writer:
                writer.add_scalar(f"validation/{name}", value, self.step)
        text = " ".join(f"{k}={v:.4g}" for k, v in figures.items())
        bar.write(
            f"step {self.step} frames {self.frames / 1e6:.2f}M minutes {self.seconds / 60:.1f} {text}",
            file=bar.fp,
        )
        return figures

    def _writer(self):
        if self.rank > 0:
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "tensorboard")

    # ------------------------------------------------------------------ checkpoints
    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Everything that an exact resume needs, written atomically. Raises GentgError when it cannot be."""
        state = {
            "config": to_dict(self.config), "step": self.step, "seconds": self.seconds,
            "frames": self.frames, "model": self.model.state_dict(), "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(), "random": [g.get_state() for g in self.random],
            "torch_random": torch.get_rng_state(),
        }  # fmt: skip
        if self.device.type == "cuda":
            state["cuda_random"] = torch.cuda.get_rng_state(self.device)
        with atomic_file(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def resume(self) -> bool:
        """Load the run's checkpoint if there is one -> whether there was.

        One process goes on bit for bit; of several, all but the first go on with fresh random numbers.
        Raises GentgError for a damaged checkpoint or one of a network of other sizes.
        """
        if not self.checkpoint.is_file():
            return False
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.frames = state["step"], state["seconds"], state["frames"]
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise GentgError(
                "bad_request",
                f"The run cannot go on from its checkpoint: {error}",
                file=self.checkpoint,
                hint="Give this run another name, or delete the checkpoint to start again.",
            ) from error
        for g, s in zip(self.random, state["random"], strict=True):
            g.set_state(s.cpu())
        torch.set_rng_state(state["torch_random"].cpu())
        if self.device.type == "cuda" and "cuda_random" in state:
            torch.cuda.set_rng_state(state["cuda_random"].cpu(), self.device)
        self._reseed()
        return True
