"""What is installed, what is wrong and how to mend it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gentg_blender.core.contract import PROTOCOL_VERSION, RESULT_VERSION, GentgError
from inference_backend import __version__

from .blender import find_blender
from .cache import Cache
from .folders import cache_folder, repository

_MEND = "Set up the environment again: 'make' in a clone, Set Up Backend in Blender."
_NEEDED_DISK = 1 << 30


@dataclass(frozen=True)
class Check:
    """One line of the report. `fail` makes GenTG unusable, `warn` takes something away."""

    name: str
    status: str  # ok | warn | fail
    detail: str
    fix: str = ""


def examine() -> dict[str, Any]:
    """The whole report: `usable`, `checks` and facts for programs."""
    checks: list[Check] = []
    for part in (_python, _packages, _device, _models, _blender, _cache, _disk):
        try:
            checks += part()
        except Exception as error:  # one broken part must not hide the others
            checks.append(Check(part.__name__.strip("_"), "fail", f"{type(error).__name__}: {error}", _MEND))
    return {
        "gentg": __version__, "protocol": PROTOCOL_VERSION, "result": RESULT_VERSION,
        "usable": all(c.status != "fail" for c in checks), "checks": [asdict(c) for c in checks],
    }  # fmt: skip


def _python() -> list[Check]:
    version = platform.python_version()
    detail = f"{version} at {sys.executable}, {platform.platform()}"
    if sys.version_info[:2] != (3, 11):
        return [Check("Python", "fail", detail, f"The packages are locked for Python 3.11. {_MEND}")]
    return [Check("Python", "ok", detail)]


def read_lock(name: str) -> dict[str, str]:
    """Package -> exact version, from requirements/NAME.lock."""
    lines = (repository() / "requirements" / f"{name}.lock").read_text(encoding="utf-8").splitlines()
    return dict(m.groups() for line in lines if (m := re.match(r"([\w.-]+)==([\w.]+)", line)))


def _packages() -> list[Check]:
    locked = read_lock("backend") | read_lock("torch")
    wrong, missing = [], []
    for name, version in locked.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found.split("+")[0] != version:  # a local build such as 2.13.0+cpu is the same version
            wrong.append(f"{name} {found} (locked: {version})")
    if missing:
        return [Check("packages", "fail", f"missing: {', '.join(missing)}", _MEND)]
    if wrong:
        return [Check("packages", "warn", f"other versions than tested: {', '.join(wrong)}", _MEND)]
    chosen = ", ".join(f"{n} {locked[n]}" for n in ("torch", "numpy", "av", "mediapipe", "onnxruntime"))
    return [Check("packages", "ok", f"all {len(locked)} as locked: {chosen}")]


def _device() -> list[Check]:
    import torch

    threads = f"{torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return [
            Check(
                "device",
                "ok",
                f"CUDA {torch.version.cuda}: {torch.cuda.get_device_name(0)}, {memory:.0f} GB; CPU, {threads}",
            )
        ]
    if torch.backends.mps.is_available():
        return [Check("device", "ok", f"Apple GPU (mps); CPU, {threads}")]
    checks = [Check("device", "ok", f"CPU, {threads}")]
    if shutil.which("nvidia-smi"):
        checks.append(
            Check(
                "GPU",
                "warn",
                "there is an NVIDIA driver, but this build of PyTorch does not use it",
                "Install a CUDA build of the same torch version into the environment.",
            )
        )
    return checks


def _models() -> list[Check]:
    from inference_backend.lifting.weights import load_weights, sha256_of

    checks = []
    for kind in ("tgt", "gpc"):
        try:
            checks.append(Check(f"model {kind}", "ok", f"sha256 {load_weights(kind).sha256}"))
        except GentgError as error:
            checks.append(Check(f"model {kind}", "fail", f"{error.message} ({error.file})", error.hint))
    found = importlib.util.find_spec("mediapipe")
    folder = Path(next(iter(found.submodule_search_locations))) / "modules" if found else Path("missing")
    for part in ("pose_detection/pose_detection.tflite", "pose_landmark/pose_landmark_full.tflite"):
        path = folder / part
        if path.is_file():
            checks.append(Check(f"model {path.name}", "ok", f"sha256 {sha256_of(path)}"))
        else:
            checks.append(Check(f"model {path.name}", "fail", "missing from the mediapipe package", _MEND))
    return checks


def _blender() -> list[Check]:
    try:
        blender = find_blender()
    except GentgError as error:
        return [
            Check(
                "Blender",
                "warn",
                f"{error.message} ({error.file})" if error.file else error.message,
                error.hint,
            )
        ]
    if blender.program is not None:
        return [Check("Blender", "ok", f"{blender.version} at {blender.program}")]
    # bpy needs system libraries that pip cannot bring, and a failure to load may end the process: ask a child.
    done = subprocess.run(
        [sys.executable, "-c", "import bpy, os; print(bpy.app.version_string, flush=True); os._exit(0)"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        return [
            Check(
                "Blender",
                "warn",
                f"the bpy module cannot be loaded: {words[-1]}",
                "Install its system libraries (run 'make', which names them), or set GENTG_BLENDER.",
            )
        ]
    return [
        Check(
            "Blender",
            "ok",
            f"bpy module {done.stdout.split()[0]} (no Blender on the PATH, none in GENTG_BLENDER)",
        )
    ]


def _cache() -> list[Check]:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return [
            Check(
                "cache",
                "fail",
                f"{folder}: {error.strerror}",
                "Set GENTG_CACHE to a folder that you may write to.",
            )
        ]
    return [Check("cache", "ok", f"{folder}, {Cache.default().size() / 1e6:.0f} MB")]


def _disk() -> list[Check]:
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_DISK:
        return [Check("disk", "warn", f"{free / 1e9:.1f} GB free at {folder}", "Free some space.")]
    return [Check("disk", "ok", f"{free / 1e9:.1f} GB free")]
