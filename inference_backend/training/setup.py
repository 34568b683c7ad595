"""What every kind of training begins with: threads, seed, device, the split of the motion, the generator."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

from inference_backend.training.config import DataConfig, GeneratorConfig, TrainConfig, as_recorded
from inference_backend.training.generator import Batch, Generator
from inference_backend.training.motion import MotionClip, read_motion
from inference_backend.training.runner import pick_device

VALIDATION_BATCHES, VALIDATION_SIZE = 4, 32


@dataclass
class Setup:
    """A training's device, clips and generator."""

    config: TrainConfig
    device: torch.device
    train: list[MotionClip]
    test: list[MotionClip]  # held-out subjects; may be none
    generator: Generator
    _held_out: list[Batch] = field(default_factory=list)

    def held_out(self, seed: int) -> list[Batch]:
        """The same held-out batches every time, made when they are first asked for."""
        if not self._held_out:
            self._held_out += fixed_batches(
                self.test, as_recorded(self.config.generator), self.device, VALIDATION_BATCHES, seed
            )
        return self._held_out


def begin(config: TrainConfig, generator_seed: int) -> Setup:
    """To be called before a network is made, whose random weights come from `config.seed`. Raises GentgError."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = pick_device(config.device)
    train, test = split(motion_of(config.data.motion), config.data)
    return Setup(config, device, train, test, Generator(train, config.generator, device, generator_seed))


def split(clips: list[MotionClip], config: DataConfig) -> tuple[list[MotionClip], list[MotionClip]]:
    """Training and held-out clips; held-out subjects are wholly kept out."""
    test = [c for c in clips if c.subject in config.held_out_subjects]
    train = [
        c
        for c in clips
        if c.subject not in config.held_out_subjects and c.clip_id not in config.held_out_clips
    ]
    return train, test


def motion_of(path: str | Path) -> list[MotionClip]:
    """`read_motion`, but the last file read is kept: many runs in a row use the same one."""
    file = Path(path)
    if not file.is_file():
        return read_motion(file)  # says what is wrong
    return list(_kept(file.resolve(), file.stat().st_mtime_ns))


@lru_cache(maxsize=1)
def _kept(path: Path, _changed: int) -> tuple[MotionClip, ...]:
    return tuple(read_motion(path))


def fixed_batches(
    clips: list[MotionClip], config: GeneratorConfig, device: torch.device, count: int, seed: int
) -> list[Batch]:
    """The same batches every time."""
    generator = Generator(clips, config, device, seed)
    return [generator.batch(VALIDATION_SIZE) for _ in range(count)]
