"""Reading pip's requirement files: which packages a lock names, and a fingerprint of it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.contract import GentgError

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:==\s*([^\s;#\\]+))?")


@dataclass(frozen=True)
class Requirement:
    """One package of a lock file."""

    name: str
    version: str
    text: str  # its lines, as pip reads them
    hashed: bool
    options: tuple[str, ...] = ()  # lines of its file that begin with "-"
    constraints: Path | None = None  # set: its dependencies are installed too, held to this file


@dataclass(frozen=True)
class Lock:
    """Everything the backend's environment consists of."""

    requirements: tuple[Requirement, ...]
    sha256: str


def read_locks(folder: Path) -> Lock:
    """The extension's own lock files: backend.lock, complete but for torch, and torch.lock.

    torch comes with its dependencies, since those differ between its CPU and CUDA builds.
    """
    rest, torch = read_lock(folder / "backend.lock"), read_lock(folder / "torch.lock")
    with_dependencies = tuple(replace(r, constraints=folder / "backend.lock") for r in torch.requirements)
    # torch first: the largest download fails earliest.
    digest = hashlib.sha256((rest.sha256 + torch.sha256).encode()).hexdigest()
    return Lock(with_dependencies + rest.requirements, digest)


def read_lock(path: Path) -> Lock:
    """Parse a pinned requirements file.

    Raises GentgError("no_such_file") or GentgError("bad_request") for an entry without an exact version:
    what is not pinned could be something else tomorrow.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise GentgError(
            "no_such_file",
            "The list of the backend's packages cannot be read.",
            file=path,
            hint="Install the extension's zip again.",
        ) from error
    options, requirements = [], []
    for entry in re.split(r"(?<!\\)\n", text):
        lines = [line for line in entry.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if not lines:
            continue
        if lines[0].lstrip().startswith("-"):
            options.append("\n".join(lines))
            continue
        match = _NAME.match(lines[0].strip())
        if not match or not match[2]:
            raise GentgError(
                "bad_request", f"This line does not pin a version: {lines[0].strip()[:80]}", file=path
            )
        block = "\n".join(lines)
        requirements.append(Requirement(match[1], match[2], block, "--hash=" in block))
    if not requirements:
        raise GentgError("bad_request", "It names no package.", file=path)
    found = tuple(replace(r, options=tuple(options)) for r in requirements)
    return Lock(found, hashlib.sha256(text.encode("utf-8")).hexdigest())
