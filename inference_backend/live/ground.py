"""What a stream learns about its camera: which way is down, and where the floor is."""

from __future__ import annotations

import numpy as np

from inference_backend.solve.world import world_rotation

_GRAVITY_MEMORY = 20.0  # seconds of gravity that are averaged: a camera that is moved is followed slowly
_FLOOR_MEMORY = 2.0  # seconds that feet were planted for


class GroundSoFar:
    """The level world of a stream: x_cam = R x_world + t, Z up, feet on z = 0, the first pelvis above the origin.

    Early frames know little of gravity and floor, so the world settles over the first seconds.
    """

    def __init__(self) -> None:
        self._down, self._weight = np.zeros(3), 0.0
        self._floor, self._stood = 0.0, 0.0
        self._first: np.ndarray | None = None
        self.R = np.eye(3)
        self.t = np.zeros(3)

    def add(
        self, gravity: np.ndarray, feet: np.ndarray, foot_height: np.ndarray, planted: np.ndarray,
        pelvis: np.ndarray, step: float,
    ) -> None:  # fmt: skip
        """One frame: gravity (3,) unit, feet (4, 3) and pelvis (3,) metres, all in camera axes; foot_height (4,)
        of these points above the sole; planted (4,) bool; `step` seconds that the frame stands for."""
        self._weight = min(self._weight + step, _GRAVITY_MEMORY)
        self._down = self._down + (gravity - self._down) * (step / self._weight)
        self.R = world_rotation(self._down / np.linalg.norm(self._down))
        soles = (feet @ self.R)[:, 2] - foot_height
        if self._first is None:
            self._first, self._floor = pelvis.copy(), float(soles.min())
        if planted.any():
            self._stood = min(self._stood + step, _FLOOR_MEMORY)
            self._floor += (float(soles[planted].mean()) - self._floor) * (step / self._stood)
        elif self._stood == 0.0:  # nobody has stood yet: the lowest foot there was
            self._floor = min(self._floor, float(soles.min()))
        origin = self._first @ self.R
        self.t = self.R @ np.array([origin[0], origin[1], self._floor])

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) camera axes -> world."""
        return (points - self.t) @ self.R
