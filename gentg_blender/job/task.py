"""One long task (set up, remove, doctor) on a worker thread, watched from the main thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..core.contract import GentgError


class Task:
    """Runs `work(report, cancelled, log)` on a thread. Read the attributes from any thread."""

    def __init__(self, title: str, work: Callable[[Callable[[str, float], None], threading.Event, Callable[[str], None]], object],
                 log_path: Path | None = None):  # fmt: skip
        self.title = title
        self.text, self.fraction = title, 0.0
        self.error: GentgError | None = None
        self.value: object = None
        self.lines: deque[str] = deque(maxlen=400)  # the last of its output
        self.log_path = log_path
        self._cancelled = threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._run, name="gentg-task", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Ask it to stop; child processes are killed within a tenth of a second."""
        self._cancelled.set()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _report(self, text: str, fraction: float) -> None:
        self.text, self.fraction = text, max(self.fraction, min(fraction, 1.0))

    def _log(self, line: str) -> None:
        self.lines.append(line)
        if self.log_path is not None:
            try:
                with open(self.log_path, "a", encoding="utf-8", errors="replace") as stream:
                    stream.write(line + "\n")
            except OSError:
                self.log_path = None  # a full disk shows up where it matters

    def _run(self) -> None:
        try:
            self.value = self._work(self._report, self._cancelled, self._log)
        except GentgError as error:
            self.error = error
        except Exception as error:  # a bug must end as a message, not as a dead thread
            import traceback

            for line in traceback.format_exc().splitlines():
                self._log(line)
            self.error = GentgError(
                "internal",
                f"{self.title} failed: {error!r}",
                file=self.log_path,
                hint="Please report this with the log.",
            )
