"""The pelvis's path: per-frame place from 2D and focal length, then one smooth path through it.

A single view gives the direction to a person well and the distance badly. Each frame's place
therefore carries a 3x3 information matrix, and one linear least-squares problem over all frames
balances it with smoothness and with feet that stand still. Along the ray, where the information
is small, the path comes out smoother than across it.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

from .rigid_fit import PIXEL_SIGMA, ObservedKeypoints, reprojection

PRIOR_ACROSS = 0.05  # metres: error of the network's root across the view
PRIOR_ALONG = 0.06  # of the distance: its error along the ray
CORRELATED_JOINTS = 3.0  # 2D errors come in groups of about this many joints
CORRELATION_TIME = 0.3  # seconds over which 2D errors stay the same
ACCELERATION_DENSITY = 3.0  # (m/s^2)^2 s: power of a pelvis's acceleration
CONTACT_SPEED = 0.40  # m/s: what a planted foot of a pose seems to move by
CONTACT_TIME = 0.1  # seconds over which that error stays the same
# Metres: height of a planted foot of a pose. Legs that are bent towards the camera are drawn too straight.
FLOOR_SIGMA = 0.10
SINKING_SIGMA = 0.03  # metres: height of a body that would lie deeper than the floor
_SINKING = 0.02  # metres below the floor that are let be
_SINKING_ROUNDS = 5


def place_root(
    relative: np.ndarray, sigma: np.ndarray, start: np.ndarray, observed: ObservedKeypoints, steps: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Pelvis (T, 3) in camera axes that best projects onto the keypoints, and its information (T, 3, 3).

    relative (T, 35, 3) from the pelvis, sigma (T, 35) their error in metres, start (T, 3) the
    network's root, which is also the prior. Gauss-Newton on the Huber loss.
    """
    distance = np.maximum(np.linalg.norm(start, axis=-1, keepdims=True), 0.1)
    ray = start / distance
    along = (ray[..., :, None] * ray[..., None, :]) * ((PRIOR_ALONG * distance) ** -2)[..., None]
    across = (np.eye(3) - ray[..., :, None] * ray[..., None, :]) * PRIOR_ACROSS**-2
    prior = along + across
    error = np.sqrt(PIXEL_SIGMA**2 + sigma**2)
    root = start.copy()
    for step in range(steps + 1):
        gradient, hessian = reprojection(root[:, None] + relative, observed, error)
        information = prior + hessian.sum(1) / CORRELATED_JOINTS
        if step == steps:
            break
        downhill = -gradient.sum(1) / CORRELATED_JOINTS + (prior @ (start - root)[..., None])[..., 0]
        move = np.linalg.solve(information, downhill[..., None])[..., 0]
        # Never more than a third of the distance at once, so that nobody jumps behind the camera.
        limit = 0.33 * np.linalg.norm(root, axis=-1, keepdims=True)
        root = root + move * np.minimum(
            1.0, limit / np.maximum(np.linalg.norm(move, axis=-1, keepdims=True), 1e-9)
        )
    return root, information


def estimate_camera_translation(apart: np.ndarray, information: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Where the world's zero lies in camera axes (3,), so that the finished body covers the person.

    apart (T, 3): each frame's measured pelvis minus the finished one, both in camera axes, the latter from
    the world's zero. information (T, 3, 3) of the measurements. Floor and held feet move the body by some
    centimetres, mostly all the way through a clip; the camera moves with it.
    """
    weight = information[seen]
    return np.linalg.solve(weight.sum(0), np.einsum("tij,tj->i", weight, apart[seen]))


def smooth_path(
    root: np.ndarray,
    information: np.ndarray,
    feet: np.ndarray,
    planted: np.ndarray,
    times: np.ndarray,
    seen: np.ndarray,
    foot_height: np.ndarray | None = None,
    lowest: np.ndarray | None = None,
) -> np.ndarray:
    """Path (T, 3), level world axes, of the least total cost; stretches of `seen` stay apart.

    root (T, 3) and information (T, 3, 3): each frame's measurement. feet (T, C, 3) from the pelvis,
    planted (T, C) 0..1: feet that should stand still. foot_height (C,): with it, planted feet are
    also pulled to these heights above z = 0. lowest (T,): height of the body's lowest point over the
    pelvis; with it, no body sinks below z = 0. Both move along the line of sight rather than across
    it, since the distance is what the image tells least. Unseen frames keep their measurement.
    """
    path = _least_cost(root, information, feet, planted, times, seen, foot_height, None)
    if lowest is None:
        return path
    sunk = np.zeros(len(root), bool)
    for _ in range(_SINKING_ROUNDS):  # frames that sink are set on the floor, until no other one does
        below = seen & (path[:, 2] + lowest < -_SINKING)
        if not (below & ~sunk).any():
            break
        sunk |= below
        path = _least_cost(
            root, information, feet, planted, times, seen, foot_height, np.where(sunk, -lowest, np.nan)
        )
    return path


def _least_cost(
    root: np.ndarray,
    information: np.ndarray,
    feet: np.ndarray,
    planted: np.ndarray,
    times: np.ndarray,
    seen: np.ndarray,
    foot_height: np.ndarray | None,
    height: np.ndarray | None,
) -> np.ndarray:
    """`smooth_path` with the pelvis drawn to `height` (T,), NaN where it is free."""
    frames = len(root)
    spacing = float(np.median(np.diff(times))) if frames > 1 else CORRELATION_TIME
    block = information * min(1.0, spacing / CORRELATION_TIME)
    right = (block @ root[..., None])[..., 0]
    if foot_height is not None:
        weight = planted * FLOOR_SIGMA**-2 * min(1.0, spacing / CORRELATION_TIME)
        block = block.copy()
        block[:, 2, 2] += weight.sum(1)
        right[:, 2] += np.sum(weight * (foot_height - feet[..., 2]), axis=1)
    if height is not None:
        weight = np.where(np.isnan(height), 0.0, SINKING_SIGMA**-2 * min(1.0, spacing / CORRELATION_TIME))
        block = block.copy()
        block[:, 2, 2] += weight
        right[:, 2] += weight * np.nan_to_num(height)
    if frames == 1:
        return np.linalg.solve(block, right[..., None])[..., 0]

    one, two = np.zeros(frames - 1), np.zeros(max(frames - 2, 0))
    main = np.zeros(frames)
    step = np.diff(times)
    joined = seen[1:] & seen[:-1]
    # Planted feet: |r[t+1] - r[t] + f[t+1] - f[t]|^2 / (dt CONTACT_TIME CONTACT_SPEED^2)
    both = planted[1:] * planted[:-1] * joined[:, None] / (step * CONTACT_TIME * CONTACT_SPEED**2)[:, None]
    total, pull = both.sum(1), np.sum(both[..., None] * np.diff(feet, axis=0), axis=1)
    main[1:] += total
    main[:-1] += total
    one -= total
    right[1:] -= pull
    right[:-1] += pull
    if frames > 2:
        before, after = step[:-1], step[1:]
        smooth = np.where(joined[:-1] & joined[1:], (before + after) / 2.0 / ACCELERATION_DENSITY, 0.0)
        a = 2.0 / (before * (before + after))
        b = -2.0 / (before * after)
        c = 2.0 / (after * (before + after))
        main[:-2] += smooth * a * a
        main[1:-1] += smooth * b * b
        main[2:] += smooth * c * c
        one[:-1] += smooth * a * b
        one[1:] += smooth * b * c
        two += smooth * a * c

    # Upper banded form of the symmetric matrix over (frame, axis): band[6 + i - j, j].
    band = np.zeros((7, frames, 3))
    for k in range(3):
        band[6, :, k] = block[:, k, k] + main
    band[5, :, 1], band[5, :, 2], band[4, :, 2] = block[:, 0, 1], block[:, 1, 2], block[:, 0, 2]
    band[3, 1:] = one[:, None]
    band[0, 2:] = two[:, None]
    return solveh_banded(band.reshape(7, -1), right.reshape(-1)).reshape(frames, 3)
