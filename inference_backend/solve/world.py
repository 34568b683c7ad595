"""The level world: Z against gravity, +Y where the camera looks, the floor at z = 0."""

from __future__ import annotations

import numpy as np

from gentg_blender.core.rotations import normalize

from .limb_lengths import weighted_median

TILT_PRIOR = np.radians(2.5)  # error of the network's gravity
FLOOR_NOISE = 0.05  # metres: height error of one planted foot over a stance
LARGEST_TILT = np.radians(8.0)  # corrections beyond are not believed


def world_rotation(gravity: np.ndarray) -> np.ndarray:
    """R (3, 3) of x_cam = R x_world + t, from the unit vector (3,) that points down in camera axes.

    The columns are the world's axes as the camera sees them. A camera that looks straight up or
    down has no heading; the image's upper edge then stands for what is ahead.
    """
    up = -normalize(np.asarray(gravity, dtype=np.float64))
    ahead = np.array([0.0, 0.0, 1.0])
    ahead = ahead - np.dot(ahead, up) * up
    if np.linalg.norm(ahead) < 1e-3:
        ahead = np.array([0.0, -1.0, 0.0]) - np.dot([0.0, -1.0, 0.0], up) * up
    ahead = normalize(ahead)
    return np.stack([np.cross(ahead, up), ahead, up], axis=-1)


def level_by_feet(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Small rotation (3, 3) that levels the floor on which feet were planted.

    points (N, 3) mean place of each stance in a world that is level up to the error of the network's
    gravity; weights (N,) 0..1. Ridge regression of a plane: few stances close together leave the
    world as it is. Apply as x_new = rotation @ x.
    """
    if len(points) < 3 or weights.sum() < 2.0:
        return np.eye(3)
    plan = points[:, :2] - np.average(points[:, :2], axis=0, weights=weights)
    height = points[:, 2] - np.average(points[:, 2], weights=weights)
    for _ in range(3):  # stances on a step or a stool lose their weight (Cauchy)
        information = np.einsum("n,ni,nj->ij", weights, plan, plan) / FLOOR_NOISE**2
        information = information + np.eye(2) / TILT_PRIOR**2
        slope = np.linalg.solve(information, np.einsum("n,ni,n->i", weights, plan, height) / FLOOR_NOISE**2)
        left = height - plan @ slope
        left = left - np.average(left, weights=weights)
        weights = weights / (1.0 + (left / (2.0 * FLOOR_NOISE)) ** 2)
        plan = plan - np.average(plan, axis=0, weights=weights)
        height = height - np.average(height, weights=weights)
    if np.arctan(np.linalg.norm(slope)) > LARGEST_TILT:
        return np.eye(3)
    up = normalize(np.array([-slope[0], -slope[1], 1.0]))  # the floor's normal
    # Keep +Y the way the camera looks: the same construction as `world_rotation`.
    ahead = np.array([0.0, 1.0, 0.0])
    ahead = normalize(ahead - np.dot(ahead, up) * up)
    return np.stack([np.cross(ahead, up), ahead, up])


def floor_height(
    soles: np.ndarray, lowest: np.ndarray, planted: np.ndarray, seen: np.ndarray
) -> tuple[float, bool]:
    """Height of the floor, and whether planted feet showed it.

    soles (T, C) height under each part of the feet, lowest (T,) of the body's lowest point, planted
    (T, C) 0..1. Without contacts the lowest twentieth of the frames stands for the floor.
    """
    weight = np.where((planted > 0.5) & seen[:, None], planted, 0.0)
    if weight.sum() > 0:
        return float(weighted_median(soles.reshape(-1), weight.reshape(-1))), True
    return float(np.quantile(lowest[seen], 0.05)), False
