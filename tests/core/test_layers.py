"""The import rules of docs/architecture.md: what each folder may import, inside functions too."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = "gentg_blender.core"

# Folder -> what its modules may import besides themselves and the standard library. A name stands for all below it.
# Blender's modules are written out, so that `bpy` shows where it may be had.
BLENDER_SIDE = {
    "gentg_blender": {
        "bpy", CORE, "gentg_blender.cli", "gentg_blender.headless", "gentg_blender.job", "gentg_blender.tool",
        "gentg_blender.ui",
    },
    "gentg_blender/core": {"numpy"},
    "gentg_blender/core/retarget": {"numpy", CORE},
    "gentg_blender/job": {CORE},
    "gentg_blender/tool": {"bpy", "addon_utils", "mathutils", "numpy", CORE},
    "gentg_blender/ui": {"bpy", CORE, "gentg_blender.job", "gentg_blender.tool"},
}  # fmt: skip
_NAMES = (
    "cli", "diffusion", "evaluation", "export", "keypoints", "lifting", "live", "networks", "pipeline", "preview",
    "solve", "training", "video",
)  # fmt: skip
_B = {name: f"inference_backend.{name}" for name in _NAMES}
_VERSION = "inference_backend.__version__"
BACKEND = {
    "inference_backend": {_B["cli"]},
    "inference_backend/cli": {*_B.values(), CORE, "numpy", "torch", "tqdm", _VERSION},
    "inference_backend/diffusion": {"torch", CORE},
    "inference_backend/evaluation": {
        "numpy", "scipy", "cv2", "h5py", "torch", CORE, _B["keypoints"], _B["lifting"], _B["networks"], _B["training"],
        _B["live"], _B["solve"],
    },
    "inference_backend/export": {"torch", CORE, _B["networks"]},
    "inference_backend/keypoints": {"numpy", "scipy", "cv2", "mediapipe", "onnxruntime", CORE, _B["video"]},
    "inference_backend/lifting": {
        "numpy", "torch", "safetensors", "onnxruntime", CORE, _B["networks"], _B["diffusion"], _B["export"],
    },
    "inference_backend/live": {
        "numpy", "torch", "cv2", CORE, _B["keypoints"], _B["video"], _B["networks"], _B["lifting"], _B["solve"],
        _B["preview"],
    },
    "inference_backend/networks": {"torch", CORE},
    "inference_backend/networks/baselines": {"torch", CORE, _B["networks"]},
    "inference_backend/pipeline": {
        "numpy", "av", "psutil", "torch", CORE, _VERSION, _B["video"], _B["keypoints"], _B["lifting"], _B["solve"],
        _B["preview"],
    },
    "inference_backend/preview": {"numpy", "av", "cv2", "PIL", CORE, _B["video"]},
    "inference_backend/solve": {"numpy", "scipy", CORE, "inference_backend.lifting.lifted"},
    "inference_backend/training": {
        "numpy", "torch", "tqdm", "yaml", CORE, _B["networks"], _B["lifting"], _B["diffusion"],
        "inference_backend.keypoints.layouts",
    },
    "inference_backend/video": {"numpy", "av", "cv2", CORE},
}  # fmt: skip
RULES = BLENDER_SIDE | BACKEND
ENTRIES = ("gentg_blender", "inference_backend", "inference_backend/cli")  # they reach everything below them


def imports(tree: ast.AST, folder: str) -> Iterator[tuple[int, str, bool]]:
    """Line, full dotted name and whether it was written relatively, of all imports in a module of `folder`."""
    package = folder.split("/")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, False
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}", bool(node.level)


def allowed(name: str, folder: str) -> bool:
    def below(whole: str) -> bool:
        return name == whole or name.startswith(whole + ".")

    if name.split(".")[0] in sys.stdlib_module_names:
        return True
    own = folder.replace("/", ".")
    if below(own) and "/" in folder:
        return True
    if any(below(rule) for rule in RULES[folder]):
        return True
    # a package itself: its own modules and names, but none of its folders
    return below(own) and name.count(".") <= 1 and not (ROOT / name.replace(".", "/")).is_dir()


def violations(text: str, folder: str, script: bool = False) -> list[str]:
    """`script`: run by its path, where nothing is relative."""
    found = []
    for line, name, relative in imports(ast.parse(text), folder):
        if not allowed(name, folder):
            found.append(f"{line}: {folder} may not import {name}")
        elif (
            folder.startswith("gentg_blender")
            and name.startswith("gentg_blender")
            and not (relative or script)
        ):
            found.append(f"{line}: {name} is not imported relatively")
    return found


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("folder", RULES)
def test_folder_imports_only_what_it_may(folder):
    assert modules(folder)
    found = [
        f"{p.name}:{found}"
        for p in modules(folder)
        for found in violations(p.read_text("utf-8"), folder, script=p.name == "batch.py")
    ]
    assert not found, "\n".join(found)


def test_every_folder_with_modules_has_a_rule():
    packages = {
        p.parent.relative_to(ROOT).as_posix()
        for top in ("gentg_blender", "inference_backend")
        for p in (ROOT / top).rglob("*.py")
    }
    assert packages == set(RULES)
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert not [f for f in RULES if f"{f.split('/')[-1]}/" not in text], "docs/architecture.md lacks a folder"


@pytest.mark.parametrize("folder", [f for f in RULES if f not in ENTRIES])
def test_docstring_says_what_may_be_imported(folder):
    text = (ROOT / folder / "__init__.py").read_text("utf-8")
    said = ast.get_docstring(ast.parse(text)).partition("May import")[2]
    rules = {rule.split(".")[-1] for rule in RULES[folder]} - {"__version__"}
    known = {rule.split(".")[-1] for rules in RULES.values() for rule in rules}
    words = re.findall(r"\w[\w.]*\w|\w", said.partition("; never")[0])
    assert {word.split(".")[-1] for word in words} & known == rules


def test_the_extension_imports_bpy_and_its_folders_only_when_registered():
    tree = ast.parse((ROOT / "gentg_blender" / "__init__.py").read_text("utf-8"))
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name.split(".")[0] for n in top for a in n.names} | {getattr(n, "module", None) for n in top}
    assert "bpy" not in names and not any(getattr(n, "level", 0) for n in top)


@pytest.mark.parametrize(
    "folder, text",
    [
        ("gentg_blender/core", "import bpy"),
        ("gentg_blender/core", "from ..tool import strips"),
        ("gentg_blender/core", "def f():\n    import scipy.signal"),
        ("gentg_blender/job", "from .. import ui"),
        ("gentg_blender/job", "import numpy as np"),
        ("gentg_blender/tool", "from ..ui import session"),
        (
            "gentg_blender/tool",
            "from gentg_blender.core.contract import Capture",
        ),  # fails in an installed extension
        ("gentg_blender/ui", "import inference_backend.solve.solve"),
        ("inference_backend/video", "from ..keypoints import track"),
        ("inference_backend/keypoints", "from inference_backend import pipeline"),
        ("inference_backend/pipeline", "from inference_backend.cli.exits import CODES"),
        ("inference_backend/solve", "from inference_backend.lifting.lifter import Lifter"),
        ("inference_backend/solve", "from gentg_blender.job import client"),
        ("inference_backend/networks", "import numpy"),
        ("inference_backend/diffusion", "from inference_backend.networks.gpc import GPC"),
        ("inference_backend", "from . import solve"),
    ],
)
def test_violations_are_found(folder, text):
    assert violations(text, folder), text
