"""The extension as people get it: validated, built, installed into a fresh profile, switched on and used."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from environments import ROOT, blender_program, run
from walking import walking

from gentg_blender.core.contract import save_capture
from inference_backend.pipeline.errors import ONLY_IN_A_CLONE

ALLOWED = re.compile(
    r"(blender_manifest\.toml|__init__\.py|LICENSE|NOTICE"
    r"|requirements/(backend|torch|python)\.lock"
    r"|gentg_blender/.*\.(py|json)"
    r"|inference_backend/.*\.(py|json|safetensors|md|txt))$"
)
NEEDED = ("blender_manifest.toml", "__init__.py", "LICENSE", "NOTICE", "gentg_blender/__init__.py", "gentg_blender/cli.py",
          "gentg_blender/core/contract.py", "inference_backend/__init__.py", "inference_backend/__main__.py",
          "requirements/backend.lock", "requirements/torch.lock", "requirements/python.lock")  # fmt: skip

# Run in Blender: every DeprecationWarning that our code causes is an error.
USE = """
import sys, warnings
warnings.simplefilter("error", DeprecationWarning)
import addon_utils, bpy
name = "bl_ext.user_default.gentg"
bpy.ops.preferences.addon_enable(module=name)
assert name in bpy.context.preferences.addons, "not switched on"
assert addon_utils.check(name) == (True, True), addon_utils.check(name)
import importlib
tool = importlib.import_module(name + ".gentg_blender.tool.result")
contract = importlib.import_module(name + ".gentg_blender.core.contract")
assert "gentg_blender" not in sys.modules and "inference_backend" not in sys.modules
c = contract.load_capture(sys.argv[sys.argv.index("--") + 1])
r = tool.import_capture(bpy.context, c, tool.ImportSettings(name="walk"))
assert len(r.armature.data.bones) == 21
bpy.ops.preferences.addon_disable(module=name)
assert name not in bpy.context.preferences.addons
left = [n for n in dir(bpy.types) if "gentg" in n.lower()]
assert not left, left
bpy.ops.preferences.addon_enable(module=name)
bpy.ops.wm.save_userpref()
print("USED")
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    done = run(
        [
            blender_program(),
            "--command",
            "extension",
            "build",
            "--source-dir",
            str(ROOT),
            "--output-dir",
            str(folder),
        ]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    return path


def test_manifest_is_valid():
    done = run([blender_program(), "--command", "extension", "validate", str(ROOT)])
    assert done.returncode == 0, done.stdout + done.stderr


def test_archive_holds_what_is_needed_and_nothing_else(package):
    done = run([blender_program(), "--command", "extension", "validate", str(package)])
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(package) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
    assert not [n for n in names if not ALLOWED.match(n)]
    assert not [n for n in NEEDED if n not in names]
    assert any(n.endswith(".safetensors") for n in names)


def test_nothing_in_the_archive_imports_what_is_left_out(package):
    """But commands for a clone, which say so: tests/pipeline/test_errors.py."""
    with zipfile.ZipFile(package) as archive:
        texts = {n: archive.read(n).decode() for n in archive.namelist() if n.endswith(".py")}
    have = {n.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for n in texts}
    missing = {
        (name, module)
        for name, text in texts.items()
        for module in re.findall(
            r"^\s*(?:from|import) ((?:inference_backend|gentg_blender)[.\w]*)", text, re.M
        )
        if module not in have
    }
    assert all(module.startswith(ONLY_IN_A_CLONE) for _, module in missing), missing
    commands = {
        f"inference_backend/cli/{c}.py"
        for c in ("benchmark", "evaluate", "motion_studies", "train", "visualize")
    }
    assert {name for name, _ in missing} <= commands
    assert not [m for m in have if m.startswith(ONLY_IN_A_CLONE)]


def test_fresh_profile_installs_uses_and_runs_the_command(package, tmp_path):
    profile = tmp_path / "profile"
    profile.mkdir()
    env = {"BLENDER_USER_RESOURCES": str(profile)}
    blender = blender_program()
    done = run([blender, "--command", "extension", "install-file", "-r", "user_default", str(package)], **env)
    assert done.returncode == 0, done.stdout + done.stderr
    capture = save_capture(tmp_path / "walk.npz", walking(1.0))
    script = tmp_path / "use.py"
    script.write_text(USE)
    done = run([blender, "-b", "--python-exit-code", "1", "--python", str(script), "--", str(capture)], **env)
    assert done.returncode == 0 and "USED" in done.stdout, done.stdout + done.stderr

    out = tmp_path / "out"
    done = run(
        [blender, "--command", "gentg", "--capture", str(capture), "--fbx", "--blend", "--out", str(out)],
        **env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((out / "gentg_summary.json").read_text())["done"] == 1
    assert sorted(p.name for p in out.iterdir()) == ["gentg_summary.json", "walk.blend", "walk.fbx"]
    done = run(
        [blender, "--command", "gentg", "--capture", str(tmp_path / "none.npz"), "--fbx", "--out", str(out)],
        **env,
    )
    assert done.returncode == 1 and "none.npz" in done.stderr
