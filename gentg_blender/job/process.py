"""Child processes that can be ended with everything they started, on every platform."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

WINDOWS = sys.platform == "win32"

# Blender's own settings that would break or mislead another Python: its colour management, its Python's
# home, and whatever a user's shell points Python at.
_DROPPED = ("OCIO", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what belongs to Blender, in UTF-8, plus `extra`."""
    env = {k: v for k, v in os.environ.items() if k not in _DROPPED and not k.startswith("BLENDER_")}
    env.update(PYTHONUTF8="1", PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1", PYTHONNOUSERSITE="1")
    env.update(extra)
    return env


def spawn(
    command: Sequence[str | os.PathLike],
    *,
    env: dict[str, str],
    stdin: int | IO | None = subprocess.DEVNULL,
    stdout: int | IO | None = subprocess.PIPE,
    stderr: int | IO | None = subprocess.STDOUT,
    cwd: str | os.PathLike | None = None,
) -> subprocess.Popen:
    """Start `command` as the leader of its own process group (POSIX: session). Raises OSError."""
    options: dict = {}
    if WINDOWS:
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    else:
        options["start_new_session"] = True
    return subprocess.Popen(
        [os.fspath(part) for part in command],
        stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, close_fds=True, **options,
    )  # fmt: skip


def kill_tree(process: subprocess.Popen, *, timeout: float = 0.8) -> None:
    """End the process and all its descendants at once; returns when the leader is gone.

    `process` must come from `spawn`. Waits `timeout` seconds at most (a process in an uninterruptible
    system call dies when that call returns). Safe to call on a process that has already ended: what
    it left running in its group is ended too.
    """
    if WINDOWS:
        if process.poll() is None:
            # taskkill walks the tree by parent ids, so it must run while the leader lives.
            taskkill = Path(os.environ.get("SystemRoot", r"C:\Windows"), "System32", "taskkill.exe")
            subprocess.run(
                [os.fspath(taskkill), "/F", "/T", "/PID", str(process.pid)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                creationflags=subprocess.CREATE_NO_WINDOW, check=False,
            )  # fmt: skip
            if process.poll() is None:
                process.kill()
    else:
        try:
            # The leader's id is the group's; it stays reserved as long as any member lives.
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # macOS answers EPERM where only zombies are left in the group.
            if process.poll() is None:
                process.kill()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        pass


def run_lines(
    command: Sequence[str | os.PathLike],
    on_line: Callable[[str], None],
    *,
    cancelled: threading.Event,
    env: dict[str, str] | None = None,
    cwd: str | os.PathLike | None = None,
    timeout: float | None = None,
) -> int:
    """Run `command`, hand every line of its output to `on_line`, and return its exit status.

    Blocks, so call it on a worker thread. When `cancelled` is set, or `timeout` seconds have passed, the
    whole tree is killed; the status is then that of a killed process. Raises OSError if it cannot start.
    """
    process = spawn(command, env=env or clean_environment(), cwd=cwd)
    deadline = None if timeout is None else time.monotonic() + timeout

    def watch() -> None:
        while process.poll() is None:
            if cancelled.wait(0.05) or (deadline is not None and time.monotonic() > deadline):
                kill_tree(process)
                return

    watcher = threading.Thread(target=watch, name="gentg-watch", daemon=True)
    watcher.start()
    assert process.stdout is not None
    with process.stdout:
        for raw in process.stdout:
            on_line(raw.decode("utf-8", "replace").rstrip())
    status = process.wait()
    watcher.join()
    return status
