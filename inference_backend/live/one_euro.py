"""Causal smoothing: the One Euro filter (Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012), in seconds."""

from __future__ import annotations

import numpy as np

_SPEED_SECONDS = 0.16  # time constant of the speed's own low-pass: 1 Hz, as in the paper


class OneEuro:
    """Low-pass of vectors (N, D) whose time constant shrinks with their speed.

    `seconds` is the time constant of what rests; it is halved at `speed` units a second. A fast motion so
    passes nearly without lag, a resting one without jitter. With 0 seconds nothing is filtered.
    """

    def __init__(self, seconds: float, speed: float):
        if seconds < 0 or speed <= 0:
            raise ValueError(f"no filter has {seconds} s and halves at a speed of {speed}")
        self.seconds, self.speed = seconds, speed
        self.reset()

    def reset(self) -> None:
        """The next value passes unchanged."""
        self._time: float | None = None
        self._value = self._rate = self._given = np.zeros((0, 0))

    def __call__(self, value: np.ndarray, time: float) -> np.ndarray:
        """The filtered `value` (N, D) at `time` seconds, which must come after the one before."""
        value = np.asarray(value, dtype=np.float64)
        if self._time is None or self.seconds == 0.0:
            self._rate = np.zeros_like(value)
            self._value = value.copy()
        else:
            step = time - self._time
            if step <= 0:
                raise ValueError(f"the time {time} does not come after {self._time}")
            rate = (value - self._given) / step
            self._rate = self._rate + (rate - self._rate) * (step / (step + _SPEED_SECONDS))
            fast = np.linalg.norm(self._rate, axis=-1, keepdims=True) / self.speed
            constant = self.seconds / (1.0 + fast)
            self._value = self._value + (value - self._value) * (step / (step + constant))
        self._time, self._given = time, value
        return self._value.copy()
