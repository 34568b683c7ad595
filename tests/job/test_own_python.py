"""A Python is downloaded from a server of this test's own: checked, unpacked, cancelled, removed."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.job.find_python import BACKEND_PYTHON, inspect_python
from gentg_blender.job.own_python import (
    MARKER,
    OwnPython,
    PythonBuild,
    build_for_here,
    read_python_lock,
)

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a shell script")


def archive(member: str = "python/bin/python3.11", padding: int = 0) -> bytes:
    """An archive as python-build-standalone makes them, whose interpreter starts this one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=0) as tar:
        for name, text in (
            (member, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
            ("python/pad", "x" * padding),
        ):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o755
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture
def serve():
    """serve(content, pause) -> the build that describes it; `pause` seconds between pieces."""
    servers = []

    def start(content: bytes, pause: float = 0.0, status: int = 200) -> PythonBuild:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    for i in range(0, len(content), 1 << 18):
                        self.wfile.write(content[i : i + (1 << 18)])
                        time.sleep(pause)
                except OSError:
                    pass  # the client has left

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_address[1]}/python.tar.gz"
        return PythonBuild("3.11.15", url, hashlib.sha256(content).hexdigest())

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def install(
    own: OwnPython, build: PythonBuild, *, online=True, report=lambda text, part: None, cancelled=None
):
    return own.install(build, online=online, report=report, cancelled=cancelled or threading.Event())


def test_download_unpack_use_keep_and_remove(tmp_path, serve):
    own, told = OwnPython(tmp_path / "python"), []
    python = install(
        own, serve(archive(padding=1 << 20)), report=lambda text, part: told.append((text, part))
    )
    assert inspect_python(python).version[:2] == sys.version_info[:2]
    parts = [part for _, part in told]
    assert parts == sorted(parts) and len(parts) > 4 and "of 1 MB" in told[-2][0]
    assert sorted(p.name for p in own.folder.iterdir()) == [MARKER, "python"], "the download is gone"
    assert install(own, PythonBuild("3.11.15", "http://127.0.0.1:1/", "0" * 64)) == python, "not loaded again"
    (own.folder / "mine.txt").touch()
    own.remove()
    assert [p.name for p in own.folder.iterdir()] == ["mine.txt"]


def test_another_file_than_expected_is_never_used(tmp_path, serve):
    own, build = OwnPython(tmp_path / "python"), serve(archive())
    with pytest.raises(GentgError, match="not the file"):
        install(own, PythonBuild(build.version, build.url, "0" * 64))
    assert not own.python.exists()
    assert install(own, build).is_file(), "the next try starts again"


def test_nothing_is_unpacked_outside_the_folder(tmp_path, serve):
    own = OwnPython(tmp_path / "a" / "python")
    with pytest.raises(GentgError, match="cannot be unpacked"):
        install(own, serve(archive("../../../escaped")))
    assert not list(tmp_path.rglob("escaped"))


def test_cancelled_offline_and_unreachable(tmp_path, serve):
    own, cancelled = OwnPython(tmp_path / "python"), threading.Event()
    with pytest.raises(GentgError, match="offline"):
        install(own, serve(archive()), online=False)
    assert not own.folder.exists()
    began = time.monotonic()
    with pytest.raises(GentgError) as caught:
        install(
            own,
            serve(archive(padding=8 << 20), pause=0.1),
            report=lambda *_: cancelled.set(),
            cancelled=cancelled,
        )
    assert caught.value.code == "cancelled" and time.monotonic() - began < 2 and not own.python.exists()
    with pytest.raises(GentgError, match="could not be downloaded"):
        install(own, serve(b"", status=404))


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path, serve):
    own = OwnPython(tmp_path / "python")
    (own.folder / "python").mkdir(parents=True)
    (own.folder / "python" / "thesis.txt").touch()
    with pytest.raises(GentgError, match="not made by GenTG"):
        install(own, serve(archive()))
    with pytest.raises(GentgError, match="not made by GenTG"):
        own.remove()
    assert (own.folder / "python" / "thesis.txt").exists()


def test_the_shipped_lock_names_checked_builds_of_the_right_version(tmp_path):
    builds = read_python_lock(ROOT / "requirements" / "python.lock")
    assert {"Linux x86_64", "Darwin arm64", "Windows AMD64"} <= set(builds)
    for build in builds.values():
        assert build.version.startswith("{}.{}.".format(*BACKEND_PYTHON)) and build.version in build.url
        assert build.url.startswith("https://")
    assert build_for_here({}) is None
    (tmp_path / "bad.lock").write_text(
        json.dumps({"version": "3", "builds": {"x": {"url": "", "sha256": "1"}}})
    )
    with pytest.raises(GentgError, match="SHA-256"):
        read_python_lock(tmp_path / "bad.lock")
    (tmp_path / "bad.lock").write_text("{")
    with pytest.raises(GentgError, match="damaged"):
        read_python_lock(tmp_path / "bad.lock")
