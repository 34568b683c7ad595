"""What runs now: plain objects in this module, never in the .blend.

`tick` is the one place where the backend's news come in and where results go into the scene. A timer calls
it, ten times a second while something runs; in the background, where timers never fire, `wait` does. It must
not block: what its calls took is kept in `ticks`, which the tests read.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import bpy

from ..core.contract import GentgError
from ..job.jobs import Job, JobQueue
from ..job.task import Task
from . import backend

INTERVAL = 0.1  # seconds between ticks, and between redraws
IMPORT_SLICE = 0.02  # seconds of each tick that an import may take ...
IMPORT_PAUSE = 0.005  # ... and that Blender gets after it
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
        if error.file and error.file not in " ".join(lines):
            path = home_short(error.file)
            lines.insert(*((len(lines), f"Log: {path}") if is_log else (1, path)))
        return cls("ERROR", title, tuple(lines), error.file if is_log else "")


class Arriving(Protocol):
    """A finished job's result on its way into the scene, see import_queue.Arrival."""

    job: Job
    importing: bool
    text: str
    fraction: float
    undo_seconds: float

    def advance(self, seconds: float) -> bool: ...
    def finish(self) -> None: ...
    def discard(self, *, data: bool = True) -> None: ...


@dataclass
class Ticks:
    """What the calls of `tick` took of Blender's thread, in seconds."""

    count: int = 0
    importing: int = 0  # how many of them imported
    longest: float = 0.0  # by the clock
    longest_cpu: float = 0.0  # of processor time
    cpu: float = 0.0  # processor time of all calls together
    undo: float = 0.0  # the longest undo step, which Blender makes in one piece

    def add(self, wall: float, cpu: float, importing: bool) -> None:
        self.count += 1
        self.importing += importing
        self.longest, self.longest_cpu = max(self.longest, wall), max(self.longest_cpu, cpu)
        self.cpu += cpu


@dataclass
class Session:
    """The one instance is `session` below."""

    queue: JobQueue = field(default_factory=lambda: JobQueue(backend.command))
    task: Task | None = None  # set-up, removal, doctor
    on_task_done: Callable[[Task], None] | None = None
    notices: deque[Notice] = field(default_factory=lambda: deque(maxlen=KEPT_NOTICES))
    no_python: bool = False  # the last set-up found no Python to make the environment from
    doctor: list[str] = field(default_factory=list)  # its last output
    arriving: list[Arriving] = field(
        default_factory=list
    )  # finished jobs, the first is on its way into the scene
    ticks: Ticks = field(default_factory=Ticks)
    _redrawn: float = 0.0

    @property
    def busy(self) -> bool:
        return self.queue.busy or bool(self.arriving)

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
        began, cpu = time.perf_counter(), time.thread_time()
        for job in self.queue.poll():
            job.context.ended(job)  # by the kind of job: an estimate's is import_queue.JobContext
        task = self.task
        if task is not None and not task.running:
            self.task = None
            if self.on_task_done is not None:
                self.on_task_done(task)
        arrival = self.arriving[0] if self.arriving else None
        importing = arrival is not None and arrival.importing
        arrived = importing and arrival.advance(IMPORT_SLICE)
        self.ticks.add(time.perf_counter() - began, time.thread_time() - cpu, importing)
        if arrived:
            self.arriving.remove(arrival)
            arrival.finish()
            self.ticks.undo = max(self.ticks.undo, arrival.undo_seconds)
        if time.perf_counter() - self._redrawn > 0.9 * INTERVAL:
            self._redrawn = time.perf_counter()
            redraw()
        return self.busy or self.task is not None

    @property
    def pause(self) -> float:
        """Seconds until the next tick is due."""
        return IMPORT_PAUSE if self.arriving and self.arriving[0].importing else INTERVAL

    def find(self, job_id: str) -> Job | None:
        """A job that has not ended yet, or whose result is on its way."""
        return next((j for j in (*self.queue.jobs, *(a.job for a in self.arriving)) if j.id == job_id), None)

    def wait(self) -> None:
        """Run until nothing is left to do: the synchronous path of scripts."""
        try:
            while self.tick():
                time.sleep(min(self.pause, 0.02))
        except BaseException:  # Ctrl-C above all: no child process is left behind
            self.shut_down()
            raise

    def cancel(self, job: Job | None = None) -> int:
        """Cancel one job or everything; returns how many jobs were cancelled."""
        cancelled = self.queue.cancel(job)
        for arrival in [a for a in self.arriving if job in (None, a.job)]:
            self.arriving.remove(arrival)
            arrival.discard()
            cancelled.append(arrival.job)
        if job is None and self.task is not None:
            self.task.cancel()
        for j in cancelled:
            self.notice(Notice("INFO", f"{j.title}: cancelled.", ("Nothing in the scene was changed.",)))
        redraw()
        return len(cancelled)

    def notice(self, notice: Notice) -> None:
        self.notices.appendleft(notice)

    def put_away(self, title: str) -> None:
        """Drop the messages of this title: they are not true any more."""
        self.notices = deque((n for n in self.notices if n.title != title), KEPT_NOTICES)

    def shut_down(self, *, data: bool = True) -> None:
        """End all processes of ours and give up what is on its way. Blocks for a second at most.

        `data` is False when Blender's data is gone already.
        """
        self.queue.shut_down()
        if self.task is not None:
            self.task.cancel()
            self.task.join(1.0)
            self.task = None
        while self.arriving:
            self.arriving.pop().discard(data=data)
        if bpy.app.timers.is_registered(_timer):
            bpy.app.timers.unregister(_timer)

    def forget(self) -> None:
        """Drop what was about the file that is being closed."""
        self.notices.clear()


def home_short(path: str) -> str:
    """A path as people write it, with ~ for their home folder."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path.startswith(home + os.sep) else path


def scratch_folder() -> Path:
    """A fresh folder for one job's files, in Blender's own temporary folder. Raises GentgError."""
    try:
        return Path(tempfile.mkdtemp(prefix="gentg-", dir=bpy.app.tempdir or None))
    except OSError as error:
        raise GentgError(
            "not_writable", f"Cannot write temporary files: {error.strerror or error}", file=bpy.app.tempdir
        ) from error


def redraw() -> None:
    """Refresh the areas that may show our panels."""
    manager = bpy.context.window_manager
    for window in manager.windows if manager else ():
        for area in window.screen.areas:
            if area.type in ("SEQUENCE_EDITOR", "VIEW_3D", "PREFERENCES"):
                area.tag_redraw()


def _timer() -> float | None:
    return session.pause if session.tick() else None


session = Session()
