"""A Python of GenTG's own for computers that have none of the right version: downloaded with consent, checked, unpacked.

    <folder>/gentg-python.json   marker: this folder is ours
    <folder>/python/             the interpreter, as its archive has it
    <folder>/tmp/                a download on its way

Everything here blocks; `Task` (task.py) runs it on a thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.contract import GentgError, atomic_file, os_error
from .owned import remove_owned
from .process import WINDOWS

MARKER = "gentg-python.json"
_MAGIC = "GenTG backend Python"
_OURS = ("python", "tmp", MARKER)
_CHUNK = 1 << 18  # bytes
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class PythonBuild:
    """One archive of requirements/python.lock."""

    version: str
    url: str
    sha256: str


def read_python_lock(path: Path) -> dict[str, PythonBuild]:
    """Builds by "SYSTEM MACHINE" as `platform` names them. Raises GentgError("no_such_file") or "bad_request"."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = str(values["version"])
        builds = {k: PythonBuild(version, b["url"], b["sha256"].lower()) for k, b in values["builds"].items()}
    except OSError as error:
        raise GentgError(
            "no_such_file", "The list of Python builds cannot be read.", file=path, hint="Install the extension's zip again."
        ) from error  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GentgError("bad_request", "The list of Python builds is damaged.", file=path) from error
    if any(len(b.sha256) != 64 for b in builds.values()):
        raise GentgError("bad_request", "A Python build has no SHA-256.", file=path)
    return builds


def build_for_here(builds: dict[str, PythonBuild]) -> PythonBuild | None:
    """The build for this computer, if there is one."""
    return builds.get(f"{platform.system()} {platform.machine()}")


@dataclass(frozen=True)
class OwnPython:
    """The interpreter in `folder`, whether it is there or not."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "python" / ("python.exe" if WINDOWS else "bin/python3.11")

    def install(
        self,
        build: PythonBuild,
        *,
        online: bool,
        report: Callable[[str, float], None],
        cancelled: threading.Event,
    ) -> Path:
        """Download and unpack; returns the interpreter. One that is there already is kept.

        Raises GentgError: "missing_dependency" (offline, no connection, another file than expected), "cancelled",
        "no_space", "not_writable". Nothing half done is ever left under the interpreter's name.
        """
        if self.python.is_file() and self._is_ours():
            return self.python
        if not online:
            raise GentgError(
                "missing_dependency",
                "Python has to be downloaded, and Blender is set to be offline.",
                hint="Allow Online Access in Preferences > System > Network, then try again.",
            )
        if self.folder.exists() and any(self.folder.iterdir()):
            self.remove()
        temporary = self.folder / "tmp"
        try:
            temporary.mkdir(parents=True)
            with atomic_file(self.folder / MARKER) as marker:
                marker.write_text(json.dumps({"what": _MAGIC, "version": build.version}), encoding="utf-8")
            archive = temporary / "python.tar.gz"
            self._download(build, archive, report, cancelled)
            report(f"Unpacking Python {build.version}", 0.9)
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")  # refuses whatever leads out of the folder
            os.replace(temporary / "python", self.folder / "python")
        except tarfile.TarError as error:
            raise GentgError("missing_dependency", f"The download of Python cannot be unpacked: {error}", file=self.folder) from error  # fmt: skip
        except OSError as error:
            raise os_error(error, self.folder) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self.python

    def remove(self) -> None:
        """Delete it: only in a folder that carries our marker, and there only what is ours. Raises GentgError."""
        remove_owned(self.folder, self._is_ours(), _OURS)

    def _is_ours(self) -> bool:
        try:
            return json.loads((self.folder / MARKER).read_text(encoding="utf-8"))["what"] == _MAGIC
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _download(self, build: PythonBuild, path: Path, report, cancelled: threading.Event) -> None:
        text = f"Downloading Python {build.version}"
        report(text, 0.0)
        digest, done = hashlib.sha256(), 0
        try:
            with (
                urllib.request.urlopen(build.url, timeout=_TIMEOUT) as answer,
                open(path, "wb") as file,
            ):
                total = int(answer.headers.get("Content-Length") or 0)
                while chunk := answer.read(_CHUNK):
                    if cancelled.is_set():
                        raise GentgError("cancelled", "The set-up was cancelled.")
                    digest.update(chunk)
                    file.write(chunk)
                    done += len(chunk)
                    if total:
                        report(f"{text}, {done / 1e6:.0f} of {total / 1e6:.0f} MB", 0.9 * done / total)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise GentgError(
                "missing_dependency",
                f"Python could not be downloaded: {getattr(error, 'reason', error)}",
                hint="Check the network and try again, or install Python 3.11 yourself (python.org).",
            ) from error
        if digest.hexdigest() != build.sha256:
            raise GentgError(
                "missing_dependency",
                "The download of Python is not the file that GenTG was made with, so it is not used.",
                hint="Try again; if it stays, a proxy or a mirror changes the file.",
            )
