"""Finding a Python for the backend, also when the desktop started Blender with a bare PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.contract import GentgError
from .process import WINDOWS, clean_environment

BACKEND_PYTHON = (3, 11)  # what the lock files are made for
PYTHON_VARIABLE = "GENTG_BACKEND_PYTHON"  # names an environment's Python; wins over the one that was set up

_INSPECT = (
    "import json, sys, struct, importlib.util as u; "
    "print(json.dumps([list(sys.version_info[:3]), struct.calcsize('P') * 8, "
    "bool(u.find_spec('venv')) and bool(u.find_spec('ensurepip')), sys.prefix != sys.base_prefix]))"
)


class NoPython(GentgError):
    """No Python of the right version is on this computer: one can be downloaded, with consent."""


@dataclass(frozen=True)
class PythonInfo:
    """An interpreter that was run and asked."""

    path: Path
    version: tuple[int, int, int]
    bits: int
    can_make_environments: bool  # venv and ensurepip are there (Debian splits them off)
    is_environment: bool

    @property
    def problem(self) -> str:
        """Why it cannot be the base of the backend's environment; empty if it can."""
        want = ".".join(map(str, BACKEND_PYTHON))
        if self.version[:2] != BACKEND_PYTHON:
            return f"it is Python {'.'.join(map(str, self.version))}, the backend needs {want}"
        if self.bits != 64:
            return "it is a 32-bit Python, the backend needs a 64-bit one"
        if not self.can_make_environments:
            return f"it lacks the module venv (on Debian and Ubuntu: install python{want}-venv)"
        return ""


def inspect_python(path: str | os.PathLike, *, timeout: float = 20.0) -> PythonInfo:
    """Run an interpreter and ask what it is. Raises GentgError("missing_dependency")."""
    path = Path(path)
    options = {"creationflags": subprocess.CREATE_NO_WINDOW} if WINDOWS else {}
    try:
        done = subprocess.run(
            [os.fspath(path), "-I", "-c", _INSPECT], env=clean_environment(), stdin=subprocess.DEVNULL,
            capture_output=True, timeout=timeout, check=False, **options,
        )  # fmt: skip
        version, bits, makes, is_env = json.loads(done.stdout.decode("utf-8"))
        return PythonInfo(path, tuple(version), int(bits), bool(makes), bool(is_env))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        raise GentgError(
            "missing_dependency",
            "This file does not work as a Python interpreter.",
            file=path,
            hint="Choose the python executable itself (python.exe, bin/python3.11).",
        ) from error


def candidates(
    *,
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
    extra: Iterable[Path] = (),
) -> Iterator[Path]:
    """Existing files that may be the Python we need, likeliest first, each once. Runs none of them."""
    environ = os.environ if environ is None else environ
    home = Path.home() if home is None else home
    seen: set[Path] = set()
    places = _windows(environ) if WINDOWS else _posix(environ, home)
    for path in [*extra, *places, *_shared_tools(home, environ)]:
        # Resolved only to compare: an environment's python is a link that must be used by its own name.
        key = path.resolve()
        if key not in seen and path.is_file() and os.access(path, os.X_OK):
            seen.add(key)
            yield path


def find_python(*, environ: Mapping[str, str] | None = None, home: Path | None = None,
                extra: Iterable[Path] = ()) -> PythonInfo:  # fmt: skip
    """The first Python that can carry the backend.

    `extra` is tried first. Raises NoPython("missing_dependency") that lists what was found and why
    it will not do.
    """
    refused = []
    for path in candidates(environ=environ, home=home, extra=extra):
        try:
            info = inspect_python(path)
        except GentgError:
            continue
        if not info.problem:
            return info
        refused.append(f"{path}: {info.problem}")
    want = ".".join(map(str, BACKEND_PYTHON))
    raise NoPython(
        "missing_dependency",
        f"No Python {want} was found on this computer." + ("\n" + "\n".join(refused) if refused else ""),
        hint=f"Let GenTG download one, install Python {want} for your user (python.org, your package manager or uv; no "
        "administrator's rights are needed), or choose one under Python in the GenTG preferences.",
    )


def _posix(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    name = "python{}.{}".format(*BACKEND_PYTHON)
    on_path = environ.get("PATH", "").split(os.pathsep)
    # A program started from a desktop, macOS's above all, sees nothing but the system's folders in PATH.
    usual = [
        "/usr/local/bin",
        "/opt/homebrew/bin",
        "/opt/local/bin",
        "/usr/bin",
        "/snap/bin",
        str(home / ".local/bin"),
    ]
    for folder in dict.fromkeys([*on_path, *usual]):
        # pyenv's shims are scripts that pick a version by the current folder: its versions are listed below.
        if folder and "shims" not in Path(folder).parts:
            yield Path(folder, name)
    version = "{}.{}".format(*BACKEND_PYTHON)
    if sys.platform == "darwin":
        for base in (Path("/Library/Frameworks"), home / "Library/Frameworks"):
            yield base / "Python.framework/Versions" / version / "bin" / name
        for base in ("/opt/homebrew/opt", "/usr/local/opt"):
            yield Path(base, f"python@{version}", "bin", name)
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"), reverse=True)
    for conda in ("miniconda3", "anaconda3", "miniforge3", "mambaforge"):
        yield from sorted((home / conda).glob(f"envs/*/bin/{name}"))
        yield home / conda / "bin" / name


def _windows(environ: Mapping[str, str]) -> Iterator[Path]:
    import winreg

    version = "{}.{}".format(*BACKEND_PYTHON)
    for hive in (winreg.HKEY_CURRENT_USER, winreg.HKEY_LOCAL_MACHINE):
        try:
            with winreg.OpenKey(hive, rf"Software\Python\PythonCore\{version}\InstallPath") as key:
                yield Path(winreg.QueryValue(key, None), "python.exe")
        except OSError:
            continue
    short = version.replace(".", "")
    for base in (environ.get("LOCALAPPDATA", ""), environ.get("ProgramFiles", "")):
        if base:
            yield Path(base, "Programs", "Python", f"Python{short}", "python.exe")
            yield Path(base, f"Python{short}", "python.exe")
    for name in ("python.exe", "python3.exe"):
        found = shutil.which(name, path=environ.get("PATH"))
        # The Store's place-holder under WindowsApps opens a shop instead of Python.
        if found and "WindowsApps" not in found:
            yield Path(found)


def _shared_tools(home: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Interpreters that uv manages, and last this very Python (Blender's, if it has the right version)."""
    version = "{}.{}".format(*BACKEND_PYTHON)
    bases = [environ.get("UV_PYTHON_INSTALL_DIR"), home / ".local/share/uv/python",
             Path(environ["APPDATA"], "uv", "python") if environ.get("APPDATA") else None]  # fmt: skip
    for base in bases:
        if base:
            tail = "python.exe" if WINDOWS else f"bin/python{version}"
            yield from sorted(Path(base).glob(f"cpython-{version}.*/{tail}"), reverse=True)
    if sys.version_info[:2] == BACKEND_PYTHON:
        yield Path(sys.executable)
