"""Ctrl-C, termination, and what a person sees meanwhile."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def long_clip(tmp_path, make_person_clip, person_frames):
    return make_person_clip(tmp_path / "long.mp4", person_frames * 6)  # 600 frames: many seconds of detection


def start(clip: Path, out: Path, cache: Path, *options: str, stderr=subprocess.PIPE) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "inference_backend", "estimate", str(clip), "-o", str(out), *options], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ | {"GENTG_CACHE": str(cache)},
    )  # fmt: skip


def wait_for_line(process: subprocess.Popen, text: str) -> str:
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    pytest.fail(f"{text!r} was not said: {seen}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_in_the_middle(tmp_path, long_clip, number, code):
    process = start(long_clip, tmp_path / "out", tmp_path / "cache")
    wait_for_line(process, "Finding the person")
    time.sleep(1.5)
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code, err
    assert time.monotonic() - began < 3.0
    assert "Cancelled" in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()
    assert not [c for c in children if c.is_running()]
    assert not list((tmp_path / "cache").glob("entries/*/*"))


@pytest.mark.blender
def test_stopped_while_blender_works(tmp_path, make_person_clip, person_frames):
    clip = make_person_clip(tmp_path / "c.mp4", person_frames[:20])
    process = start(clip, tmp_path / "out", tmp_path / "cache", "--blend", "--fbx")
    wait_for_line(process, "Writing the Blender file")
    end = time.monotonic() + 10
    while not (children := psutil.Process(process.pid).children(recursive=True)) and time.monotonic() < end:
        time.sleep(0.01)
    assert children
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]
    assert [p.name for p in (tmp_path / "out").iterdir()] == [
        "c.npz"
    ]  # whole, and nothing half-made beside it


def test_bar_on_a_terminal(tmp_path, make_person_clip, person_frames):
    clip = make_person_clip(tmp_path / "c.mp4", person_frames[:30])
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 110, 0, 0))
    process = start(clip, tmp_path / "out", tmp_path / "cache", stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the other side has closed
        pass
    assert process.wait(60) == 0, shown.decode()
    text = shown.decode()
    assert "Finding the person" in text and "%" in text and "30 frames" in text
    assert "XNNPACK" not in text  # libraries do not tear the bar
