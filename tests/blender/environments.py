"""The Blenders at hand: $GENTG_BLENDER, this Python if it has the bpy module, and what `make bpy-5.0` made.

$GENTG_BPY_PYTHONS may name further Pythons with bpy, separated as in PATH.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Environment:
    name: str
    program: str
    is_blender: bool

    def script(self, script: Path, *arguments: str | os.PathLike) -> list[str]:
        """The command line that runs a script with these arguments."""
        tail = [str(script), "--", *map(str, arguments)]
        if not self.is_blender:
            return [self.program, *tail]
        return [self.program, "-b", "--factory-startup", "--python-exit-code", "1", "--python", *tail]


def run(command: list[str], *, timeout: float = 300.0, **env: str) -> subprocess.CompletedProcess:
    """Run to the end, output as text. Blender's user folders are left alone unless `env` moves them."""
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
    )


def environments() -> list[Environment]:
    found = []
    if blender := os.environ.get("GENTG_BLENDER"):
        found.append(Environment("blender", blender, True))
    if importlib.util.find_spec("bpy"):
        found.append(Environment("bpy", sys.executable, False))
    for complete in sorted(ROOT.glob(".venv-bpy-*/.complete")):
        found.append(
            Environment(
                complete.parent.name.removeprefix(".venv-"), str(complete.parent / "bin" / "python"), False
            )
        )
    for i, python in enumerate(filter(None, os.environ.get("GENTG_BPY_PYTHONS", "").split(os.pathsep))):
        found.append(Environment(f"bpy{i + 2}", python, False))
    return found


def _parametrise(found: list[Environment]):
    missing = pytest.param(
        None, marks=pytest.mark.skip("no Blender: set GENTG_BLENDER or install bpy"), id="none"
    )
    return pytest.mark.parametrize("environment", [pytest.param(e, id=e.name) for e in found] or [missing])


def every_environment(function):
    """Parametrise a test over them; without any it is skipped, and says so."""
    return _parametrise(environments())(function)


def one_environment(function):
    """The same for what cannot differ between them."""
    return _parametrise(environments()[:1])(function)


def blender_program() -> str:
    """The real Blender, or skip."""
    program = os.environ.get("GENTG_BLENDER")
    if not program:
        pytest.skip("no Blender: set GENTG_BLENDER to its program")
    return program
