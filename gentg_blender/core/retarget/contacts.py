"""Foot contacts: which stretches they last, and finding them in motions that come without any."""

from __future__ import annotations

import numpy as np

from ..rotations import quat_conjugate, quat_multiply, quat_rotate
from .body import SourceMotion


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Stretches [start, stop) of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def detect_contacts(source: SourceMotion, speed: float = 0.25, height: float = 0.06) -> np.ndarray:
    """Contacts (T, 4) in skeleton.FEET's order for motions that come without any.

    A heel or ball is down while it is slower than `speed` (m/s for a leg of 0.9 m) and lower than
    `height` above where the rest pose stands; it goes on until it exceeds twice either.
    """
    body = source.body
    out = np.zeros((len(source), 4), bool)
    size = max(body.leg_length, 1e-6) / 0.9
    floor = body.origin[2] + body.floor
    for n, side in enumerate((".L", ".R")):
        if "foot" + side not in body.chains:
            continue
        for p, point in enumerate(sole_points(source, side)):
            if len(source) > 1:
                pace = np.linalg.norm(np.gradient(point, source.times, axis=0), axis=-1)
            else:
                pace = np.zeros(1)
            above = point[:, 2] - floor
            out[:, 2 * n + p] = _hysteresis(
                (pace < speed * size) & (above < height * size),
                (pace < 2 * speed * size) & (above < 2 * height * size),
            )
    return out


def sole_points(source: SourceMotion, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Posed heel and ball (T, 3) of one foot, in the world."""
    i = source.body.chains["foot" + side][0]
    turn = quat_multiply(source.rotation[:, i], quat_conjugate(source.body.rotation[i]))
    heel, ball = (source.head[:, i] + quat_rotate(turn, offset) for offset in source.body.sole(side))
    return heel, ball


def _hysteresis(enter: np.ndarray, stay: np.ndarray) -> np.ndarray:
    out = np.zeros(len(enter), bool)
    for a, b in runs(stay):
        if enter[a:b].any():
            out[a:b] = True
    return out
