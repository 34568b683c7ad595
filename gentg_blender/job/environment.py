"""The backend's own Python environment: made, checked, repaired and removed in one folder of ours.

    <folder>/gentg-environment.json   marker: this folder is ours, and how far its installation got
    <folder>/venv/                    the environment
    <folder>/tmp/                     pip's temporary files, measured for the progress

Everything here blocks; `Task` (task.py) runs it on a thread. Nothing here goes to the network
unless `online` is true, and nothing outside the folder is written (pip's own cache apart).
"""

from __future__ import annotations

import enum
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.contract import GentgError, atomic_file, os_error
from .find_python import PythonInfo, inspect_python
from .lock import Lock, Requirement
from .owned import remove_owned
from .process import WINDOWS, clean_environment, run_lines

MARKER = "gentg-environment.json"
_MAGIC = "GenTG backend environment"
_OURS = ("venv", "tmp", MARKER)
FREE_SPACE = 4 * 10**9  # bytes: twice what the smallest build takes; a CUDA build fails later, and goes on

# text for people, fraction of the whole (0..1)
Report = Callable[[str, float], None]


class Status(enum.Enum):
    ABSENT = "absent"
    INTERRUPTED = "interrupted"  # an installation was begun and not finished
    OUTDATED = "outdated"  # complete, but for another lock file (an older version of the extension)
    BROKEN = "broken"  # complete once, but its Python is gone or does not run
    FOREIGN = "foreign"  # the folder holds something that is not ours
    READY = "ready"


@dataclass
class Marker:
    """What the marker file says."""

    index: str  # package index that torch's build was taken from, "" for pip's own
    base_python: str
    lock_sha256: str
    complete: bool = False
    installed: list[str] = field(default_factory=list)  # "name==version", in order


@dataclass(frozen=True)
class Environment:
    """The environment in `folder`, whether it exists or not."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / ("Scripts/python.exe" if WINDOWS else "bin/python")

    def marker(self) -> Marker | None:
        """The marker, None when there is none or it is not ours."""
        try:
            values = json.loads((self.folder / MARKER).read_text(encoding="utf-8"))
            if values.pop("what") != _MAGIC:
                return None
            return Marker(**values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def status(self, lock_sha256: str) -> Status:
        """From files alone, in well under a millisecond. `check` finds more and takes longer."""
        if not self.folder.exists() or not any(self.folder.iterdir()):
            return Status.ABSENT
        marker = self.marker()
        if marker is None:
            return Status.FOREIGN
        if not marker.complete:
            return Status.INTERRUPTED
        if not self.python.is_file():
            return Status.BROKEN
        return Status.READY if marker.lock_sha256 == lock_sha256 else Status.OUTDATED

    # ------------------------------------------------------------------ install

    def install(
        self,
        lock: Lock,
        base: PythonInfo,
        *,
        index: str = "",
        online: bool,
        report: Report,
        cancelled: threading.Event,
        pip_options: tuple[str, ...] = (),
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Make the environment, or finish, repair or update the one that is there.

        Packages are installed one by one as the lock pins them and ticked off in the marker, so that an
        interrupted installation goes on where it stopped. `index` is the address of a further package index,
        which decides between the CPU and CUDA builds of torch; pip's own settings (its configuration files,
        proxies, PIP_... variables) hold. `pip_options` are passed to pip (--no-index and a folder of wheels).
        Raises GentgError; "cancelled" when `cancelled` was set.
        """
        if base.problem:
            raise GentgError(
                "missing_dependency", f"This Python cannot carry the backend: {base.problem}.", file=base.path
            )
        if not online and "--no-index" not in pip_options:
            raise GentgError(
                "missing_dependency",
                "Setting up the backend downloads packages, and Blender is set to be offline.",
                hint="Allow Online Access in Preferences > System > Network, then try again.",
            )
        if index:
            pip_options = (*pip_options, "--extra-index-url", index)
        report("Checking the folder", 0.0)
        marker = self._begin(lock, base, index)
        self._make_venv(base, report, cancelled, log)
        done = set(marker.installed)
        for number, requirement in enumerate(lock.requirements):
            pin = f"{requirement.name}=={requirement.version}"
            start, share = 0.05 + 0.95 * number / len(lock.requirements), 0.95 / len(lock.requirements)
            text = f"Installing {requirement.name} {requirement.version} ({number + 1} of {len(lock.requirements)})"
            report(text, start)
            if pin in done:
                continue
            self._install_one(requirement, pip_options, report, text, start, share, cancelled, log)
            marker.installed.append(pin)
            self._write(marker)
        marker.complete = True
        self._write(marker)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        report("Ready", 1.0)

    def _begin(self, lock: Lock, base: PythonInfo, index: str) -> Marker:
        """The marker to go on with: the old one after an interruption, else a new one on a clean folder."""
        if self.folder.exists() and any(self.folder.iterdir()) and self.marker() is None:
            raise GentgError(
                "not_writable",
                "The backend's folder holds something that GenTG did not put there.",
                file=self.folder,
                hint="Move it away or empty the folder, then try again.",
            )
        marker = self.marker()
        goes_on = (
            marker is not None and not marker.complete and marker.lock_sha256 == lock.sha256
            and marker.index == index and marker.base_python == os.fspath(base.path)
        )  # fmt: skip
        if not goes_on:
            self.remove()
            marker = Marker(index, os.fspath(base.path), lock.sha256)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise os_error(error, self.folder) from error
        need = FREE_SPACE * (1.0 - len(marker.installed) / len(lock.requirements))
        if free < need:
            raise GentgError(
                "no_space",
                f"The backend needs about {need / 1e9:.1f} GB of free space; {free / 1e9:.1f} GB are left.",
                file=self.folder,
                hint="Free some space and try again.",
            )
        self._write(marker)
        return marker

    def _make_venv(self, base: PythonInfo, report: Report, cancelled: threading.Event, log) -> None:
        report("Making the environment", 0.01)
        try:
            if self.python.is_file() and not inspect_python(self.python).problem:
                return
        except GentgError:
            pass  # half made, or its base was removed: made again
        shutil.rmtree(self.folder / "venv", ignore_errors=True)
        status = self._run(
            [base.path, "-I", "-m", "venv", "--copies" if WINDOWS else "--symlinks", self.folder / "venv"],
            cancelled,
            log,
        )
        if status:
            raise GentgError(
                "missing_dependency",
                f"Python could not make an environment (status {status}).",
                file=base.path,
                hint="Choose another Python in the GenTG preferences; the log has the details.",
            )

    def _install_one(self, requirement: Requirement, pip_options, report: Report, text: str,
                     start: float, share: float, cancelled: threading.Event, log) -> None:  # fmt: skip
        temporary = self.folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            single = temporary / "requirement.txt"
            single.write_text("\n".join([*requirement.options, requirement.text]) + "\n", encoding="utf-8")
        except OSError as error:
            raise os_error(error, temporary) from error
        command = [self.python, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check",
                   "--progress-bar", "off", "--only-binary", ":all:", *pip_options, "--requirement", single]  # fmt: skip
        command += (
            ["--no-deps"] if requirement.constraints is None else ["--constraint", requirement.constraints]
        )
        if requirement.hashed:
            command.append("--require-hashes")
        lines: list[str] = []
        download = _Download(temporary, lambda part, note: report(f"{text}{note}", start + share * part))

        def on_line(line: str) -> None:
            lines.append(line)
            log(line)
            download.line(line)

        with download:
            status = self._run(command, cancelled, on_line, TMPDIR=temporary, TEMP=temporary, TMP=temporary)
        if status:
            raise _pip_error(requirement, lines, self.folder)

    def _run(self, command, cancelled: threading.Event, on_line, **extra: str | os.PathLike) -> int:
        if cancelled.is_set():
            raise GentgError("cancelled", "The set-up was cancelled.")
        env = clean_environment(**{k: os.fspath(v) for k, v in extra.items()})
        try:
            status = run_lines(command, on_line, cancelled=cancelled, env=env, cwd=self.folder)
        except OSError as error:
            raise GentgError(
                "missing_dependency", f"Cannot run Python: {error.strerror or error}", file=command[0]
            ) from error
        if cancelled.is_set():
            raise GentgError(
                "cancelled", "The set-up was cancelled.", hint="Set Up Backend goes on where it stopped."
            )
        return status

    def _write(self, marker: Marker) -> None:
        with atomic_file(self.folder / MARKER) as temporary:
            temporary.write_text(json.dumps({"what": _MAGIC, **asdict(marker)}, indent=1), encoding="utf-8")

    # ------------------------------------------------------------------ remove

    def remove(self) -> None:
        """Delete the environment: only in a folder that carries our marker, and there only what is ours.

        Raises GentgError("not_writable") for a folder without the marker or that is a link, and when
        something is in use.
        """
        remove_owned(self.folder, self.marker() is not None, _OURS)


class _Download:
    """Bytes of the download that pip is at, from the growth of its temporary folder.

    pip before 24.1 tells a program nothing while it downloads, but prints the size beforehand
    ("Downloading x.whl (192.3 MB)") and writes the file under TMPDIR.
    """

    _SIZE = re.compile(r"Downloading .*\((\d+(?:\.\d+)?) (bytes|kB|MB|GB)\)")
    _UNIT = {"bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}

    def __init__(self, folder: Path, report: Callable[[float, str], None]):
        self.folder, self.report = folder, report
        self.total = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="gentg-download", daemon=True)

    def line(self, line: str) -> None:
        match = self._SIZE.search(line)
        if match:
            self.total = float(match[1]) * self._UNIT[match[2]]
        elif line.startswith("Installing collected"):
            self.total = 0.0

    def __enter__(self) -> _Download:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _measure(self) -> None:
        while not self._stop.wait(0.25):
            total = self.total
            if total:
                part = min(_size_below(self.folder) / total, 1.0)
                # Unpacking takes about as long as a fast download.
                self.report(0.7 * part, f", {part * total / 1e6:.0f} of {total / 1e6:.0f} MB")


def _size_below(folder: Path) -> int:
    size = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(base, name)).st_size
            except OSError:
                continue  # pip moved it meanwhile
    return size


def _pip_error(requirement: Requirement, lines: list[str], folder: Path) -> GentgError:
    """What pip's output means for a person."""
    name, text = f"{requirement.name} {requirement.version}", "\n".join(lines)
    if "No space left" in text or "Errno 28" in text or "WinError 112" in text:
        return GentgError(
            "no_space",
            f"The disk is full; {name} could not be installed.",
            file=folder,
            hint="Free some space; Set Up Backend goes on where it stopped.",
        )
    if "Permission denied" in text or "Errno 13" in text or "Access is denied" in text:
        return GentgError(
            "not_writable",
            f"{name} could not be written.",
            file=folder,
            hint="Check the folder's permissions and stop a running backend.",
        )
    if "DO NOT MATCH THE HASHES" in text:
        return GentgError(
            "missing_dependency",
            f"The download of {name} is not the file that GenTG was tested with.",
            hint="Try again; if it stays, a proxy or a mirror changes the files.",
        )
    if re.search(
        r"NewConnectionError|ConnectTimeout|Temporary failure|Name or service|ProxyError|ReadTimeout|SSLError",
        text,
    ):
        return GentgError(
            "missing_dependency",
            f"{name} could not be downloaded: no connection to the package index.",
            hint="Check the network, then press Set Up Backend again: it goes on where it stopped.",
        )
    if "No matching distribution" in text:
        return GentgError(
            "missing_dependency",
            f"There is no build of {name} for this computer.",
            hint="Choose another build (CPU or CUDA) in the GenTG preferences.",
        )
    last = next((line for line in reversed(lines) if line.strip()), "pip said nothing")
    return GentgError(
        "missing_dependency", f"{name} could not be installed: {last[:200]}", hint="The log has the details."
    )
