"""Results of slow stages, kept by content: the same input and the same code never compute twice.

An entry is one file named by the SHA-256 of everything it depends on. Entries are written atomically; one that
cannot be read is removed and computed again. The cache never makes a run fail.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gentg_blender.core.contract import GentgError, atomic_file

from .folders import cache_folder

T = TypeVar("T")
LIMIT = 2 * 1024**3  # bytes; the entries not used for longest go first
_log = logging.getLogger(__name__)


def key_of(**parts: Any) -> str:
    """The SHA-256 of all parts: JSON values and numpy arrays (their bytes, shape and type)."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        value = parts[name]
        if isinstance(value, np.ndarray):
            digest.update(f"{name}:{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(f"{name}:{json.dumps(value, sort_keys=True)}".encode())
        digest.update(b"\0")
    return digest.hexdigest()


class Cache:
    """Entries of several kinds under one folder; `Cache(None)` keeps nothing."""

    def __init__(self, folder: Path | None):
        self.folder = folder

    @classmethod
    def default(cls) -> Cache:
        return cls(cache_folder() / "entries")

    def fetch(self, kind: str, key: str, load: Callable[[Path], T]) -> T | None:
        """The entry as `load` reads it, or None. A damaged entry is removed."""
        path = self._path(kind, key)
        if path is None or not path.is_file():
            return None
        try:
            value = load(path)
            os.utime(path)  # "used last" for `_prune`
            return value
        except Exception as error:  # a damaged archive makes numpy and zlib raise nearly anything
            _log.warning("cache entry %s is damaged and will be made again: %s", path, error)
            try:
                path.unlink(missing_ok=True)
            except OSError as failure:
                _log.warning("it cannot be removed: %s", failure)
            return None

    def store(self, kind: str, key: str, save: Callable[[Path], Any]) -> None:
        """Keep what `save` writes to the path it is given. A full or read-only disk is only logged."""
        path = self._path(kind, key)
        if path is None:
            return
        try:
            with atomic_file(path) as temporary:
                save(temporary)
            self._prune()
        except (GentgError, OSError) as error:
            _log.warning("not cached: %s", error)

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def _path(self, kind: str, key: str) -> Path | None:
        return None if self.folder is None else self.folder / kind / f"{key}.npz"

    def _entries(self) -> list[tuple[float, int, Path]]:
        if self.folder is None or not self.folder.is_dir():
            return []
        found = []
        for path in self.folder.glob("*/*.npz"):
            try:
                stat = path.stat()
            except OSError:
                continue  # removed by another run meanwhile
            found.append((stat.st_mtime, stat.st_size, path))
        return sorted(found)

    def _prune(self) -> None:
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries[:-1]:  # the newest stays however large
            if total <= LIMIT:
                return
            path.unlink(missing_ok=True)
            total -= size
