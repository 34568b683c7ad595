"""Progress, cancellation and the time of every stage, in one object that the stages call."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from gentg_blender.core.contract import STAGES, GentgError

from .time_left import TimeLeft

INTERVAL = 0.1  # seconds between two progress messages of one stage


@dataclass
class StageTime:
    """What one stage took: wall and CPU seconds, the latter of all threads of the process."""

    wall: float = 0.0
    cpu: float = 0.0


class Reporter:
    """`report(stage, done, total)` for the stages; raises GentgError("cancelled") once asked to stop.

    `listener(stage, done, total, fraction, eta)` (see `TimeLeft`) hears the first and last report of a stage and at most ten a second between.
    The time between two reports belongs to the stage of the earlier one, so a stage begins with its first report.
    """

    def __init__(
        self,
        listener: Callable[[str, int, int | None, float, float | None], None] | None = None,
        cancelled: threading.Event | None = None,
    ):
        self._listener = listener
        self.cancelled = cancelled or threading.Event()
        self.left = TimeLeft()
        self.times: dict[str, StageTime] = {}
        self._stage: str | None = None
        self._mark = (time.perf_counter(), time.process_time())
        self._told = 0.0

    def __call__(self, stage: str, done: int, total: int | None = None) -> None:
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        self.check()
        first = stage != self._stage
        self._account(stage)
        self.left.update(stage, done, total)
        now = time.perf_counter()
        if self._listener and (first or done == total or now - self._told >= INTERVAL):
            self._told = now
            self._listener(stage, done, total, self.left.fraction, self.left.eta)

    def check(self) -> None:
        """Raises GentgError("cancelled") if somebody asked to stop."""
        if self.cancelled.is_set():
            raise GentgError("cancelled", "Cancelled.")

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Time spent in here (importing libraries, reading models) is "load", not the current stage's."""
        self.check()
        stage = self._stage
        self._account("load")
        try:
            yield
        finally:
            self._account(stage)
        self.check()

    def finish(self) -> dict[str, dict[str, float]]:
        """Close the current stage; timings ready for `Capture.meta`."""
        self._account(None)
        return {name: asdict(t) for name, t in self.times.items()}

    def _account(self, stage: str | None) -> None:
        now = (time.perf_counter(), time.process_time())
        if self._stage is not None:
            spent = self.times[self._stage]
            spent.wall += now[0] - self._mark[0]
            spent.cpu += now[1] - self._mark[1]
        self._mark, self._stage = now, stage
        if stage is not None:
            self.times.setdefault(stage, StageTime())


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":
        # Not from getrusage, which tells the peak of the process that started this one, if that is larger.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(status.split("VmHWM:")[1].split(maxsplit=1)[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts in bytes
