"""One warm backend process and the messages to and from it.

Threads: a reader, which only parses lines into a queue, and a waiter, which cleans up when the process ends. Whoever owns the `Backend` drains that
queue with `poll`, which never blocks. No method here blocks for longer than a pipe write; ending the
process happens on a helper thread.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.contract import GentgError, decode, encode, message
from .process import clean_environment, kill_tree, spawn

KEPT_LOGS = 5


@dataclass(frozen=True)
class BackendCommand:
    """What is needed to start a backend."""

    python: Path  # the backend's own interpreter
    root: Path  # folder that holds gentg_blender and inference_backend
    logs: Path  # folder for log files
    module: str = "inference_backend"
    arguments: tuple[str, ...] = ("serve",)
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the child's

    def check(self) -> None:
        """Raises GentgError("missing_dependency") when it cannot possibly start."""
        if not self.python.is_file():
            raise GentgError("missing_dependency", "The backend's Python is not there any more.", file=self.python,
                             hint="Open the GenTG preferences and press Set Up Backend.")  # fmt: skip
        if not (self.root / self.module).exists() and not (self.root / f"{self.module}.py").exists():
            raise GentgError("missing_dependency", "The installed extension lacks its backend.", file=self.root,
                             hint="Install the extension's zip again.")  # fmt: skip


class Backend:
    """A running backend. Create one to start it; a new one is needed after it ended."""

    def __init__(self, command: BackendCommand):
        """Start the process. Raises GentgError if that is impossible."""
        command.check()
        self.command = command
        self.log_path = _new_log(command.logs)
        self.hello: dict[str, Any] | None = None
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._ended = False  # by us, so that an exit is no crash
        # `-I` would also drop PYTHONPATH, and the extension's folder name differs from the package's.
        env = clean_environment(
            PYTHONPATH=os.fspath(command.root), PYTHONDONTWRITEBYTECODE="1", **command.environment
        )
        try:
            with open(self.log_path, "ab") as log:
                self.process = spawn(
                    [command.python, "-m", command.module, *command.arguments],
                    env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=command.logs,
                )  # fmt: skip
        except OSError as error:
            raise GentgError(
                "missing_dependency",
                f"The backend cannot be started: {error.strerror or error}",
                file=command.python,
                hint="Press Set Up Backend in the GenTG preferences.",
            ) from error
        self._reader = threading.Thread(target=self._read, name="gentg-backend", daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, name="gentg-wait", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, msg: dict[str, Any]) -> None:
        """Write one message. Raises GentgError("internal") if the process has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(encode(msg))
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self.crash_error() from error

    def poll(self) -> list[dict[str, Any]]:
        """All messages that arrived since the last call. The last one ever is `{"type": "ended"}`."""
        out = []
        while True:
            try:
                msg = self._messages.get_nowait()
            except queue.Empty:
                return out
            if msg["type"] == "hello":
                self.hello = msg
            out.append(msg)

    def kill(self, then: Callable[[], None] = lambda: None) -> None:
        """End the process and its children now, then call `then`; returns at once, a thread does it."""
        self._ended = True
        # Of a process that has ended, the waiter ends the rest, and its id may be another's by now.
        alive = self.alive

        def work() -> None:
            if alive:
                kill_tree(self.process)
            then()

        threading.Thread(target=work, name="gentg-kill").start()

    def stop(self, timeout: float = 1.0) -> None:
        """Ask the process to leave, kill it if it does not within `timeout` seconds. Blocks that long."""
        self._ended = True
        if not self.alive:
            return
        try:
            self.send(message("shutdown"))
            self.process.stdin.close()
        except (GentgError, OSError):
            pass
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        kill_tree(self.process)

    def crash_error(self) -> GentgError:
        """Why the process ended without being asked to, for people."""
        status = self.process.poll()
        how = "ended unexpectedly" if status is None else _describe_status(status)
        last = self._tail_of_log()
        return GentgError("internal", f"The backend {how}." + (f" It last said: {last}" if last else ""),
                          file=self.log_path, hint="Press the button to try again; the log says more.")  # fmt: skip

    # ------------------------------------------------------------------ reader thread

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                try:
                    self._messages.put(decode(line))
                except GentgError as error:
                    # A library of the backend's that prints, or another version: keep it for the log.
                    self._note(f"[not a message: {error.message}] {line.decode('utf-8', 'replace').rstrip()}")
                    if "protocol" in error.message:
                        self._messages.put({"type": "error", "id": None, "code": error.code,
                                            "message": error.message, "hint": error.hint})  # fmt: skip

    def _wait(self) -> None:
        # Not left to the reader: a child that survives its leader holds the pipe open.
        self.process.wait()
        kill_tree(self.process)
        self._reader.join(1.0)
        self._messages.put({"type": "ended", "expected": self._ended, "status": self.process.returncode})

    def _note(self, text: str) -> None:
        try:
            with open(self.log_path, "a", encoding="utf-8", errors="replace") as log:
                log.write(text + "\n")
        except OSError:
            pass  # the log is a convenience; its disk may be full

    def _tail_of_log(self) -> str:
        """The last line that says something, 200 characters at most."""
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(0, os.path.getsize(self.log_path) - 4096))
                lines = [x.strip() for x in log.read().decode("utf-8", "replace").splitlines() if x.strip()]
        except OSError:
            return ""
        return lines[-1][:200] if lines else ""


def _describe_status(status: int) -> str:
    if status < 0:
        import signal

        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        why = " (often: not enough memory)" if name == "SIGKILL" else ""
        return f"was ended by the system with {name}{why}"
    return f"ended unexpectedly with status {status}"


def _new_log(folder: Path) -> Path:
    """A fresh log file; older ones beyond the last few are removed. Raises GentgError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("backend-*.log"))
        for path in old[: max(0, len(old) - KEPT_LOGS + 1)]:
            path.unlink(missing_ok=True)
        path = folder / f"backend-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**6:06d}.log"
        path.touch()
    except OSError as error:
        raise GentgError(
            "not_writable",
            f"Cannot write the log: {error.strerror or error}",
            file=folder,
            hint="Check the permissions of the extension's user folder.",
        ) from error
    return path
