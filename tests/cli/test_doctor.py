"""gentg doctor tells a sound installation from a broken one, and how to mend it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path):
    """The program in another folder, to be damaged."""
    for part in ("gentg_blender", "inference_backend", "requirements"):
        shutil.copytree(ROOT / part, tmp_path / "copy" / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def report(ran) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(ran.out)["checks"]}


def test_this_installation_is_usable(gentg):
    ran = gentg("doctor", "--json")
    assert ran.code == 0, ran.out
    checks = report(ran)
    assert {"Python", "packages", "device", "model tgt", "model gpc", "cache", "disk", "Blender"} <= set(
        checks
    )
    manifest = json.loads((ROOT / "inference_backend" / "weights" / "manifest.json").read_text())
    for kind in ("tgt", "gpc"):
        assert manifest[f"{kind}.safetensors"]["sha256"] in checks[f"model {kind}"]["detail"]
    assert "Ready" in gentg("doctor").out


def test_damaged_model_is_found(gentg, copy):
    path = copy / "inference_backend" / "weights" / "gpc.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    ran = gentg("doctor", "--json", cwd=copy)
    check = report(ran)["model gpc"]
    assert ran.code == 1 and check["status"] == "fail" and "damaged" in check["detail"] and check["fix"]
    text = gentg("doctor", cwd=copy)
    assert text.code == 1 and "[fail] model gpc" in text.out and check["fix"] in text.out


def test_missing_and_other_packages_are_named(gentg, copy):
    lock = copy / "requirements" / "backend.lock"
    lock.write_text(
        lock.read_text().replace("tqdm==", "tqdm==0.").replace("scipy==", "not-a-package-of-ours==")
    )
    ran = gentg("doctor", "--json", cwd=copy)
    assert ran.code == 1 and "not-a-package-of-ours" in report(ran)["packages"]["detail"]
    lock.write_text(lock.read_text().replace("not-a-package-of-ours==", "scipy=="))
    ran = gentg("doctor", "--json", cwd=copy)
    assert ran.code == 0
    check = report(ran)["packages"]
    assert check["status"] == "warn" and "tqdm" in check["detail"] and "scipy" not in check["detail"]


def test_cache_that_cannot_be_written(gentg, tmp_path):
    (tmp_path / "file").write_text("")
    ran = gentg("doctor", "--json", cache=tmp_path / "file" / "cache")
    assert (
        ran.code == 1
        and report(ran)["cache"]["status"] == "fail"
        and "GENTG_CACHE" in report(ran)["cache"]["fix"]
    )


def test_wrong_blender_is_told(gentg, tmp_path):
    checks = report(gentg("doctor", "--json", env={"GENTG_BLENDER": str(tmp_path / "none")}))
    assert checks["Blender"]["status"] == "warn" and "none" in checks["Blender"]["detail"]
