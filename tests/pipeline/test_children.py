"""Child processes are gone once the call that started them has ended, however it ends."""

import subprocess
import sys
import time

import psutil
import pytest

from inference_backend.pipeline import children
from inference_backend.pipeline.children import run_child

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def descendants() -> list[psutil.Process]:
    return [c for c in psutil.Process().children(recursive=True) if c.status() != psutil.STATUS_ZOMBIE]


def test_lines_and_the_exit_status_come_through():
    lines = []
    status = run_child([sys.executable, "-c", "print('ä'); raise SystemExit(7)"], lines.append, lambda: None)
    assert status == 7 and lines == ["ä"]


def test_a_check_that_raises_ends_the_child():
    before = {c.pid for c in descendants()}
    lines = []

    def check():
        if lines:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run_child(SLEEPER, lines.append, check)
    assert {c.pid for c in descendants()} <= before


def test_ctrl_c_while_the_child_is_being_started(monkeypatch):
    """The signal comes when the process is there, but before its starter has returned."""
    before = {c.pid for c in descendants()}
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(psutil.Process(self.pid))
            raise KeyboardInterrupt

    monkeypatch.setattr(children.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_child(SLEEPER, lambda line: None, lambda: None)
    end = time.monotonic() + 2
    while {c.pid for c in descendants()} - before and time.monotonic() < end:
        time.sleep(0.02)
    assert started and {c.pid for c in descendants()} <= before
