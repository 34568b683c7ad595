"""What runs now: plain objects in this module, never in the .blend.

`tick` is the one place where the backend's news come in. A timer calls it, ten times a second while
something runs; in the background, where timers never fire, `wait` does. It must not block: the longest
call is kept in `longest_tick`, which the tests read.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import bpy

from ..core.contract import GentgError
from ..job.jobs import Job, JobQueue, State
from ..job.task import Task
from . import backend

INTERVAL = 0.1  # seconds
KEPT_NOTICES = 5


@dataclass(frozen=True)
class Notice:
    """One message that stays in the panel until the person puts it away."""

    level: Literal["INFO", "WARNING", "ERROR"]
    title: str
    lines: tuple[str, ...] = ()
    file: str = ""  # what "Show" opens: the log of a crash

    @classmethod
    def from_error(cls, title: str, error: GentgError) -> Notice:
        lines = [line for text in (error.message, error.hint) for line in text.splitlines() if line]
        is_log = (error.file or "").endswith(".log")
        if error.file and not is_log and error.file not in " ".join(lines):
            lines.insert(1, error.file)
        return cls("ERROR", title, tuple(lines), error.file if is_log else "")


@dataclass
class Session:
    """The one instance is `session` below."""

    queue: JobQueue = field(default_factory=lambda: JobQueue(backend.command))
    task: Task | None = None  # set-up, removal, doctor
    on_task_done: Callable[[Task], None] | None = None
    notices: deque[Notice] = field(default_factory=lambda: deque(maxlen=KEPT_NOTICES))
    doctor: list[str] = field(default_factory=list)  # its last output
    findings: dict[str, list] = field(default_factory=dict)  # clip's name -> filming check
    on_job_done: Callable[[Job], None] | None = None  # set by operators_estimate
    loading: list[tuple[Job, Task]] = field(default_factory=list)  # finished jobs whose result is being read
    longest_tick: float = 0.0  # seconds, imports apart

    @property
    def busy(self) -> bool:
        return self.queue.busy or bool(self.loading)

    @property
    def task_running(self) -> bool:
        return self.task is not None

    def submit(self, job: Job) -> None:
        """Queue a job and see that it is watched."""
        self.queue.submit(job)
        self.watch()

    def start_task(self, task: Task, done: Callable[[Task], None]) -> None:
        """Watch a task; `done` is called on the main thread when it ends."""
        self.task, self.on_task_done = task, done
        self.watch()

    def watch(self) -> None:
        """Make sure that a timer drains the queue (in the background nobody would call it)."""
        if not bpy.app.background and not bpy.app.timers.is_registered(_timer):
            bpy.app.timers.register(_timer, first_interval=INTERVAL)

    def tick(self) -> bool:
        """Take in the news; returns whether anything still runs."""
        began = time.perf_counter()
        ended = self.queue.poll()
        for job in ended:
            self._ended(job)
        task = self.task
        if task is not None and not task.running:
            self.task = None
            if self.on_task_done is not None:
                self.on_task_done(task)
        self.longest_tick = max(self.longest_tick, time.perf_counter() - began)
        for pair in [p for p in self.loading if not p[1].running]:
            self.loading.remove(pair)
            if self.on_job_done is not None:
                self.on_job_done(*pair)
        redraw()
        return self.busy or self.task is not None

    def wait(self) -> None:
        """Run until nothing is left to do: the synchronous path of scripts."""
        try:
            while self.tick():
                time.sleep(0.02)
        except BaseException:  # Ctrl-C above all: no child process is left behind
            self.shut_down()
            raise

    def cancel(self, job: Job | None = None) -> int:
        """Cancel one job or everything; returns how many jobs were cancelled."""
        cancelled = self.queue.cancel(job)
        for pair in [p for p in self.loading if job in (None, p[0])]:
            self.loading.remove(pair)
            pair[0].remove_scratch()
            cancelled.append(pair[0])
        if job is None and self.task is not None:
            self.task.cancel()
        for j in cancelled:
            self.notice(Notice("INFO", f"{j.title}: cancelled.", ("Nothing in the scene was changed.",)))
        redraw()
        return len(cancelled)

    def notice(self, notice: Notice) -> None:
        self.notices.appendleft(notice)

    def shut_down(self) -> None:
        """End all processes of ours. Blocks for a second at most."""
        self.queue.shut_down()
        if self.task is not None:
            self.task.cancel()
            self.task.join(1.0)
            self.task = None
        for job, _ in self.loading:
            job.remove_scratch()
        self.loading.clear()
        if bpy.app.timers.is_registered(_timer):
            bpy.app.timers.unregister(_timer)

    def forget(self) -> None:
        """Drop what was about the file that is being closed."""
        self.notices.clear()
        self.findings.clear()

    def _ended(self, job: Job) -> None:
        if job.state is State.FAILED:
            self.notice(Notice.from_error(f"{job.title}: no animation was made.", job.error))
            if job.context is not None:
                job.context.failed = job.error
        else:
            from ..core.contract import load_capture

            path = Path(job.params["capture"])
            # Unpacking ten minutes takes a second: not on Blender's thread.
            self.loading.append((job, Task(f"Reading {job.title}", lambda *_: load_capture(path))))


def scratch_folder() -> Path:
    """A fresh folder for one job's files, in Blender's own temporary folder. Raises GentgError."""
    try:
        return Path(tempfile.mkdtemp(prefix="gentg-", dir=bpy.app.tempdir or None))
    except OSError as error:
        raise GentgError("not_writable", f"Cannot write temporary files: {error.strerror or error}", file=bpy.app.tempdir) from error


def redraw() -> None:
    """Refresh the areas that may show our panels."""
    manager = bpy.context.window_manager
    for window in manager.windows if manager else ():
        for area in window.screen.areas:
            if area.type in ("SEQUENCE_EDITOR", "VIEW_3D", "PREFERENCES"):
                area.tag_redraw()


def _timer() -> float | None:
    return INTERVAL if session.tick() else None


session = Session()
