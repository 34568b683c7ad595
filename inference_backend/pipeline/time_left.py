"""How much of a job is done and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

# (seconds, seconds per frame) of each stage, measured on 2 CPU cores at 720p. Only their proportions matter: the
# speed of this machine is measured while the job runs.
_COST = {
    "probe": (0.2, 0.0),
    "people": (4.0, 0.0),
    "detect": (0.5, 0.020),
    "camera": (0.2, 0.012),
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
        self._stage, self._share = "", 0.0
        self._first: tuple[float, float] | None = None  # time and share of the stage's first progress
        self._worked, self._spent = 0.0, 0.0  # planned cost of what finished stages did, and its seconds
        self.fraction = 0.0  # 0..1 of the whole job, never falls
        self.eta: float | None = None  # seconds left of the whole job

    def plan(self, stages: Iterable[str], frames: int) -> None:
        """The job consists of `stages` over about `frames` frames."""
        self._plan = {s: _COST[s][0] + _COST[s][1] * frames for s in _COST if s in set(stages)}

    def update(self, stage: str, done: int, total: int | None) -> None:
        """A stage's report; stages may be skipped."""
        now = self._clock()
        if stage != self._stage:
            worked, spent = self._learned(self._stage, now)
            self._worked, self._spent = self._worked + worked, self._spent + spent
            self._stage, self._share, self._first = stage, 0.0, None
        if total:
            self._share = max(self._share, min(done / total, 1.0))
            if self._first is None and done > 0:
                self._first = now, self._share  # the time before it went into starting up, which says nothing
        order = list(_COST)
        cost = self._plan.get(stage, 0.0)
        before = sum(c for s, c in self._plan.items() if order.index(s) < order.index(stage))
        whole = sum(self._plan.values())
        left = whole - before - cost * self._share
        self.fraction = max(self.fraction, min(1.0 - left / whole, 1.0)) if whole else 0.0
        worked, spent = self._learned(stage, now)
        worked, spent = self._worked + worked, self._spent + spent
        self.eta = max(left, 0.0) * spent / worked if spent >= _LEARN and worked > 0 else None

    def _learned(self, stage: str, now: float) -> tuple[float, float]:
        """Planned cost and seconds of what the present stage did since its first progress."""
        if self._first is None:
            return 0.0, 0.0
        return self._plan.get(stage, 0.0) * (self._share - self._first[1]), now - self._first[0]
