"""What a network costs: multiply-adds and milliseconds per frame, measured one beside the other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gentg_blender.core.skeleton import FEET, NUM_JOINTS
from inference_backend.evaluation.candidates import Candidate
from inference_backend.networks.tgt import BLAZEPOSE
from inference_backend.training.generator import Batch

WINDOW = 81  # frames
OVERLAP = 0.5  # share of a window that its neighbours cover again, as in lifting at balanced quality


@dataclass(frozen=True)
class Cost:
    """Of one network on one window of one person, batch 1."""

    parameters: int
    macs: float  # multiply-adds of matrix products and convolutions, a frame of one window
    ms: float  # median wall time, a frame of one window
    ms_overlapped: float  # the same where windows overlap by OVERLAP


def any_window(frames: int = WINDOW) -> Batch:
    """One person's window to measure on: points that wander about. What is seen does not change the cost."""
    g = torch.Generator().manual_seed(0)
    xyz = 0.4 * torch.randn(1, 1, NUM_JOINTS, 3, generator=g)
    xyz = xyz + 0.02 * torch.randn(1, frames, NUM_JOINTS, 3, generator=g).cumsum(1)
    xyz = xyz + torch.tensor([0.0, 0.0, 4.0])
    times = torch.arange(frames)[None] / 30.0
    return Batch(xyz[..., :2] / xyz[..., 2:], torch.full((1, frames, NUM_JOINTS), 0.9), times,
                 torch.tensor([BLAZEPOSE]), xyz, torch.zeros(1, frames, 3),
                 torch.zeros(1, frames, len(FEET)), torch.zeros(1, NUM_JOINTS), torch.ones(1))  # fmt: skip


@torch.no_grad()
def macs(predict: Callable[[Batch], torch.Tensor], batch: Batch) -> float:
    """Multiply-adds of `predict(batch)`, counted as PyTorch runs it (half of its floating-point operations).

    Attention runs unfused meanwhile, or its products would not be seen.
    """
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        predict(batch)
    return counter.get_total_flops() / 2


@torch.no_grad()
def measure(candidates: list[Candidate], batch: Batch, runs: int) -> dict[str, Cost]:
    """Label -> cost on `batch` (one clip). One round in which all warm up, then `runs` rounds of all in turn,
    so that whatever else the machine does meets everybody; medians. PyTorch's threads as they are set."""
    if runs < 1 or len(batch.times) != 1:
        raise ValueError("at least one run, on a batch of one clip")
    frames = batch.times.shape[1]
    seconds: dict[str, list[float]] = {c.label: [] for c in candidates}
    for _ in range(runs + 1):
        for c in candidates:
            start = time.perf_counter()
            (c.timed or c.predict)(batch)
            seconds[c.label].append(time.perf_counter() - start)
    out = {}
    for c in candidates:
        ms = 1e3 * statistics.median(seconds[c.label][1:]) / frames
        out[c.label] = Cost(
            c.parameters, macs(c.timed or c.predict, batch) / frames, ms, ms / (1.0 - OVERLAP)
        )
    return out


def cost_lines(costs: dict[str, Cost]) -> list[str]:
    """Aligned text for a terminal, one line a network under a heading."""
    wide = max(map(len, costs))
    lines = [f"  {'':<{wide}}  M parameters  M MACs/frame  ms/frame  overlapped"]
    for label, c in costs.items():
        lines.append(
            f"  {label:<{wide}} {c.parameters / 1e6:13.2f} {c.macs / 1e6:13.1f} {c.ms:9.2f} {c.ms_overlapped:11.2f}"
        )
    return lines
