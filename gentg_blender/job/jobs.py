"""The queue of jobs over one warm backend. Plain objects: no bpy, nothing of it is ever saved.

`JobQueue.poll` is the heart: called often (a timer in Blender, a loop in batch mode), never blocks, moves
messages into jobs and starts the next one.
"""

from __future__ import annotations

import enum
import itertools
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.contract import ERROR_CODES, GentgError, message
from ..core.progress import Progress
from .client import Backend, BackendCommand

HELLO_TIMEOUT = 120.0  # seconds; importing torch from a cold disk takes long
_ids = itertools.count(1)


class State(enum.Enum):
    QUEUED = "queued"
    STARTING = "starting"  # the backend loads
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        return self in (State.STARTING, State.RUNNING)

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass
class Job:
    """One request to the backend and what became of it."""

    title: str  # for people: the strip's or the clip's name
    command: str  # "estimate", "lift", "people" or "doctor", see docs/contract.md; "import": no request
    params: dict[str, Any]
    scratch: Path | None = None  # the job's own folder of temporary files, removed unless it succeeds
    context: Any = None  # the caller's, untouched
    id: str = field(default_factory=lambda: f"job-{next(_ids)}")
    state: State = State.QUEUED
    progress: Progress = field(default_factory=Progress)
    result: dict[str, Any] | None = None
    error: GentgError | None = None
    log: list[tuple[str, str]] = field(default_factory=list)  # (level, text)
    seconds: float = 0.0
    _began: float = 0.0

    def remove_scratch(self) -> None:
        """Remove the job's temporary files; the caller's duty once a job is done and its result read."""
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _end(self, state: State, *, clean: bool = True) -> None:
        self.state = state
        self.seconds = time.monotonic() - self._began if self._began else 0.0
        if clean and state is not State.DONE:
            self.remove_scratch()


class _Launch:
    """A backend being started on a thread: starting a process takes a tenth of a second on a busy machine."""

    def __init__(self, command: BackendCommand):
        self.backend: Backend | None = None
        self.error: GentgError | None = None
        self.running = True
        self._command = command
        self._then: Callable[[], None] | None = None  # set when nobody wants it any more
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="gentg-launch")
        self._thread.start()

    def abandon(self, then: Callable[[], None]) -> None:
        """Not wanted any more: what was started is killed, now or when it is there; then `then` is called."""
        with self._lock:
            self._then = then
            running = self.running
        if not running:
            self._discard()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self.backend = Backend(self._command)
        except GentgError as error:
            self.error = error
        with self._lock:
            self.running = False
            wanted = self._then is None
        if not wanted:
            self._discard()

    def _discard(self) -> None:
        assert self._then is not None
        if self.backend is not None:
            self.backend.kill(self._then)
        else:
            self._then()


class JobQueue:
    """Runs jobs one after another. `command` is asked for whenever a backend must be started."""

    def __init__(self, command: Callable[[], BackendCommand]):
        self._command = command
        self.jobs: list[Job] = []  # queued and active ones, in order
        self.backend: Backend | None = None
        self._launch: _Launch | None = None
        self._asked_hello = 0.0

    @property
    def current(self) -> Job | None:
        return self.jobs[0] if self.jobs and self.jobs[0].state.active else None

    @property
    def busy(self) -> bool:
        return bool(self.jobs)

    def submit(self, job: Job) -> Job:
        """Queue it. Starts at the next `poll`."""
        self.jobs.append(job)
        return job

    def poll(self) -> list[Job]:
        """Take in what happened; returns the jobs that ended since the last call."""
        ended: list[Job] = []
        if self.backend is not None:
            for msg in self.backend.poll():  # `_handle` may let go of the backend meanwhile
                self._handle(msg, ended)
        if self.jobs and not self.jobs[0].state.active:
            self._start(self.jobs[0], ended)
        job = self.current
        if job and job.state is State.STARTING and self._launched(job, ended):
            self._send_when_ready(job, ended)
        return ended

    def cancel(self, job: Job | None = None) -> list[Job]:
        """Cancel one job, or all of them. The active one takes the whole process tree with it.

        Returns the jobs that were cancelled; `poll` does not report them again.
        """
        chosen = [j for j in self.jobs if job is None or j is job]
        for j in chosen:
            process = self.backend or self._launch
            if j.state.active and process is not None:
                # A process that is being killed may still write: the folder goes after it.
                (process.kill if isinstance(process, Backend) else process.abandon)(j.remove_scratch)
                self.backend = self._launch = None
                j._end(State.CANCELLED, clean=False)
            else:
                j._end(State.CANCELLED)
            self.jobs.remove(j)
        return chosen

    def shut_down(self) -> None:
        """End everything now: Blender is closing or another file is being loaded. Blocks up to 1 s."""
        if self._launch is not None:
            self._launch.join()
            self.backend, self._launch = self._launch.backend, None
        if self.backend is not None:
            self.backend.stop(timeout=0.3)
            self.backend = None
        for j in self.jobs:
            j._end(State.CANCELLED)
        self.jobs.clear()

    def stop_backend(self) -> None:
        """Give back the memory of a warm backend. Raises GentgError("bad_request") while a job runs."""
        if self.busy:
            raise GentgError("bad_request", "The backend is working.", hint="Cancel the job first.")
        if self.backend is not None:
            self.backend.kill()
            self.backend = None

    # ------------------------------------------------------------------ steps

    def _start(self, job: Job, ended: list[Job]) -> None:
        try:
            if self.backend is None or not self.backend.alive:
                self.backend, self._launch = None, _Launch(self._command())
        except GentgError as error:
            self._fail(job, error, ended)
            return
        job.state, job._began = State.STARTING, time.monotonic()
        job.progress = Progress()

    def _launched(self, job: Job, ended: list[Job]) -> bool:
        """Whether the backend's process is there; fails the job when it cannot be started."""
        launch = self._launch
        if launch is None:
            return self.backend is not None
        if launch.running:
            return False
        self._launch, self.backend, self._asked_hello = None, launch.backend, time.monotonic()
        if launch.error is not None:
            self._fail(job, launch.error, ended)
        return launch.error is None

    def _send_when_ready(self, job: Job, ended: list[Job]) -> None:
        assert self.backend is not None
        if self.backend.hello is None:
            if time.monotonic() - self._asked_hello > HELLO_TIMEOUT:
                error = GentgError("internal", f"The backend did not answer within {HELLO_TIMEOUT:.0f} seconds.",
                                   file=self.backend.log_path, hint="Run the doctor in the GenTG preferences.")  # fmt: skip
                self.backend.kill()
                self.backend = None
                self._fail(job, error, ended)
            return
        try:
            self.backend.send(message("request", id=job.id, command=job.command, params=job.params))
        except GentgError as error:
            self.backend.kill()
            self.backend = None
            self._fail(job, error, ended)
            return
        job.state = State.RUNNING

    def _handle(self, msg: dict[str, Any], ended: list[Job]) -> None:
        job, kind = self.current, msg["type"]
        if kind == "ended":
            backend, self.backend = self.backend, None
            if job is not None and backend is not None and not msg["expected"]:
                self._fail(job, backend.crash_error(), ended)
            return
        if job is None or msg.get("id", job.id) not in (job.id, None):
            return  # the tail of a job that was given up
        if kind == "progress":
            job.progress.update(msg)
        elif kind == "log":
            job.log.append((str(msg.get("level", "info")), str(msg.get("text", ""))))
        elif kind == "result":
            job.result = msg.get("result") or {}
            job._end(State.DONE)
            self.jobs.remove(job)
            ended.append(job)
        elif kind == "error":
            if self.backend is not None and self.backend.hello is None:
                self.backend.kill()  # it speaks another version: no use keeping it warm
                self.backend = None
            self._fail(job, _error_from(msg), ended)

    def _fail(self, job: Job, error: GentgError, ended: list[Job]) -> None:
        job.error = error
        job._end(State.FAILED)
        self.jobs.remove(job)
        ended.append(job)


def _error_from(msg: dict[str, Any]) -> GentgError:
    """The backend's error as an exception; a code that is not known here becomes "internal"."""
    code = msg.get("code") if msg.get("code") in ERROR_CODES else "internal"
    return GentgError(
        code, str(msg.get("message", "")), file=msg.get("file"), hint=str(msg.get("hint") or "")
    )
