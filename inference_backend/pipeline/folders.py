"""Where the backend keeps things on this machine: the cache and the logs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """GENTG_CACHE if set, else `gentg` in the platform's cache folder. Not created here."""
    own = os.environ.get("GENTG_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "gentg" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gentg"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "gentg"


def repository() -> Path:
    """The folder that holds `gentg_blender`, `inference_backend` and `requirements`: a clone or the extension."""
    return Path(__file__).resolve().parents[2]
