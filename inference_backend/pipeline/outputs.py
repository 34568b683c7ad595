"""The files that one estimate writes: checked before the work, whole afterwards or not there."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from gentg_blender.core import delivery
from gentg_blender.core.contract import GentgError, os_error

SUFFIXES = {"capture": ".npz", "preview": ".mp4", "still": ".png", **delivery.SUFFIXES}


@dataclass(frozen=True)
class Outputs:
    """Paths of what to write; None = not wanted. The capture is always written."""

    capture: Path
    preview: Path | None = None
    still: Path | None = None
    blend: Path | None = None
    fbx: Path | None = None
    bvh: Path | None = None
    glb: Path | None = None
    usd: Path | None = None

    def wanted(self, *names: str) -> dict[str, Path]:
        """Name -> path of those that are wanted, of all or of `names` only."""
        return {
            f.name: p
            for f in fields(self)
            if (p := getattr(self, f.name)) is not None and (not names or f.name in names)
        }

    def check(self, *sources: Path) -> None:
        """Raises GentgError("bad_request") for wrong suffixes, double use and overwriting a source."""
        taken = {_real(s): "input" for s in sources}
        for name, path in self.wanted().items():
            if path.suffix.lower() != SUFFIXES[name]:
                raise GentgError(
                    "bad_request", f"The {name} output must end with {SUFFIXES[name]}.", file=path
                )
            if path.is_dir():
                raise GentgError(
                    "bad_request", f"The {name} output is a folder.", file=path, hint="Give a file name."
                )
            if (other := taken.setdefault(_real(path), name)) != name:
                raise GentgError("bad_request", f"The {name} output would overwrite the {other}.", file=path)


class staged:
    """Context manager over files to write: yields temporary paths beside them, moved into place together at the end.

    `files` and what is yielded map a name to a path. Writing is tried on entering, so that a folder without
    permission is found before the work. On any error, Ctrl-C included, no file and no folder made here is left
    behind. Raises GentgError.
    """

    def __init__(self, files: dict[str, Path]):
        self.files = files
        self.temporary: dict[str, Path] = {}
        self._folders: list[Path] = []  # made here, outermost first

    def __enter__(self) -> dict[str, Path]:
        try:
            for name, path in self.files.items():
                try:
                    self._make_folder(path.parent)
                    handle, temporary = tempfile.mkstemp(
                        prefix=".gentg-", suffix=path.suffix, dir=path.parent
                    )
                except OSError as error:
                    raise os_error(error, path) from error
                os.close(handle)
                self.temporary[name] = Path(temporary)
                os.unlink(temporary)  # programs make backups of files that exist
        except BaseException:
            self._clean_up()
            raise
        return dict(self.temporary)

    def __exit__(self, kind, error, trace) -> bool:
        if error is None:
            try:
                self._move()
            except BaseException:
                self._clean_up()
                raise
            return False
        self._clean_up()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise os_error(error, next(iter(self.files.values()))) from error
        return False

    def _move(self) -> None:
        umask = os.umask(0)
        os.umask(umask)
        for name, temporary in self.temporary.items():
            if not temporary.is_file():
                raise GentgError("internal", f"The {name} output was not made.", file=self.files[name])
        for name, temporary in self.temporary.items():
            try:
                os.chmod(temporary, 0o666 & ~umask)
                os.replace(temporary, self.files[name])
            except OSError as failure:
                raise os_error(failure, self.files[name]) from failure

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            self._folders.append(path)

    def _clean_up(self) -> None:
        for path in self.temporary.values():
            path.unlink(missing_ok=True)
        for folder in reversed(self._folders):
            try:
                folder.rmdir()
            except OSError:
                pass  # somebody else put something there


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
