"""Left/right repair: over the whole clip, which frames' arms, legs or face carry the wrong side.

Detectors exchange left and right for single frames or long stretches, mostly all of the body, at
times arms or legs alone. Each frame has four readings (as is, arms, legs, both exchanged); the best
sequence is found by the Viterbi algorithm with a memory of four frames, so that a point is predicted
with its velocity and limbs that cross in the image are not taken for exchanged ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_MIRROR

_PARTS = {
    "arms": ("shoulder", "elbow", "wrist", "index", "pinky", "thumb"),
    "legs": ("hip", "knee", "ankle", "heel", "foot_index", "small_toe"),
    "face": ("eye", "ear"),
}


def _members(part: str) -> np.ndarray:
    return np.array([JOINT_INDEX[f"{side}_{n}"] for n in _PARTS[part] for side in "lr"])


_ARMS, _LEGS, _FACE = _members("arms"), _members("legs"), _members("face")
_MEMORY = 4  # frames that a sequence's cost looks back
_BLOCK = 1024  # frames worked on at once
_READINGS = ((False, False), (True, False), (False, True), (True, True))  # arms, legs exchanged


@dataclass(frozen=True)
class SideConfig:
    """Costs of a reading; distances are in body sizes (about the standing height in pixels)."""

    spread: float = 0.02  # standard deviation of a prediction over one frame of 1/30 s
    drift: float = 0.12  # growth of it per second without a sighting
    cap: float = 8.0  # a point's cost is bounded: outliers must not decide
    whole: float = 15.0  # per second that all is exchanged: the majority names the sides
    part: float = 30.0  # per second that only arms, legs or face are
    edge: float = 15.0  # that a stretch begins or ends exchanged: one change speaks for it, not two
    memory: float = 0.5  # seconds over which a velocity is worth keeping
    rest: float = 0.2  # weight of standing still beside keeping the velocity


def repair_sides(
    times: np.ndarray, keypoints: np.ndarray, size: np.ndarray, config: SideConfig = SideConfig()
) -> tuple[np.ndarray, np.ndarray]:
    """Exchange left and right where the motion says that the detector did.

    `times` (T,) seconds, `keypoints` (T, 35, 3) of sighted frames, `size` (T,) body size in pixels.
    Returns the repaired keypoints and (T, 35) bool, the exchanged joints. Which of two consistent
    readings of a whole clip is the true one is decided by the majority of its frames.
    """
    swapped = np.zeros(keypoints.shape[:2], dtype=bool)
    if len(times) < 3:
        return keypoints.copy(), swapped
    limbs = np.concatenate([_ARMS, _LEGS])
    readings = np.array([[a] * len(_ARMS) + [g] * len(_LEGS) for a, g in _READINGS])
    prior = np.array([0.0, config.part, config.part, config.whole])
    states = _viterbi(times, keypoints, size, limbs, readings, prior, config)
    swapped[:, limbs] = readings[states]
    # The face follows the arms unless it says otherwise.
    turned = np.where(swapped[:, _ARMS[:1], None], keypoints[:, JOINT_MIRROR], keypoints)
    face = _viterbi(
        times, turned, size, _FACE, np.array([[False] * 4, [True] * 4]), np.array([0.0, config.part]), config
    )
    swapped[:, _FACE] = swapped[:, _ARMS[:1]] ^ face[:, None].astype(bool)
    return np.where(swapped[..., None], keypoints[:, JOINT_MIRROR], keypoints), swapped


def _blocks(frames: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of frames: all pairs of readings of a long clip at once would not fit into memory."""
    for first in range(0, frames, _BLOCK):
        yield first, min(first + _BLOCK, frames)


def _viterbi(
    times: np.ndarray,
    keypoints: np.ndarray,
    size: np.ndarray,
    joints: np.ndarray,
    readings: np.ndarray,
    prior: np.ndarray,
    config: SideConfig,
) -> np.ndarray:
    """(T,) index of the reading (S, J) of each frame that makes the joints' motion most predictable."""
    s = len(readings)
    plain, mirrored = (keypoints[:, at, :2] / size[:, None, None] for at in (joints, JOINT_MIRROR[joints]))

    def read(rows: slice) -> np.ndarray:
        """(N, S, J, 2) body sizes: the joints in each reading."""
        return np.where(readings[None, :, :, None], mirrored[rows, None], plain[rows, None])

    # A pair counts with its less certain side: an exchange with an unseen point proves nothing.
    sure = np.minimum(keypoints[:, joints, 2], keypoints[:, JOINT_MIRROR[joints], 2]) + 1e-3
    step = np.diff(times)

    def cost(error: np.ndarray, weight: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """(N, ..., J, 2) body sizes -> (N, ...) summed over joints, bounded per joint."""
        squared = (error**2).sum(axis=-1) / sigma.reshape(-1, *[1] * (error.ndim - 2)) ** 2
        bounded = config.cap * squared / (config.cap + squared)
        return (bounded * weight.reshape(len(weight), *[1] * (error.ndim - 3), -1)).sum(axis=-1)

    # near[k][t, a, b]: frame t read as a beside frame t + k + 1 read as b.
    near = []
    for lag in range(1, min(_MEMORY, len(times) - 1) + 1):
        term = np.empty((len(times) - lag, s, s))
        for first, last in _blocks(len(term)):
            here, there = slice(first, last), slice(first + lag, last + lag)
            sigma = _sigma(times[there] - times[here], config)
            error = read(there)[:, None] - read(here)[:, :, None]
            term[here] = config.rest * cost(error, np.sqrt(sure[there] * sure[here]), sigma)
        near.append(term)
    # bent[k][t, a, b, c]: frame t + k + 2 read as c against the course from t (a) to t + 1 (b). Frames in
    # which a detector is about to change its mind show limbs half-way; courses that pass over them keep
    # the memory of the sides.
    bent = []
    for ahead in range(1, min(_MEMORY - 1, len(times) - 2) + 1):
        term = np.empty((len(times) - 1 - ahead, s, s, s))
        for first, last in _blocks(len(term)):
            here, after = slice(first, last), slice(first + 1, last + 1)
            there = slice(first + 1 + ahead, last + 1 + ahead)
            gap = times[there] - times[after]
            ratio = np.exp(-gap / config.memory) * gap / step[here]
            latest, following = read(after)[:, None], read(there)
            course = latest + ratio[:, None, None, None, None] * (latest - read(here)[:, :, None])
            weight, sigma = np.sqrt(sure[there] * sure[after]), _sigma(gap, config)
            for c in range(s):  # a loop over readings keeps memory down
                term[here, ..., c] = cost(following[:, None, None, c] - course, weight, sigma) / (_MEMORY - 1)
        bent.append(term)

    held = prior[None] * np.minimum(np.append(step, step[-1]), 0.2)[:, None]  # (T, S)
    # total[a, b, c, d]: best cost of a sequence whose last four frames are read so.
    total = np.zeros((s,) * _MEMORY)
    edge = config.edge * (np.arange(s) > 0)
    total += held[0] + edge
    back = np.zeros((len(times), *total.shape), dtype=np.int8)
    for t in range(1, len(times)):
        way = total[..., None] + held[t]
        for k in range(min(_MEMORY, t)):
            term = near[k][t - 1 - k]
            way = way + term.reshape(*[1] * (_MEMORY - 1 - k), s, *[1] * k, s)
        for k in range(min(_MEMORY - 1, t - 1)):
            term = bent[k][t - 2 - k]
            way = way + term.reshape(*[1] * (_MEMORY - 2 - k), s, s, *[1] * k, s)
        back[t] = way.argmin(axis=0)
        total = way.min(axis=0)
    total += edge
    states = np.empty(len(times) + _MEMORY - 1, dtype=np.int64)  # the first entries precede the clip
    states[-_MEMORY:] = np.unravel_index(total.argmin(), total.shape)
    for t in range(len(times) - 1, 0, -1):
        states[t - 1] = back[(t, *states[t : t + _MEMORY])]
    return states[_MEMORY - 1 :]


def _sigma(gap: np.ndarray, config: SideConfig) -> np.ndarray:
    """(N,) standard deviation of a prediction over `gap` seconds, body sizes."""
    return config.spread * np.sqrt(gap * 30) + config.drift * gap
