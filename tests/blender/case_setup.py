"""In Blender without a window: Set Up Backend from a script, on a computer that has no Python of the right version."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import bpy
from case_ui import PYTHON, ROOT, fails, fake_backend

from gentg_blender.job.find_python import NoPython, inspect_python
from gentg_blender.job.own_python import PythonBuild


def archive() -> bytes:
    """The stand-in for Python of tests/gui, packed as a real one would be."""
    text = f'#!/bin/sh\nexec "{PYTHON}" "{ROOT}/tests/gui/fake_python.py" "$0" "$@"\n'.encode()
    info, out = tarfile.TarInfo("python/bin/python3.11"), io.BytesIO()
    info.size, info.mode = len(text), 0o755
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.addfile(info, io.BytesIO(text))
    return out.getvalue()


class Server:
    """Hands out one file, and counts how often it was asked for."""

    def __init__(self, content: bytes):
        self.asked = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.http.server_address[1]}/python.tar.gz"
        self.build = PythonBuild("3.11.15", url, hashlib.sha256(content).hexdigest())


def no_python_here(*, extra=()):
    """find_python on a computer that has none but what GenTG downloaded."""
    for path in extra:
        if path.is_file():
            return inspect_python(path)
    raise NoPython(
        "missing_dependency", "No Python 3.11 was found on this computer.", hint="Let GenTG download one."
    )


def test_python_is_downloaded_when_asked_for_and_removed_with_the_backend(tmp):
    server = Server(archive())
    network = bpy.context.preferences.system
    with fake_backend(tmp) as session:
        from gentg_blender.ui import backend, operators_backend

        (tmp / "user").mkdir()
        backend.user_folder = lambda: tmp / "user"  # put back by fake_backend
        del os.environ["GENTG_BACKEND_PYTHON"]
        os.environ["GENTG_FAKE_PIP"] = str(tmp / "pip.log")
        kept = operators_backend.find_python, backend.python_build, network.use_online_access
        operators_backend.find_python, backend.python_build = no_python_here, lambda: server.build
        try:
            network.use_online_access = False
            assert "offline" in fails(bpy.ops.gentg.setup_backend, download_python=True)
            network.use_online_access = True
            assert "No Python" in fails(bpy.ops.gentg.setup_backend)
            assert session.no_python and server.asked == 0, "nothing is downloaded unasked"
            assert bpy.ops.gentg.setup_backend(download_python=True) == {"FINISHED"}
            assert not session.no_python and server.asked == 1 and backend.problem() == ""
            marker = backend.environment().marker()
            assert marker.complete and Path(marker.base_python) == backend.own_python().python
            assert bpy.ops.gentg.setup_backend(mode="REPAIR") == {"FINISHED"}
            assert server.asked == 1 and backend.environment().marker().base_python == marker.base_python
            (backend.user_folder() / "mine.txt").touch()
            assert bpy.ops.gentg.setup_backend(mode="REMOVE") == {"FINISHED"}
            assert not backend.environment().folder.exists() and not backend.own_python().folder.exists()
            assert (backend.user_folder() / "mine.txt").exists() and "not set up" in backend.problem()
        finally:
            operators_backend.find_python, backend.python_build, network.use_online_access = kept
            server.http.shutdown()
            server.http.server_close()
            del os.environ["GENTG_FAKE_PIP"]
            os.environ["GENTG_BACKEND_PYTHON"] = str(tmp / "python")
