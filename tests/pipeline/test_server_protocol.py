"""The server as Blender sees it: a real process, real pipes."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Talk:
    """A running server and its messages."""

    def __init__(self, tmp_path: Path, program: list[str] | None = None):
        self.stderr = open(tmp_path / "stderr.txt", "wb")
        self.process = subprocess.Popen(
            [sys.executable, *(program or ["-m", "inference_backend", "serve"])], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr,
            env=os.environ | {"GENTG_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, **msg) -> None:
        self.raw((json.dumps({"protocol": 1, **msg}) + "\n").encode())

    def raw(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def next(self, timeout: float = 60.0) -> dict | None:
        """The next message; None = the end. Every line must be one of ours."""
        line = self.lines.get(timeout=timeout)
        if line is None:
            return None
        msg = json.loads(line)
        assert msg["protocol"] == 1 and msg["type"] in {"hello", "progress", "log", "result", "error"}
        return msg

    def until(self, kind: str, timeout: float = 120.0) -> dict:
        end = time.monotonic() + timeout
        while (msg := self.next(end - time.monotonic())) is not None:
            if msg["type"] == kind:
                return msg
        pytest.fail(f"the server ended without a {kind}")

    def ended(self, timeout: float = 15.0) -> int:
        return self.process.wait(timeout)


@pytest.fixture
def talk(tmp_path):
    made: list[Talk] = []

    def start(program: list[str] | None = None) -> Talk:
        made.append(Talk(tmp_path, program))
        return made[-1]

    yield start
    for t in made:
        t.process.kill()
        t.process.wait()
        t.stderr.close()


def request(identity: str, clip: Path, folder: Path, **settings) -> dict:
    return dict(
        type="request",
        id=identity,
        command="estimate",
        params={"clip": str(clip), "capture": str(folder / f"{identity}.npz"), "settings": settings},
    )


def test_hello_comes_first_and_fast(talk):
    began = time.monotonic()
    server = talk()
    hello = server.next()
    assert time.monotonic() - began < 5.0
    assert hello["type"] == "hello" and hello["pid"] == server.process.pid
    assert Path(hello["log"]).is_file() and {"estimate", "lift"} <= set(hello["commands"])


def test_bad_lines_are_answered_and_do_not_end_it(talk, tmp_path):
    server = talk()
    server.next()
    for line, says in [
        (b"hello there\n", "not a line of JSON"),
        (b'{"type": "request", "protocol": 99, "id": "x"}\n', "protocol"),
        (b'{"type": "request", "protocol": 1}\n', "id"),
        (b'{"type": "dance", "protocol": 1, "id": "x"}\n', "dance"),
        (b"\xff\xfe\n", "not a line of JSON"),
        (b"[]\n", "object"),
    ]:
        server.raw(line)
        answer = server.until("error")
        assert answer["id"] is None and answer["code"] == "bad_request" and says in answer["message"], line
    server.send(**request("a", tmp_path / "missing.mp4", tmp_path))
    answer = server.until("error")
    assert answer["id"] == "a" and answer["code"] == "no_such_file"
    assert answer["file"] == str(tmp_path / "missing.mp4") and Path(answer["log"]).is_file()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "clip"),
        ({"clip": 5, "capture": "x.npz"}, "clip"),
        ({"clip": "a.mp4", "capture": "x.npz", "settings": {"hieght": 2}}, "hieght"),
        ({"clip": "a.mp4", "capture": "x.npz", "settings": {"height": "tall"}}, "wrong type"),
        ({"clip": "a.mp4", "capture": "x.npz", "settings": {"correction": 7}}, "between 0 and 1"),
        ({"clip": "a.mp4", "capture": "x.npz", "colour": "red"}, "colour"),
        ({"clip": "a.mp4", "capture": "x.txt"}, ".npz"),
    ],
)
def test_wrong_parameters_are_named(talk, params, says):
    server = talk()
    server.next()
    server.send(type="request", id="a", command="estimate", params=params)
    answer = server.until("error")
    assert answer["code"] == "bad_request" and says in answer["message"]


def test_ends_when_stdin_closes_and_on_shutdown(talk):
    for how in ("close", "shutdown"):
        server = talk()
        server.next()
        if how == "close":
            server.process.stdin.close()
        else:
            server.send(type="shutdown")
        assert server.ended() == 0


SLOW = """
import os, sys, time, threading
from inference_backend.pipeline import server, logs
from inference_backend.pipeline.children import run_child
def work(params, report):
    print("from Python"); os.write(1, b"from C\\n")
    if params.get("child"):
        run_child([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"], print, report.check)
    if params.get("deaf"):
        time.sleep(60)
    for i in range(params.get("steps", 600)):
        report("detect", i, 600)
        time.sleep(0.01)
    return {"n": params["n"]}
sink = logs.keep_stdout()
log = logs.start_log("test")
if len(sys.argv) > 1: server.GRACE = float(sys.argv[1])
server.Server(sys.stdin.buffer, sink, log, {"work": work}).run()
"""


def test_one_at_a_time_in_order_and_cancel_is_quick(talk):
    server = talk(["-c", SLOW])
    server.next()
    for i in range(3):
        server.send(type="request", id=f"j{i}", command="work", params={"n": i})
    assert server.until("progress")["id"] == "j0"
    server.send(type="cancel", id="j1")  # waits: answered at once
    assert (server.until("error")["id"]) == "j1"
    began = time.monotonic()
    server.send(type="cancel", id="j0")
    answer = server.until("error")
    assert answer["id"] == "j0" and answer["code"] == "cancelled" and time.monotonic() - began < 0.5
    result = server.until("result")
    assert result["id"] == "j2" and result["result"] == {"n": 2}
    server.send(type="cancel", id="j2")  # too late: no answer, no harm
    server.send(type="request", id="j2", command="work", params={"n": 9})  # an answered id may be used again
    assert server.until("progress")["id"] == "j2"
    server.send(type="request", id="j2", command="work", params={"n": 9})
    assert "in use" in server.until("error")["message"]


def children_of(pid: int) -> list[int]:
    import psutil

    try:
        return [c.pid for c in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_for(condition, timeout: float = 10.0) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_children_end_with_the_job(talk, how):
    import psutil

    server = talk(["-c", SLOW])
    server.next()
    server.send(type="request", id="a", command="work", params={"n": 1, "child": True})
    assert wait_for(lambda: children_of(server.process.pid))
    (child,) = children_of(server.process.pid)
    if how == "cancel":
        server.send(type="cancel", id="a")
        assert server.until("error")["code"] == "cancelled"
    else:
        server.process.stdin.close()
        server.ended()
    assert wait_for(lambda: not psutil.pid_exists(child), 1.0)


def test_a_job_that_does_not_listen_cannot_keep_the_process(talk):
    server = talk(["-c", SLOW, "0.5"])
    server.next()
    server.send(type="request", id="a", command="work", params={"n": 1, "deaf": True})
    time.sleep(0.5)
    server.process.stdin.close()
    assert server.ended(5.0) == 1


def test_a_bug_is_told_with_its_log(talk):
    server = talk(["-c", SLOW])
    server.next()
    server.send(type="request", id="a", command="work", params={"n": 1, "child": True, "deaf": True})
    server.send(type="cancel", id="a")
    server.until("error")
    server.send(type="request", id="b", command="work", params={"steps": 3})
    answer = server.until("error", 30)
    assert answer["code"] == "internal" and "KeyError" in answer["message"]
    assert "Traceback" in Path(answer["log"]).read_text()


def test_real_estimates_one_cancelled_the_next_warm(talk, tmp_path, sample_clip):
    server = talk()
    server.next()
    server.send(**request("a", sample_clip, tmp_path / "out"))
    while (msg := server.next())["type"] != "progress" or msg["stage"] != "detect" or not msg["done"]:
        pass
    assert 0.0 < msg["fraction"] < 1.0
    began = time.monotonic()
    server.send(type="cancel", id="a")
    assert server.until("error")["code"] == "cancelled" and time.monotonic() - began < 1.0
    assert not (tmp_path / "out").exists()
    results = []
    for identity in ("b", "c"):
        server.send(**request(identity, sample_clip, tmp_path / "out", end=0.4))
        results.append(server.until("result")["result"])
    assert results[0]["frames"] == results[1]["frames"] == 24
    assert results[1]["cached"] == ["detect", "lift"]
    assert results[1]["timings"]["load"]["wall"] < 0.2  # nothing is loaded again
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.npz", "c.npz"]
