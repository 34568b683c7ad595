"""Long clips as overlapping windows, cross-faded. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Frames `start`..`stop` of a segment and the weight of each in the blend."""

    start: int
    stop: int
    weight: np.ndarray  # (stop - start,)


def windows(length: int, size: int, hop: int) -> list[Window]:
    """Cover `length` frames with windows of `size` (or one shorter one), `hop` apart.

    Weights are Hann-shaped and positive everywhere; ends of the segment keep full weight, since no
    other window knows those frames better.
    """
    if length <= size:
        return [Window(0, length, np.ones(length))]
    starts = list(range(0, length - size, hop)) + [length - size]
    shape = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 + 1e-3
    out = []
    for s in starts:
        weight = shape.copy()
        if s == 0:
            weight[: size // 2] = 1.0
        if s == length - size:
            weight[size // 2 :] = 1.0
        out.append(Window(s, s + size, weight))
    return out


def segments(seen: np.ndarray, timestamps: np.ndarray, bridge: float) -> list[slice]:
    """Runs of frames in which the person is there; gaps shorter than `bridge` seconds don't split."""
    index = np.flatnonzero(seen)
    if len(index) == 0:
        return []
    split = np.flatnonzero(
        np.diff(timestamps[index])
        > np.maximum(bridge, 1.5 * np.median(np.diff(timestamps)) if len(timestamps) > 1 else bridge)
    )
    first = np.concatenate([[index[0]], index[split + 1]])
    last = np.concatenate([index[split], [index[-1]]])
    return [slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)]
