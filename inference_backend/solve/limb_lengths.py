"""Clip-level limb lengths: one number a limb for the whole clip, the same left and right."""

from __future__ import annotations

import numpy as np

from gentg_blender.core.skeleton import JOINT_MIRROR, JOINT_PARENTS, NUM_JOINTS

# Relative error of the network's own clip-level lengths and of a length measured on a perfectly
# certain limb (joint definitions wander by a few per cent as limbs turn).
NETWORK_ERROR = 0.04
MEASURED_ERROR = 0.03
SHORTEST = 0.01  # metres; no limb is shorter


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lower weighted median over axis 0. values (N, ...), weights broadcastable to it."""
    weights = np.broadcast_to(weights, values.shape)
    order = np.argsort(values, axis=0)
    ranked = np.take_along_axis(values, order, axis=0)
    total = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    at = np.argmax(total >= 0.5 * total[-1:], axis=0)
    return np.take_along_axis(ranked, at[None], axis=0)[0]


def clip_lengths(
    joints: np.ndarray, sigma: np.ndarray, sigma_xyz: np.ndarray, network: np.ndarray
) -> np.ndarray:
    """Fuse the network's lengths with those of its joints. -> (35,) metres, 0 for the pelvis.

    joints (T, 35, 3), sigma (T, 35), sigma_xyz (T, 35, 3), network (35,); only frames to trust.

    A network that answers with the mean of all poses it thinks possible draws limbs too short,
    the more so the less certain it is (ManiPose, NeurIPS 2024). With d the mean limb vector and
    S its covariance, E|limb|^2 = |d|^2 + tr S, which gives the length back. Only the spread that
    a joint has beyond its parent's counts, since errors are handed down along a chain.
    """
    parents = np.maximum(JOINT_PARENTS, 0)
    vectors = joints - joints[:, parents]
    spread = np.maximum(np.sum(sigma_xyz**2 - sigma_xyz[:, parents] ** 2, axis=-1), 0.0)
    spread = np.minimum(spread, 0.5 * np.sum(vectors**2, axis=-1))  # the correction stays below 23 %
    lengths = np.sqrt(np.sum(vectors**2, axis=-1) + spread)
    noise = np.sqrt(0.02**2 + sigma**2 + sigma[:, parents] ** 2)

    # A median over time for each side, then the mean of both sides, the surer one counting more.
    trust = noise**-4
    side, side_trust = weighted_median(lengths, trust), trust.sum(0)
    total = side_trust + side_trust[JOINT_MIRROR]
    measured = (side * side_trust + side[JOINT_MIRROR] * side_trust[JOINT_MIRROR]) / total
    measured = np.maximum(measured, SHORTEST)
    typical = np.sqrt(weighted_median(spread, trust))
    typical = np.maximum(typical, typical[JOINT_MIRROR])

    network = np.maximum((network + network[JOINT_MIRROR]) / 2.0, 0.0)
    known = network > SHORTEST
    network_weight = np.where(known, NETWORK_ERROR**-2, 0.0)
    measured_weight = 1.0 / (MEASURED_ERROR**2 + (0.25 * typical / measured) ** 2)
    log_length = (
        network_weight * np.log(np.where(known, network, 1.0)) + measured_weight * np.log(measured)
    ) / (network_weight + measured_weight)
    result = np.exp(log_length)
    result[JOINT_PARENTS < 0] = 0.0
    assert result.shape == (NUM_JOINTS,)
    return result
