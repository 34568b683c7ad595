"""A second model of 2D detectors, for evaluation only: nothing is trained on it.

It is built unlike `training/noise.py` in every part, so that figures on it tell how the networks do on
errors that they have not learned:

| part | training | here |
|---|---|---|
| error over time | Gaussian kernel over white noise, log-normal envelope | AR(1) driven by Student-t steps (5 degrees) |
| size by joint | table measured on one detector | 1 % of body height, grown along the limbs |
| definition bias | measured table in body axes, plus normal | uniform in a disc, fixed to the image |
| hiding | capsules of the body; limbs for a while | boxes that drift across the person |
| hidden points | guesses that stray as a chain, or missing | dragged towards the box's edge, or missing |
| confidence | sigmoid of a hidden state and the error | Beta noise times an exponential of the error |

Lengths are metres at the joint's depth, parallel to the image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gentg_blender.core.skeleton import JOINTS, NUM_JOINTS
from inference_backend.training.generator import Batch
from inference_backend.training.motion import BODY_HEIGHT

RMS = 0.01 * BODY_HEIGHT  # of the moving error of a trunk joint
DEGREES = 5.0  # Student's t: heavy tails, excess kurtosis 6
CORRELATION = (0.1, 0.4)  # seconds, one a clip
BIAS = 0.015  # radius of the disc that a joint's constant offset is drawn from
BOXES = 2  # at most, a clip
DRAG = 0.6  # share of the way to the box's edge that a guessed hidden point is dragged
MISSING = 0.4  # share of boxes whose points are not reported at all

_FARTHER = {"elbow": 1.3, "wrist": 1.7, "index": 2.0, "pinky": 2.0, "thumb": 2.0,
            "knee": 1.2, "ankle": 1.5, "heel": 1.7, "foot_index": 1.9, "small_toe": 1.9}  # fmt: skip
_GROWTH = np.array([_FARTHER.get(n.removeprefix("l_").removeprefix("r_"), 1.0) for n in JOINTS])


def detect_unseen(exact: Batch, seed: int) -> Batch:
    """A batch of the generator without noise -> the same as this model's detector reports it.

    Points stay absent where the batch has none (its detector's layout); its own confidence is not looked at
    otherwise. The same seed gives the same result.
    """
    rng = np.random.default_rng(seed)
    depth = exact.xyz[..., 2].double().cpu().numpy().clip(min=0.1)  # (B, T, 35)
    truth = exact.points.double().cpu().numpy() * depth[..., None]  # metres parallel to the image
    times = exact.times.double().cpu().numpy()
    present = exact.confidence.cpu().numpy() > 0
    error = student_ar1(times, (NUM_JOINTS, 2), rng.uniform(*CORRELATION, len(times)), rng)
    error *= RMS / np.sqrt(2.0) * _GROWTH[:, None]
    error += _disc((len(times), 1, NUM_JOINTS), rng) * BIAS

    hidden, dragged, missing = _boxes(truth, times, present, rng)
    error = np.where((hidden & ~missing)[..., None], dragged + 2.0 * error, error)
    size = np.linalg.norm(error, axis=-1)
    score = rng.beta(8.0, 1.5, size.shape) * np.exp(-size / 0.2)
    score = np.where(hidden, score * rng.uniform(0.4, 1.0, size.shape), score).clip(0.02, 1.0)
    reported = present & ~missing
    points = np.where(reported[..., None], (truth + error) / depth[..., None], 0.0)
    return replace(
        exact,
        points=torch.as_tensor(points, dtype=exact.points.dtype, device=exact.points.device),
        confidence=torch.as_tensor(
            np.where(reported, score, 0.0), dtype=exact.points.dtype, device=exact.points.device
        ),
    )


def student_ar1(
    times: np.ndarray, shape: tuple[int, ...], tau: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(B, T, *shape) of variance 1 with correlation exp(-gap / tau) at `times` (B, T), `tau` (B,) seconds.

    x_0 and the steps are Student-t of DEGREES, scaled to the variance that keeps the process stationary.
    """
    b, t = times.shape
    step = rng.standard_t(DEGREES, (b, t, *shape)) / np.sqrt(DEGREES / (DEGREES - 2.0))
    keep = np.exp(-np.diff(times, axis=1) / tau[:, None]).reshape((b, t - 1) + (1,) * len(shape))
    out = np.empty_like(step)
    out[:, 0] = step[:, 0]
    for k in range(1, t):
        out[:, k] = keep[:, k - 1] * out[:, k - 1] + np.sqrt(1.0 - keep[:, k - 1] ** 2) * step[:, k]
    return out


def _disc(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(*shape, 2) uniform in the unit disc."""
    angle, radius = rng.uniform(0.0, 2.0 * np.pi, shape), np.sqrt(rng.uniform(0.0, 1.0, shape))
    return radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _boxes(
    truth: np.ndarray, times: np.ndarray, present: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (B, T, 35, 2) in metres -> hidden (B, T, 35), drag (B, T, 35, 2) of hidden points, missing.

    Each box starts around one of the clip's points, drifts at a steady speed and is there for part of the clip.
    """
    b, t = times.shape
    hidden, missing = np.zeros(present.shape, bool), np.zeros(present.shape, bool)
    drag = np.zeros(truth.shape)
    for i in range(b):
        seen = np.flatnonzero(present[i].any(0))
        for _ in range(rng.integers(0, BOXES + 1)):
            joint, frame = rng.choice(seen), rng.integers(t)
            half = rng.uniform(0.08, 0.3, 2)
            drift = rng.normal(0.0, 0.15, 2) * (times[i] - times[i, frame])[:, None]
            centre = truth[i, frame, joint] + drift  # (T, 2)
            length = rng.uniform(0.3, 1.5)
            there = np.abs(times[i] - times[i, frame]) <= length / 2
            offset = truth[i] - centre[:, None]  # (T, 35, 2)
            inside = (np.abs(offset) < half).all(-1) & there[:, None]
            hidden[i] |= inside
            if rng.random() < MISSING:
                missing[i] |= inside
                continue
            # The nearest edge is where a detector last saw something of the limb.
            axis = np.argmax(np.abs(offset) / half, -1)[..., None]  # (T, 35, 1)
            gap = np.where(offset >= 0, 1.0, -1.0) * half - offset
            pull = np.where(np.arange(2) == axis, DRAG * gap, 0.0)
            drag[i] = np.where(inside[..., None], pull, drag[i])
    return hidden, drag, missing
