"""The environment is really made, with pip, from wheels built here: no network."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.job.environment import MARKER, Environment, Status
from gentg_blender.job.find_python import (
    BACKEND_PYTHON,
    NoPython,
    PythonInfo,
    candidates,
    find_python,
    inspect_python,
)
from gentg_blender.job.lock import read_lock, read_locks
from gentg_blender.job.task import Task

BASE = Path(getattr(sys, "_base_executable", sys.executable))
needs_base = pytest.mark.skipif(
    sys.version_info[:2] != BACKEND_PYTHON, reason="needs the backend's Python version"
)


def wheel(folder: Path, name: str, version: str, requires: str = "") -> str:
    """Write a minimal wheel; returns its line in a lock file."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder of wheels and a lock file of them."""
    folder = tmp_path_factory.mktemp("wheels")
    lines = [
        wheel(folder, "gentg_test_one", "1.0"),
        wheel(folder, "gentg_test_two", "2.5", "gentg_test_one>=1"),
    ]
    lock = folder / "lock.txt"
    lock.write_text("# a comment\n" + "".join(lines), encoding="utf-8")
    return folder, lock


@pytest.fixture(scope="module")
def base():
    return inspect_python(BASE)


def install(environment: Environment, lock: Path, base: PythonInfo, *, report=lambda text, part: None, cancelled=None,
            online=False, options=None, log=lambda line: None):  # fmt: skip
    options = ("--no-index", "--find-links", str(lock.parent)) if options is None else options
    lock = read_lock(lock)
    environment.install(lock, base, online=online, report=report, cancelled=cancelled or threading.Event(),
                        pip_options=options, log=log)  # fmt: skip


@needs_base
def test_install_interrupt_resume_and_remove(tmp_path, shop, base):
    _, lock = shop
    sha = read_lock(lock).sha256
    folder = tmp_path / "ünïcode folder" / "backend"
    environment = Environment(folder)
    assert environment.status(sha) is Status.ABSENT

    cancelled, reports = threading.Event(), []

    def report(text: str, part: float) -> None:
        reports.append((text, part))
        if "gentg_test_two" in text:
            cancelled.set()

    with pytest.raises(GentgError) as caught:
        install(environment, lock, base, report=report, cancelled=cancelled)
    assert caught.value.code == "cancelled"
    assert environment.status(sha) is Status.INTERRUPTED
    assert environment.marker().installed == ["gentg_test_one==1.0"]

    (environment.python.parent / "kept").touch()  # shows that the second run goes on in the same environment
    lines = []
    reports.clear()
    install(environment, lock, base, report=lambda *a: reports.append(a), log=lines.append)
    assert environment.status(sha) is Status.READY
    assert (environment.python.parent / "kept").exists()
    assert not any("gentg_test_one-1.0" in line and "Processing" in line for line in lines)
    fractions = [part for _, part in reports]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    site = [
        *environment.folder.glob("venv/lib/python*/site-packages"),
        *environment.folder.glob("venv/Lib/site-packages"),
    ][0]
    assert (site / "gentg_test_one.py").is_file() and (site / "gentg_test_two.py").is_file()
    assert inspect_python(environment.python).is_environment

    assert environment.status("another lock") is Status.OUTDATED
    environment.python.unlink()
    assert environment.status(sha) is Status.BROKEN

    (folder / "mine.txt").write_text("not GenTG's")
    environment.remove()
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]


@needs_base
def test_a_changed_file_is_refused(tmp_path, base):
    line = wheel(tmp_path, "gentg_test_one", "1.0")
    lock = tmp_path / "lock.txt"
    lock.write_text(line.replace("sha256:", "sha256:0")[:-2] + "\n", encoding="utf-8")
    with pytest.raises(GentgError, match="not the file that GenTG was tested with"):
        install(Environment(tmp_path / "backend"), lock, base)


@needs_base
def test_a_package_without_a_build_for_this_computer(tmp_path, base):
    lock = tmp_path / "lock.txt"
    lock.write_text("gentg_test_absent==1.0\n", encoding="utf-8")
    with pytest.raises(GentgError, match="no build of gentg_test_absent 1.0"):
        install(Environment(tmp_path / "backend"), lock, base)


def test_nothing_is_downloaded_offline(tmp_path, shop, base):
    environment = Environment(tmp_path / "backend")
    with pytest.raises(GentgError, match="offline") as caught:
        install(environment, shop[1], base, options=())
    assert "Online Access" in caught.value.hint and not environment.folder.exists()


def test_what_is_not_ours_is_neither_used_nor_removed(tmp_path, shop, base):
    folder = tmp_path / "documents"
    (folder / "venv").mkdir(parents=True)
    (folder / "venv" / "thesis.txt").write_text("years of work")
    environment = Environment(folder)
    assert environment.status("x") is Status.FOREIGN
    with pytest.raises(GentgError, match="not made by GenTG"):
        environment.remove()
    with pytest.raises(GentgError, match="did not put there"):
        install(environment, shop[1], base)
    (folder / MARKER).write_text('{"what": "something else"}')
    with pytest.raises(GentgError):
        environment.remove()
    assert (folder / "venv" / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_removal_follows_no_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    ours = Environment(tmp_path / "backend")
    ours.folder.mkdir()
    (ours.folder / MARKER).write_text(
        '{"what": "GenTG backend environment", "index": "", "base_python": "/x", "lock_sha256": "y"}'
    )
    (ours.folder / "venv").symlink_to(outside)
    ours.remove()
    assert (outside / "file").exists() and not ours.folder.exists()

    link = tmp_path / "link"
    link.symlink_to(outside)
    with pytest.raises(GentgError, match="link"):
        Environment(link).remove()


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, shop, base, monkeypatch):
    import shutil
    from collections import namedtuple

    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: namedtuple("u", "total used free")(10**10, 10**10 - 5, 5)
    )
    with pytest.raises(GentgError) as caught:
        install(Environment(tmp_path / "backend"), shop[1], base)
    assert caught.value.code == "no_space" and not (tmp_path / "backend" / MARKER).exists()


def test_a_python_that_will_not_do_says_why(tmp_path, shop):
    old = PythonInfo(Path("/x/python3.9"), (3, 9, 1), 64, True, False)
    with pytest.raises(GentgError, match=r"3\.9\.1"):
        install(Environment(tmp_path / "backend"), shop[1], old)
    assert "32-bit" in PythonInfo(Path("x"), (*BACKEND_PYTHON, 0), 32, True, False).problem
    assert "venv" in PythonInfo(Path("x"), (*BACKEND_PYTHON, 0), 64, False, False).problem


def test_the_shipped_locks_are_complete():
    lock = read_locks(Path(__file__).parents[2] / "requirements")
    names = [r.name for r in lock.requirements]
    assert (
        names[0] == "torch"
        and lock.requirements[0].constraints
        and {"numpy", "mediapipe", "av"} <= set(names)
    )
    assert len(set(names)) == len(names) and "bpy" not in names


def test_locks_must_pin(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "--only-binary :all:\na_b.c[x]==1.2 ; python_version > '3' \\\n  --hash=sha256:00\nd==2\n"
    )
    read = read_lock(lock)
    assert [(r.name, r.version, r.hashed) for r in read.requirements] == [
        ("a_b.c", "1.2", True),
        ("d", "2", False),
    ]
    assert read.requirements[0].options == ("--only-binary :all:",)
    lock.write_text("numpy>=1\n")
    with pytest.raises(GentgError, match="pin"):
        read_lock(lock)
    with pytest.raises(GentgError):
        read_lock(tmp_path / "none.txt")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX places")
def test_finds_python_with_a_bare_path(tmp_path):
    version = "{}.{}".format(*BACKEND_PYTHON)
    at = tmp_path / ".pyenv" / "versions" / f"{version}.4" / "bin"
    at.mkdir(parents=True)
    ours = at / f"python{version}"
    ours.symlink_to(BASE)
    found = list(candidates(environ={"PATH": "/usr/bin:/bin"}, home=tmp_path))
    # The link or, where this very interpreter also stands in a usual place, that one.
    assert ours in found or any(p.resolve() == BASE.resolve() for p in found)
    assert len({p.resolve() for p in found}) == len(found)

    script = tmp_path / ".local" / "bin" / f"python{version}"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\necho not a python\n")
    script.chmod(0o755)
    assert script in list(candidates(environ={}, home=tmp_path))
    with pytest.raises(GentgError, match="does not work"):
        inspect_python(script)


@needs_base
def test_find_python_runs_what_it_returns():
    assert find_python(extra=[BASE]).version[:2] == BACKEND_PYTHON


def test_no_python_lists_what_was_tried(tmp_path, monkeypatch):
    import gentg_blender.job.find_python as module

    monkeypatch.setattr(module, "candidates", lambda **_: iter([Path(sys.executable)]))
    monkeypatch.setattr(module, "BACKEND_PYTHON", (3, 99))
    with pytest.raises(NoPython, match=r"No Python 3\.99") as caught:
        find_python()
    assert os.fspath(sys.executable) in caught.value.message and "install Python 3.99" in caught.value.hint


def test_tasks_turn_every_failure_into_a_message(tmp_path):
    task = Task("Set-up", lambda report, cancelled, log: 1 / 0, tmp_path / "log.txt")
    task.join(5)
    assert task.error.code == "internal" and "ZeroDivisionError" in (tmp_path / "log.txt").read_text()
    stuck = Task("Set-up", lambda report, cancelled, log: cancelled.wait(10))
    stuck.cancel()
    stuck.join(5)
    assert not stuck.running and stuck.value is True and stuck.error is None
