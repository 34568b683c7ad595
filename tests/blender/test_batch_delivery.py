"""batch.py: captures on an animator's own rig and in every format, many at once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from environments import every_environment, one_environment, run
from test_batch import BATCH, last_json
from walking import walking

from gentg_blender.core.contract import save_capture

sys.path.append(str(Path(__file__).resolve().parents[1] / "retarget"))

MAKE_RIG = Path(__file__).resolve().parent / "make_rig_file.py"


def rig_file(environment, path: Path) -> Path:
    done = run(environment.script(MAKE_RIG, path))
    assert path.is_file(), done.stdout + done.stderr
    return path


def read_bvh(path: Path) -> tuple[list[str], float, np.ndarray]:
    """Joint names, seconds a frame, channels (T, n)."""
    lines = path.read_text().splitlines()
    at = lines.index("MOTION")
    names = [line.split()[1] for line in lines[:at] if line.split()[:1] in (["ROOT"], ["JOINT"])]
    frames = int(lines[at + 1].split(":")[1])
    values = np.array([[float(x) for x in line.split()] for line in lines[at + 3 : at + 3 + frames]])
    return names, float(lines[at + 2].split(":")[1]), values


@every_environment
def test_many_captures_on_a_rig_in_every_format(environment, tmp_path):
    takes = tmp_path / "takes"
    for name, seconds in (("one", 1.0), ("two", 2.0)):
        save_capture(takes / f"{name}.npz", walking(seconds))
    (takes / "notes.txt").write_text("")
    rig = rig_file(environment, tmp_path / "rigs.blend")
    out = tmp_path / "out"
    kinds = ["--fbx", "--bvh", "--glb", "--blend"]
    done = run(environment.script(BATCH, "export", takes, "--out", out, *kinds, "--retarget", f"{rig}:hero",
                                  "--export-preset", "unreal"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    items = last_json(done.stdout)["items"]
    assert [i["name"] for i in items] == ["one", "two"] and all(i["ok"] and i["rig"] == "hero" for i in items)
    for name, frames in (("one", 30), ("two", 60)):
        assert {p.suffix for p in out.glob(f"{name}.*")} == {".fbx", ".bvh", ".glb", ".blend"}
        names, step, values = read_bvh(out / f"{name}.bvh")
        assert any("LeftForeArm" in n for n in names) and "forearm.L" not in names
        assert (
            len(values) == frames
            and step == pytest.approx(1 / 30, abs=1e-6)
            and np.ptp(values, axis=0).max() > 10.0
        )
        assert (out / f"{name}.fbx").read_bytes().startswith(b"Kaydara FBX Binary")
        assert b"LeftForeArm" in (out / f"{name}.fbx").read_bytes()
        assert (out / f"{name}.glb").read_bytes().startswith(b"glTF")
    assert json.loads((out / "gentg_summary.json").read_text())["done"] == 2


@one_environment
def test_a_saved_map_and_which_rig(environment, tmp_path):
    capture = save_capture(tmp_path / "walk.npz", walking(1.0))
    rig = rig_file(environment, tmp_path / "rigs.blend")
    from rig_factory import make_rig

    from gentg_blender.core.retarget.mapping import Mapping

    chains = make_rig("mixamo", 1.5, 0.6, 3)[1]
    only = {role: chain for role, chain in chains.items() if "arm" not in role and "hand" not in role}
    Mapping(only).save(tmp_path / "legs.json")
    common = ("--capture", capture, "--bvh", tmp_path / "out.bvh")
    done = run(
        environment.script(BATCH, *common, "--retarget", f"{rig}:hero", "--map", tmp_path / "legs.json")
    )
    assert done.returncode == 0, done.stderr
    names, _, values = read_bvh(tmp_path / "out.bvh")
    left = next(i for i, n in enumerate(names) if n.endswith("LeftForeArm"))
    leg = next(i for i, n in enumerate(names) if n.endswith("LeftUpLeg"))
    moving = {i: np.ptp(values[:, 3 + 3 * i : 6 + 3 * i], axis=0).max() for i in (left, leg)}
    assert moving[left] < 1e-3 and moving[leg] > 5.0, "the map leaves the arms out"
    for rest, words in (
        (("--retarget", rig), "hero, villain"), (("--retarget", f"{rig}:nobody"), "no object named nobody"),
        (("--retarget", f"{rig}:lamp"), "lamp"),
    ):  # fmt: skip
        done = run(environment.script(BATCH, *common, *rest))
        assert done.returncode == 1 and words in last_json(done.stdout)["items"][0]["error"]["message"], (
            done.stderr
        )


@one_environment
def test_our_own_armature_in_every_format(environment, tmp_path):
    capture = save_capture(tmp_path / "walk.npz", walking(1.0))
    done = run(
        environment.script(
            BATCH, "export", capture, "-o", tmp_path, "--bvh", "--glb", "--fbx", "--export-preset", "unity"
        )
    )
    assert done.returncode == 0, done.stderr
    assert set(last_json(done.stdout)["items"][0]["outputs"]) == {"bvh", "glb", "fbx"}
    assert "forearm.L" in read_bvh(tmp_path / "walk.bvh")[0]


@one_environment
def test_wrong_deliveries_are_refused_before_any_work(environment, tmp_path):
    capture = save_capture(tmp_path / "walk.npz", walking(0.5))
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    (tmp_path / "none").mkdir()
    fake = tmp_path / "rig.blend"
    fake.write_text("")
    out = str(tmp_path / "out")
    cases = {
        ("export",): "export takes captures",
        ("export", tmp_path / "none", "-o", out, "--fbx"): "no capture",
        ("export", capture, "-o", out): "nothing to write",
        ("export", capture, "-o", out, "--bvh", "--export-preset", "unity"): "Add --fbx",
        ("export", capture, "-o", out, "--fbx", "--export-preset", "doom"): "invalid choice",
        ("export", capture, "-o", out, "--fbx", "--map", broken): "--retarget",
        ("export", capture, "-o", out, "--fbx", "--map", broken, "--retarget", fake): "Not a bone map",
        ("export", capture, "-o", out, "--fbx", "--retarget", tmp_path / "gone.blend"): "does not exist",
        ("export", capture, "-o", out, "--fbx", "--retarget", capture): "no .blend file",
        ("export", capture, "-o", out, "--glb", "x.gltf"): "does not end with .glb",
    }
    for arguments, words in cases.items():
        done = run(environment.script(BATCH, *arguments))
        assert done.returncode == 2 and words in done.stderr, (arguments, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
    assert not Path(out).exists()
    done = run(environment.script(BATCH, "export", capture, "-o", out, "--fbx", "--retarget", fake))
    assert done.returncode == 1 and "rig.blend" in done.stderr and "Traceback" not in done.stderr
