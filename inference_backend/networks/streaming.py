"""TGT frame by frame: what earlier frames left is kept, so that a new one costs one frame's work.

The outputs are those of `TGT.forward(causal=True)` whose attention reaches `seconds` back: keys and values of
each layer of time are kept that long. Nothing else is remembered but the mean that decides the limb lengths.
"""

from __future__ import annotations

from collections import deque

import torch

from inference_backend.networks.blocks import TimeBlock, rotary_table, rotate
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGT, TGTOutput


class StreamingTGT:
    """One person's stream. `seconds` bounds how far back a frame looks, and so time and memory a frame."""

    def __init__(self, model: TGT, family: int, seconds: float):
        self.model, self.seconds = model, seconds
        device = model.mean_lengths.device
        self._family = torch.tensor([family], device=device)
        self._mean = torch.zeros(model.config.d_time, dtype=torch.float64, device=device)
        self._count = 0
        self.restart()

    def restart(self) -> None:
        """Forget the frames before (the person was away); the body's lengths stay."""
        self._times: deque[float] = deque()
        self._memory: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(self.model.time)

    @torch.no_grad()
    def step(self, x: Normalised, time: float) -> TGTOutput:
        """The newest frame, `x` of shape (1, 1, ...) from `normalise(causal=True)`, at `time` seconds.

        `time` must come after the one before. -> outputs of shape (1, 1, ...); `lengths` (1, 35) from all frames
        so far.
        """
        model, c = self.model, self.model.config
        if self._times and time <= self._times[-1]:
            raise ValueError(f"the time {time} does not come after {self._times[-1]}")
        h, f = model.encode(x, self._family)
        if c.temporal:
            self._times.append(time)
            while time - self._times[0] > self.seconds:
                self._times.popleft()
            table = None
            if c.rotary:  # relative to now: seconds since a camera was opened grow beyond float32's precision
                ago = torch.tensor([[t - time for t in self._times]], dtype=torch.float32, device=f.device)
                table = rotary_table(ago, c.d_time // c.time_heads)
            for layer, block in enumerate(model.time):
                f = self._attend(layer, block, f, table)
        f = model.time_norm(f)
        self._count += 1
        self._mean += (f[0, 0].double() - self._mean) / self._count
        return model.decode(h, f, x, self._mean[None].to(f.dtype))

    def _attend(self, layer: int, block: TimeBlock, f: torch.Tensor, table) -> torch.Tensor:
        """`TimeBlock.forward` for one frame (1, 1, d_time) over the kept keys and values and its own."""
        q, k, v = block.attention.project(block.norm1(f))
        kept = self._memory[layer]
        if kept is not None:
            k, v = torch.cat([kept[0], k], 2), torch.cat([kept[1], v], 2)
        k, v = k[:, :, -len(self._times) :], v[:, :, -len(self._times) :]
        self._memory[layer] = k, v
        if table is not None:  # the query stands at zero seconds, where rotation changes nothing
            k = rotate(k, *table)
        f = f + block.attention.attend(q, k, v)
        return f + block.mlp(block.norm2(f))
