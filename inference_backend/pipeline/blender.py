"""Finding a Blender and running gentg_blender/batch.py in it; the bpy module serves where there is none."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gentg_blender.core.contract import GentgError
from gentg_blender.core.delivery import FILES, Delivery

from .children import run_child
from .folders import repository
from .reporter import Reporter

OLDEST = (4, 5)
_OPTIONS = ", ".join(f"--{kind}" for kind in FILES)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Blender:
    """A Blender that can run our script. `program` None is the bpy module of this environment."""

    program: Path | None
    version: str

    def command(self, script: Path, arguments: list[str]) -> list[str]:
        """The command line that runs `script` with `arguments` without a window or the user's settings."""
        if self.program is None:
            return [sys.executable, str(script), "--", *arguments]
        return [
            str(self.program),
            "-b",
            "--factory-startup",
            "--python-exit-code",
            "1",
            "--python",
            str(script),
            "--",
            *arguments,
        ]


def find_blender(program: str | os.PathLike | None = None) -> Blender:
    """The named one, else GENTG_BLENDER, else `blender` on the PATH if new enough, else the bpy module.

    Raises GentgError("no_blender"). A Blender that was asked for by name is never replaced by another.
    """
    named = program or os.environ.get("GENTG_BLENDER")
    if named:
        path = shutil.which(named)
        if path is None:
            raise GentgError(
                "no_blender",
                "There is no Blender there.",
                file=named,
                hint="Give the path of Blender's program with --blender or GENTG_BLENDER.",
            )
        version = _version(path)
        if not _new_enough(version):
            raise GentgError(
                "no_blender", f"Blender {version} is too old: 4.5 or newer is needed.", file=path
            )
        return Blender(Path(path), version)
    path = shutil.which("blender")
    if path:
        try:
            version = _version(path)
        except GentgError as error:
            _log.warning("%s", error)
        else:
            if _new_enough(version):
                return Blender(Path(path), version)
            _log.warning("Blender %s at %s is too old and was not used", version, path)
    if importlib.util.find_spec("bpy"):
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed

        try:
            return Blender(None, installed("bpy"))
        except PackageNotFoundError:
            return Blender(None, "of unknown version")
    raise GentgError(
        "no_blender",
        "Neither a Blender nor the bpy module was found.",
        hint=f"Install Blender 4.5 or newer and name it with --blender, or leave out {_OPTIONS}.",
    )


def make_scene(
    blender: Blender, capture: Path, clip: Path | None, files: dict[str, Path], name: str, report: Reporter,
    delivery: Delivery = Delivery(),
) -> list[str]:  # fmt: skip
    """Build armature, action and camera of `capture` and write `files` (kind of core.delivery.FILES ->
    path), on the rig that `delivery` names if any. Returns what is to be noted. Raises GentgError."""
    script = repository() / "gentg_blender" / "batch.py"
    arguments = ["--capture", str(capture), "--name", name]
    if clip is not None:
        arguments += ["--clip", str(clip)]
    for kind, path in files.items():
        arguments += [f"--{kind}", str(path)]
    arguments += delivery.arguments()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        _log.debug("blender: %s", line)

    report("blender", 0, 1)
    command = blender.command(script, arguments)
    try:
        status = run_child(command, on_line, report.check)
    except OSError as error:
        raise GentgError(
            "no_blender", f"Blender cannot be started: {error.strerror or error}", file=blender.program
        ) from error
    logging.getLogger("blender").info("%s\n%s", " ".join(command), "\n".join(lines))
    missing = [p for p in files.values() if not p.is_file()]
    if status or missing:
        raise GentgError(
            "blender_failed",
            f"Blender {blender.version} failed: {_last_words(lines, status)}",
            hint=f"The log holds all that Blender said. Leave out {_OPTIONS} to get the capture alone.",
        )
    report("blender", 1, 1)
    return _warnings(lines)


def _warnings(lines: list[str]) -> list[str]:
    """What the summary of batch.py notes."""
    for line in reversed(lines):
        if line.startswith('{"type": "summary"'):
            return [str(text) for item in json.loads(line)["items"] for text in item["warnings"]]
    return []


def _version(program: str) -> str:
    """What `blender --version` says. Raises GentgError("no_blender")."""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GentgError("no_blender", f"Blender does not start: {error}", file=program) from error
    found = re.search(r"^Blender (\d+\.\d+(?:\.\d+)?)", done.stdout, re.MULTILINE)
    if not found:
        raise GentgError(
            "no_blender",
            "This program is not Blender, or it cannot start here.",
            file=program,
            hint=(done.stderr or done.stdout).strip()[-200:],
        )
    return found[1]


def _new_enough(version: str) -> bool:
    return tuple(int(x) for x in version.split(".")[:2]) >= OLDEST


def _last_words(lines: list[str], status: int) -> str:
    """The most telling line of a failed run."""
    for line in reversed(lines):
        if re.match(r"(\w+\.)*\w*(Error|Exception|GentgError)\b", line):
            return line
    said = [line for line in lines if line.strip()]
    return said[-1] if said else f"it ended with status {status}"
