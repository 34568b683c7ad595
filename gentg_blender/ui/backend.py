"""Where the backend is: the one we set up, one that the person chose, or one that the environment names."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import bpy

from ..core.contract import GentgError
from ..job.client import BackendCommand
from ..job.environment import Environment, Status
from ..job.find_python import PYTHON_VARIABLE
from ..job.lock import Lock, read_locks
from ..job.own_python import OwnPython, PythonBuild, build_for_here, read_python_lock

# "bl_ext.user_default.gentg" when installed; "gentg_blender" when run from a clone.
PACKAGE = __package__.rpartition(".gentg_blender")[0] or "gentg_blender"
ROOT = Path(__file__).resolve().parents[2]  # holds gentg_blender and inference_backend


def preferences() -> bpy.types.AddonPreferences | None:
    """Our preferences; None when run from a script instead of an installed extension."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon else None


@lru_cache(maxsize=1)
def user_folder() -> Path:
    """The only folder that we write to. Raises GentgError."""
    try:
        if PACKAGE.startswith("bl_ext."):
            return Path(bpy.utils.extension_path_user(PACKAGE, create=True))
        return Path(bpy.utils.user_resource("DATAFILES", path="gentg", create=True))
    except (OSError, ValueError) as error:
        raise GentgError(
            "not_writable",
            f"Blender's user folder cannot be written: {error}",
            hint="Check the permissions of Blender's configuration folder.",
        ) from error


@lru_cache(maxsize=1)
def lock() -> Lock:
    """What the backend's environment must hold. Raises GentgError."""
    return read_locks(ROOT / "requirements")


def environment() -> Environment:
    """The environment that Set Up Backend makes."""
    return Environment(user_folder() / "backend")


def own_python() -> OwnPython:
    """The Python that is downloaded where the computer has none, with consent."""
    return OwnPython(user_folder() / "python")


@lru_cache(maxsize=1)
def python_build() -> PythonBuild | None:
    """What would be downloaded for this computer. Raises GentgError."""
    return build_for_here(read_python_lock(ROOT / "requirements" / "python.lock"))


def chosen_python() -> Path | None:
    """The person's own environment, if one was chosen."""
    if os.environ.get(PYTHON_VARIABLE):
        return Path(os.environ[PYTHON_VARIABLE])
    prefs = preferences()
    if prefs is not None and prefs.source == "EXISTING":
        return Path(bpy.path.abspath(prefs.existing_python)) if prefs.existing_python else Path()
    return None


def problem() -> str:
    """Why no backend can be started, for the panel; empty if one can. Looks at a few files only."""
    python = chosen_python()
    if python is not None:
        if python == Path():
            return "No environment is chosen in the preferences."
        return "" if python.is_file() else f"The chosen Python is not there: {python}"
    try:
        status = environment().status(lock().sha256)
    except GentgError as error:
        return error.message
    return {
        Status.READY: "",
        Status.ABSENT: "The backend is not set up yet. It needs about 2 GB and a few minutes, once.",
        Status.INTERRUPTED: "The set-up was interrupted. It goes on where it stopped.",
        Status.OUTDATED: "The backend belongs to another version of GenTG. Set it up again.",
        Status.BROKEN: "The backend's Python is gone. Repair it.",
        Status.FOREIGN: "The backend's folder holds files that are not GenTG's.",
    }[status]


def command() -> BackendCommand:
    """How to start the backend. Raises GentgError("missing_dependency") with what to do."""
    reason = problem()
    if reason:
        raise GentgError("missing_dependency", reason, hint="Press Set Up Backend in the GenTG preferences.")
    python = chosen_python() or environment().python
    return BackendCommand(python, ROOT, user_folder() / "logs")
