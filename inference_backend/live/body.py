"""What a stream learns about the person: one set of limb lengths, estimated from the frames so far."""

from __future__ import annotations

import numpy as np

from gentg_blender.core.skeleton import FEET, JOINT_INDEX, JOINT_PARENTS, NUM_JOINTS
from inference_backend.solve.limb_lengths import clip_lengths
from inference_backend.solve.rest_pose import build_rest_pose
from inference_backend.solve.solve import STANDARD_HEIGHT

_KEPT = 256  # frames that lengths are measured on: bounds memory and the cost of an estimate
_GROWTH = 1.15  # frames between two estimates grow by this factor, so that they become rare
_SETTLE = 0.5  # seconds over which a new estimate takes over: limbs must not jump
_FEET_AT = [JOINT_INDEX[n] for n in FEET]
_PARENTS = np.maximum(JOINT_PARENTS, 0)


class BodySoFar:
    """Limb lengths (35,) in metres of a person `height` metres tall, from all frames added.

    As offline (solve/limb_lengths.py): lengths of the joints and the network's own, fused, left and right alike.
    Of a long stream a thinned history is kept that covers all of it.
    """

    def __init__(self, height: float | None):
        self.height = STANDARD_HEIGHT if height is None else height
        self._joints = np.empty((_KEPT, NUM_JOINTS, 3))
        self._sigma = np.empty((_KEPT, NUM_JOINTS))
        self._sigma_xyz = np.empty((_KEPT, NUM_JOINTS, 3))
        self._kept, self._stride, self._count, self._next = 0, 1, 0, 1.0
        self._target: np.ndarray | None = None
        self._time = 0.0
        self.lengths = np.zeros(NUM_JOINTS)  # now, after settling
        self.scale = 1.0  # our metres in one of the network's
        self.foot_height = np.zeros(len(FEET))  # of the tracked points above the sole, metres

    def add(
        self, joints: np.ndarray, sigma: np.ndarray, sigma_xyz: np.ndarray, network: np.ndarray, time: float
    ) -> None:
        """One frame in the network's metres: joints and sigma_xyz (35, 3), sigma and network lengths (35,)."""
        if self._count % self._stride == 0:
            if self._kept == _KEPT:  # every second one goes, and only every second one is kept from here on
                self._kept, self._stride = _KEPT // 2, 2 * self._stride
                for array in (self._joints, self._sigma, self._sigma_xyz):
                    array[: self._kept] = array[::2].copy()
            i, self._kept = self._kept, self._kept + 1
            self._joints[i], self._sigma[i], self._sigma_xyz[i] = joints, sigma, sigma_xyz
        self._count += 1
        if self._count >= self._next:
            self._next = max(self._count * _GROWTH, self._count + 1.0)
            self._estimate(network)
        if self._time == 0.0 and self._count == 1:
            self.lengths = self._target.copy()
        else:
            share = 1.0 - np.exp(-(time - self._time) / _SETTLE)
            self.lengths = self.lengths + share * (self._target - self.lengths)
        self._time = time

    def _estimate(self, network: np.ndarray) -> None:
        n = self._kept
        joints, sigma = self._joints[:n], self._sigma[:n]
        lengths = clip_lengths(joints, sigma, self._sigma_xyz[:n], network)
        rest = build_rest_pose(lengths, joints, sigma)
        self.scale = self.height / rest.standing_height
        self._target = self.scale * np.linalg.norm(rest.joints - rest.joints[_PARENTS], axis=-1)
        self.foot_height = self.scale * rest.joints[_FEET_AT, 2]
