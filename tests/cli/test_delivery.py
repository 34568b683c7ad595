"""gentg estimate on the animator's own rig: options refused before any work, and what Blender makes of them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gentg_blender.core.contract import GentgError, save_capture
from gentg_blender.core.delivery import Delivery
from gentg_blender.core.retarget.mapping import Mapping

BLENDER_TESTS = Path(__file__).resolve().parents[1] / "blender"
sys.path.append(str(BLENDER_TESTS))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--map", "map.json", "--fbx"], 2, "--retarget"),
        (["--bvh", "--export-preset", "unreal"], 2, "--fbx"),
        (["--retarget", "hero.blend", "--fbx"], 3, "hero.blend"),
        (["--retarget", "hero.fbx", "--fbx"], 2, "no .blend file"),
        (["--glb", "walk.gltf"], 2, ".glb"),
    ],
)
def test_wrong_deliveries_are_refused(gentg, tmp_path, sample_clip, arguments, code, says):
    if "--map" in arguments:
        Mapping({"hips": ("Hips",)}).save(tmp_path / "map.json")
        arguments = [str(tmp_path / "map.json") if a == "map.json" else a for a in arguments]
    ran = gentg("estimate", sample_clip, *arguments, "-o", tmp_path / "out")
    assert ran.code == code and says in ran.err and "Traceback" not in ran.err, ran.err
    assert not (tmp_path / "out").exists()


def test_rig_and_object_are_told_apart():
    assert Delivery("hero.blend").rig == (Path("hero.blend"), "")
    assert Delivery("C:/rigs/hero.blend:my: rig").rig == (Path("C:/rigs/hero.blend"), "my: rig")
    assert Delivery("a/hero.BLEND:rig", "m.json", "unity").absolute().arguments() == [
        "--retarget", f"{Path('a/hero.BLEND').absolute()}:rig", "--map", str(Path("m.json").absolute()),
        "--export-preset", "unity",
    ]  # fmt: skip
    assert Delivery().arguments() == [] and Delivery().rig is None and Delivery().fbx_preset == "fbx_blender"
    with pytest.raises(GentgError, match="preset"):
        Delivery(export_preset="doom").check(["fbx"])


def test_blender_writes_every_file_on_the_rig_and_its_notes_come_back(tmp_path):
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("no bpy module in this environment")
    from walking import walking

    from inference_backend.pipeline.blender import find_blender, make_scene
    from inference_backend.pipeline.reporter import Reporter

    capture = save_capture(tmp_path / "walk.npz", walking(1.0))
    blender, rigs = find_blender(), tmp_path / "rigs.blend"
    subprocess.run(
        blender.command(BLENDER_TESTS / "make_rig_file.py", [str(rigs)]),
        check=True,
        capture_output=True,
        timeout=200,
    )
    files = {
        kind: tmp_path / f"out{suffix}"
        for kind, suffix in (("fbx", ".fbx"), ("bvh", ".bvh"), ("blend", ".blend"))
    }
    empty = tmp_path / "empty.mp4"
    empty.touch()
    notes = make_scene(
        blender, capture, empty, files, "walk", Reporter(), Delivery(f"{rigs}:hero", "", "maya")
    )
    assert all(path.stat().st_size > 1000 for path in files.values())
    assert "LeftForeArm" in files["bvh"].read_text()
    assert any("No clip behind the camera" in note for note in notes), notes
    with pytest.raises(GentgError, match="nobody"):
        make_scene(
            blender,
            capture,
            None,
            {"bvh": tmp_path / "x.bvh"},
            "walk",
            Reporter(),
            Delivery(f"{rigs}:nobody"),
        )
    assert not (tmp_path / "x.bvh").exists()


def test_the_protocol_takes_the_same(tmp_path):
    from inference_backend.pipeline.estimate import Estimator
    from inference_backend.pipeline.jobs import estimate_command
    from inference_backend.pipeline.reporter import Reporter

    clip = tmp_path / "walk.mp4"
    clip.write_text("")
    params = {"clip": str(clip), "capture": str(tmp_path / "walk.npz"), "bvh": str(tmp_path / "walk.bvh")}
    for more, says in (
        ({"retarget": str(tmp_path / "gone.blend")}, "does not exist"), ({"retarget": 3}, "must be texts"),
        ({"export_preset": "unity"}, "--fbx"), ({"map": json.dumps({})}, "--map"),
    ):  # fmt: skip
        with pytest.raises(GentgError, match=says):
            estimate_command(Estimator(), params | more, Reporter())
