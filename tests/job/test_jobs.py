"""The client and the queue against a scripted process: every way a job can end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.progress import Progress, format_seconds
from gentg_blender.job.client import KEPT_LOGS, Backend, BackendCommand
from gentg_blender.job.jobs import Job, JobQueue, State

HERE = Path(__file__).parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="looks at processes by POSIX signals")


def command(tmp_path: Path, **environment: str) -> BackendCommand:
    return BackendCommand(
        Path(sys.executable), HERE, tmp_path / "logs", module="fake_server", environment=environment
    )


@pytest.fixture
def queue(tmp_path):
    q = JobQueue(lambda: command(tmp_path))
    yield q
    q.shut_down()


def job(tmp_path: Path, fake: str, name: str = "clip") -> Job:
    scratch = tmp_path / f"scratch-{name}"
    scratch.mkdir()
    return Job(
        name, "estimate", {"clip": f"{name}.mp4", "capture": str(scratch / "out.npz"), "fake": fake}, scratch
    )


def run_until(queue: JobQueue, done, timeout: float = 15.0) -> list[Job]:
    """Poll as Blender's timer does; every poll must return fast."""
    ended: list[Job] = []
    deadline = time.monotonic() + timeout
    while not done(ended):
        assert time.monotonic() < deadline, f"timed out; {[(j.title, j.state) for j in queue.jobs]}"
        began = time.perf_counter()
        ended += queue.poll()
        assert time.perf_counter() - began < 0.05
        time.sleep(0.01)
    return ended


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # an orphan that was killed may wait for init to reap it
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_dead(pid: int, timeout: float = 1.0) -> bool:
    deadline = time.monotonic() + timeout
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_a_job_runs_and_reports(queue, tmp_path):
    j = queue.submit(job(tmp_path, "frames=4,noise"))
    seen = []
    run_until(queue, lambda ended: (seen.append(j.progress.done), ended)[1])
    assert j.state is State.DONE and j.error is None
    assert j.result["echo"]["clip"] == "clip.mp4"
    assert j.progress.fraction == pytest.approx(0.9) and j.progress.total == 4
    assert ("warning", "a warning of the fake") in j.log
    assert "ünïcode" in queue.backend.log_path.read_text(encoding="utf-8")
    assert j.scratch.is_dir()  # the caller still reads the result


def test_environment_of_the_child(queue, tmp_path, monkeypatch):
    monkeypatch.setenv("OCIO", "/blender/config.ocio")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    queue.submit(job(tmp_path, ""))
    run_until(queue, lambda ended: ended)
    assert queue.backend.hello["environment"] == {"OCIO": None, "PYTHONPATH": str(HERE), "PYTHONUTF8": "1"}


def test_the_backend_stays_warm_and_jobs_run_in_order(queue, tmp_path):
    jobs = [queue.submit(job(tmp_path, "frames=2", str(i))) for i in range(3)]
    pids = set()

    def done(ended):
        if queue.backend:
            pids.add(queue.backend.pid)
        assert sum(j.state.active for j in jobs) <= 1
        return len(ended) == 3

    assert run_until(queue, done) == jobs
    assert len(pids) == 1


@posix
def test_cancel_kills_the_tree_within_a_second_and_the_next_job_runs(queue, tmp_path):
    first = queue.submit(job(tmp_path, "child,hang", "first"))
    child_file = Path(first.params["capture"] + ".child")
    run_until(queue, lambda _: child_file.exists() and child_file.read_text() and first.progress.done)
    child, leader = int(child_file.read_text()), queue.backend.pid
    assert alive(child) and alive(leader)
    began = time.monotonic()
    assert queue.cancel() == [first]
    assert time.monotonic() - began < 0.05  # Blender's main thread does not wait
    assert wait_dead(leader) and wait_dead(child)
    assert time.monotonic() - began < 1.0
    assert first.state is State.CANCELLED
    deadline = time.monotonic() + 2
    while first.scratch.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not first.scratch.exists()

    second = queue.submit(job(tmp_path, "", "second"))
    assert run_until(queue, lambda ended: ended) == [second]
    assert second.state is State.DONE


@posix
def test_cancel_while_the_process_is_being_started(queue, tmp_path):
    for moment in (0.0, 0.005, 0.05):
        j = queue.submit(job(tmp_path, "hang", str(moment)))
        queue.poll()
        launch = queue._launch
        time.sleep(moment)
        assert queue.cancel() == [j]
        launch.join()
        assert launch.backend is not None and wait_dead(launch.backend.pid)
        deadline = time.monotonic() + 2
        while j.scratch.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not j.scratch.exists() and queue.backend is None and not queue.busy


def test_cancelling_a_waiting_job_leaves_the_running_one(queue, tmp_path):
    first, second = (queue.submit(job(tmp_path, "frames=20,pause=0.02", n)) for n in "ab")
    run_until(queue, lambda _: first.state is State.RUNNING)
    pid = queue.backend.pid
    queue.cancel(second)
    assert run_until(queue, lambda ended: ended) == [first]
    assert (first.state, second.state) == (State.DONE, State.CANCELLED) and queue.backend.pid == pid


@posix
def test_a_killed_backend_is_an_error_with_its_log(queue, tmp_path):
    j = queue.submit(job(tmp_path, "child,hang"))
    child_file = Path(j.params["capture"] + ".child")
    run_until(queue, lambda _: child_file.exists() and child_file.read_text())
    child = int(child_file.read_text())
    os.kill(queue.backend.pid, signal.SIGKILL)
    run_until(queue, lambda ended: ended)
    assert j.state is State.FAILED
    assert "SIGKILL" in j.error.message and "memory" in j.error.message
    assert Path(j.error.file).is_file() and j.error.file in str(j.error)
    assert wait_dead(child) and queue.backend is None and not j.scratch.exists()


def test_a_crash_says_what_the_log_says(queue, tmp_path):
    j = queue.submit(job(tmp_path, "crash"))
    run_until(queue, lambda ended: ended)
    assert "the fake has crashed as told" in j.error.message
    again = queue.submit(job(tmp_path, "", "again"))
    run_until(queue, lambda ended: ended)
    assert again.state is State.DONE


def test_errors_of_the_backend_arrive_whole(queue, tmp_path):
    j = queue.submit(job(tmp_path, "error=no_person"))
    run_until(queue, lambda ended: ended)
    assert (j.error.code, j.error.file, j.error.hint) == ("no_person", "clip.mp4", "a hint")
    unknown = queue.submit(job(tmp_path, "error=from_the_future", "b"))
    run_until(queue, lambda ended: ended)
    assert unknown.error.code == "internal"


def test_another_protocol_version_is_refused(tmp_path):
    q = JobQueue(lambda: command(tmp_path, GENTG_FAKE="old"))
    j = q.submit(job(tmp_path, ""))
    run_until(q, lambda ended: ended)
    assert j.state is State.FAILED and "Set Up Backend" in j.error.hint and q.backend is None


def test_no_answer_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("gentg_blender.job.jobs.HELLO_TIMEOUT", 0.5)
    q = JobQueue(lambda: command(tmp_path, GENTG_FAKE="silent"))
    j = q.submit(job(tmp_path, ""))
    run_until(q, lambda ended: ended)
    assert "did not answer" in j.error.message and q.backend is None


def test_a_missing_interpreter_and_a_missing_backend(tmp_path):
    for broken in (
        BackendCommand(tmp_path / "no-python", HERE, tmp_path),
        BackendCommand(Path(sys.executable), tmp_path, tmp_path),
    ):
        q = JobQueue(lambda broken=broken: broken)
        j = q.submit(Job("clip", "estimate", {}))
        assert (
            run_until(q, lambda ended: ended) == [j] and j.error.code == "missing_dependency" and j.error.hint
        )


@posix
def test_shut_down_ends_an_idle_and_a_busy_backend(tmp_path):
    for fake in ("", "hang"):
        q = JobQueue(lambda: command(tmp_path))
        j = q.submit(job(tmp_path, fake, f"x{fake}"))
        run_until(q, lambda ended, j=j, fake=fake: j.progress.done if fake else ended)
        pid, began = q.backend.pid, time.monotonic()
        q.shut_down()
        assert time.monotonic() - began < 1.2 and not alive(pid) and not q.busy


@posix
def test_the_backend_leaves_when_blender_dies(tmp_path):
    backend = Backend(command(tmp_path))
    backend.process.stdin.close()
    assert backend.process.wait(5) == 0


def test_only_the_last_logs_are_kept(tmp_path):
    for _ in range(KEPT_LOGS + 3):
        Backend(command(tmp_path)).stop()
    assert len(list((tmp_path / "logs").iterdir())) == KEPT_LOGS


def test_unwritable_logs_are_an_error(tmp_path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    with pytest.raises(GentgError) as caught:
        Backend(command(tmp_path))
    assert caught.value.code == "not_writable"


def test_progress_text():
    p = Progress()
    assert (p.stage_text, p.detail) == ("Starting the backend", "")
    p.update({"stage": "detect", "done": 120, "total": 900, "fraction": 0.3, "eta": 42.4})
    assert (p.stage_text, p.detail) == ("Finding the person", "Frame 120 of 900, 0:42 left")
    p.update({"stage": "write", "done": 0, "total": None, "fraction": 0.1, "eta": None})
    assert (p.stage_text, p.detail) == ("Writing", "") and p.fraction == 0.3  # the bar never runs backwards
    assert [format_seconds(s) for s in (0.2, 65, 3700)] == ["0:00", "1:05", "1:01:40"]
