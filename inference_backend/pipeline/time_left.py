"""How much of a job is done and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

# (seconds, seconds per frame) of each stage, measured on 2 CPU cores at 720p. Only their proportions matter: the
# speed of this machine is measured while the job runs.
_COST = {
    "probe": (0.2, 0.0),
    "detect": (0.5, 0.020),
    "clean": (0.0, 0.0003),
    "lift": (2.5, 0.003),
    "correct": (0.0, 0.003),
    "solve": (0.0, 0.003),
    "write": (0.05, 0.0005),
    "preview": (0.2, 0.020),
    "blender": (6.0, 0.001),
}
_LEARN = 1.0  # seconds of work before anything is said about the time left


class TimeLeft:
    """Feed `update` with what the stages report; read `fraction` and `eta`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._plan = {stage: base for stage, (base, _) in _COST.items() if stage in ("probe", "detect")}
        self._stage, self._share, self._began = "", 0.0, clock()
        self._worked, self._spent = 0.0, 0.0  # planned cost of finished stages that really ran, and their seconds
        self.fraction = 0.0  # 0..1 of the whole job, never falls
        self.eta: float | None = None  # seconds left of the whole job

    def plan(self, stages: Iterable[str], frames: int) -> None:
        """The job consists of `stages` over about `frames` frames."""
        self._plan = {s: _COST[s][0] + _COST[s][1] * frames for s in _COST if s in set(stages)}

    def update(self, stage: str, done: int, total: int | None) -> None:
        """A stage's report; stages may be skipped."""
        now = self._clock()
        if stage != self._stage:
            if self._stage:
                self._worked += self._plan.get(self._stage, 0.0)
                self._spent += now - self._began
            self._stage, self._share, self._began = stage, 0.0, now
        if total:
            self._share = max(self._share, min(done / total, 1.0))
        order = list(_COST)
        cost = self._plan.get(stage, 0.0)
        before = sum(c for s, c in self._plan.items() if order.index(s) < order.index(stage))
        whole = sum(self._plan.values())
        left = whole - before - cost * self._share
        self.fraction = max(self.fraction, min(1.0 - left / whole, 1.0)) if whole else 0.0
        worked, spent = self._worked + cost * self._share, self._spent + now - self._began
        self.eta = max(left, 0.0) * spent / worked if spent >= _LEARN and worked > 0 else None
