"""Removing folders that GenTG made, and never anything else."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from ..core.contract import GentgError


def remove_owned(folder: Path, is_ours: bool, names: Collection[str]) -> None:
    """Delete `names` in `folder`, and the folder once it is empty.

    `is_ours` says whether it carries our marker, which comes last in `names`, so that an interrupted removal can
    be repeated. Raises GentgError("not_writable") for a folder that is not ours or is a link, and when something
    is in use.
    """
    if not folder.exists():
        return
    if folder.is_symlink():
        raise GentgError(
            "not_writable",
            "The backend's folder is a link; GenTG removes nothing behind links.",
            file=folder,
        )
    if not any(folder.iterdir()):
        folder.rmdir()
        return
    if not is_ours:
        raise GentgError(
            "not_writable",
            "This folder was not made by GenTG, so nothing in it is removed.",
            file=folder,
        )
    try:
        for name in names:
            path = folder / name
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)  # follows no links
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise GentgError(
            "not_writable",
            f"Cannot remove the backend: {error.strerror or error}",
            file=error.filename or folder,
            hint="Stop the backend (or restart Blender) and try again.",
        ) from error
