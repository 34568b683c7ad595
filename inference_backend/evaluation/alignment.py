"""Best rigid and similarity alignments between two sets of points (Umeyama 1991), batched."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Similarity(NamedTuple):
    """target ~ scale * rotation @ source + translation; leading axes are batch axes."""

    scale: np.ndarray  # (...,)
    rotation: np.ndarray  # (..., 3, 3), proper: determinant +1
    translation: np.ndarray  # (..., 3)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., N, 3) -> (..., N, 3)."""
        moved = self.scale[..., None, None] * (points @ np.swapaxes(self.rotation, -1, -2))
        return moved + self.translation[..., None, :]


def align(
    source: np.ndarray, target: np.ndarray, *, scale: bool = True, translate: bool = True
) -> Similarity:
    """The transform of `source` (..., N, 3) that brings it closest to `target` in the least squares sense.

    Never a reflection: where the optimum is one, the axis of least correlation is flipped back
    (Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991, eq. 39-43). `scale=False` keeps sizes, `translate=False` keeps the origin.
    A source whose points coincide gets scale 1.
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    if source.shape != target.shape or source.shape[-1] != 3:
        raise ValueError(f"points of shape {source.shape} and {target.shape} do not pair up")
    zero = np.zeros(source.shape[:-2] + (1, 3))
    mean_s = source.mean(-2, keepdims=True) if translate else zero
    mean_t = target.mean(-2, keepdims=True) if translate else zero
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(np.swapaxes(t, -1, -2) @ s)
    sign = np.ones_like(d)
    sign[..., 2] = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    rotation = (u * sign[..., None, :]) @ vt
    size = (s**2).sum((-1, -2))
    factor = (d * sign).sum(-1) / np.where(size > 0, size, 1.0) if scale else np.ones_like(size)
    factor = np.where(size > 0, factor, 1.0)
    translation = mean_t[..., 0, :] - factor[..., None] * (rotation @ np.swapaxes(mean_s, -1, -2))[..., 0]
    return Similarity(factor, rotation, translation)
