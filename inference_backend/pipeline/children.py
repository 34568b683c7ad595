"""Child processes that never outlive their parent's wish."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Sequence

import psutil

_log = logging.getLogger(__name__)
# What belongs to another Python or Blender and would break the child: Blender's OCIO names its own colour files.
_DROPPED = ("OCIO", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")


def run_child(command: Sequence[str], on_line: Callable[[str], None], check: Callable[[], None]) -> int:
    """Run `command` and return its exit status; every line it prints goes to `on_line`.

    `check` is called ten times a second and may raise; then, and on Ctrl-C, the child and its descendants are
    ended before the exception goes on. The child stays in this process's group: whoever ends the group ends it.
    Raises OSError if it cannot be started.
    """
    environment = {k: v for k, v in os.environ.items() if k not in _DROPPED}
    environment.update(PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1")
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    process: subprocess.Popen | None = None
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            creationflags=flags,
        )
        output = process.stdout
        assert output is not None

        def read() -> None:
            for raw in output:
                on_line(raw.decode("utf-8", "replace").rstrip())

        reader = threading.Thread(target=read, name="child-output", daemon=True)
        reader.start()
        while True:
            try:
                status = process.wait(0.1)
                break
            except subprocess.TimeoutExpired:
                check()
        reader.join(2.0)
        return status
    except BaseException:  # even a Ctrl-C while the child is being started, when `process` is not known yet
        end_children()
        if process is not None:
            process.wait()
        raise


def end_children(timeout: float = 2.0) -> None:
    """Kill every descendant of this process and wait until they are gone."""
    found = psutil.Process().children(recursive=True)
    for child in found:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(found, timeout)
    for child in alive:
        _log.warning("process %s does not end", child.pid)
