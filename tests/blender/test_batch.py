"""batch.py from the outside: files, summary and exit codes, in every Blender at hand."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from environments import ROOT, every_environment, one_environment, run
from walking import walking

from gentg_blender.core.contract import save_capture

BATCH = ROOT / "gentg_blender" / "batch.py"
FAKE = Path(__file__).resolve().parent / "fake_backend.py"


@pytest.fixture
def capture(tmp_path):
    return save_capture(tmp_path / "walk.npz", walking(1.0, gap=(10, 14)))


@pytest.fixture
def backend(tmp_path, capture, monkeypatch):
    """A program that stands for the backend's Python; its log of requests is returned."""
    launcher = tmp_path / "fake-python"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("GENTG_BACKEND_PYTHON", str(launcher))
    monkeypatch.setenv("GENTG_TEST_CAPTURE", str(capture))
    monkeypatch.setenv("GENTG_TEST_LOG", str(tmp_path / "requests.jsonl"))
    return tmp_path / "requests.jsonl"


def last_json(text: str) -> dict:
    lines = [line for line in text.splitlines() if line.startswith('{"type": "summary"')]
    assert len(lines) == 1, text
    return json.loads(lines[0])


@every_environment
def test_captures_to_files(environment, capture, tmp_path):
    out = tmp_path / "out"
    done = run(
        environment.script(BATCH, "--capture", capture, "--fbx", out / "a.fbx", "--blend", out / "b.blend")
    )
    assert done.returncode == 0, done.stderr
    item = last_json(done.stdout)["items"][0]
    assert item["ok"] and item["outputs"] == {"fbx": str(out / "a.fbx"), "blend": str(out / "b.blend")}
    assert (item["first_frame"], item["last_frame"], item["fps"], item["gaps"]) == (1, 30, 30, [[10, 16]])
    assert sorted(p.name for p in out.iterdir()) == ["a.fbx", "b.blend"]
    assert (out / "a.fbx").read_bytes().startswith(b"Kaydara FBX Binary")


@every_environment
def test_one_failure_does_not_stop_the_rest(environment, capture, tmp_path):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(capture.read_bytes()[:5000])
    out = tmp_path / "out"
    done = run(
        environment.script(BATCH, "--capture", damaged, tmp_path / "gone.npz", capture, "--fbx", "-o", out)
    )
    assert done.returncode == 1
    summary = last_json(done.stdout)
    assert [i["ok"] for i in summary["items"]] == [False, False, True]
    assert [i["error"]["code"] for i in summary["items"][:2]] == ["bad_request", "no_such_file"]
    assert json.loads((out / "gentg_summary.json").read_text()) == summary
    assert "damaged.npz" in done.stderr and "gone.npz" in done.stderr and "Traceback" not in done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["gentg_summary.json", "walk.fbx"]


@every_environment
def test_clips_go_through_the_backend(environment, backend, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("crash.mp4", "good1.mp4", "good2.mov", "nobody.mp4", "notes.txt"):
        (clips / name).write_text("")
    out = tmp_path / "out"
    done = run(
        environment.script(
            BATCH, clips, "--out", out, "--fbx", "--height", "1.8", "--fov", "60", "--no-foot-lock"
        )
    )
    assert done.returncode == 1, done.stderr
    items = {i["name"]: i for i in last_json(done.stdout)["items"]}
    assert set(items) == {"crash", "good1", "good2", "nobody"}
    assert items["good1"]["ok"] and items["good2"]["ok"] and "made up" in items["good1"]["warnings"]
    assert any("No clip behind the camera" in w for w in items["good1"]["warnings"]), (
        "an empty file is no video"
    )
    assert items["nobody"]["error"]["code"] == "no_person" and items["nobody"]["error"]["hint"] == "Film one."
    assert items["crash"]["error"]["code"] == "internal" and "status 7" in items["crash"]["error"]["message"]
    names = sorted(p.name for p in out.iterdir())
    assert names == ["gentg_logs", "gentg_summary.json", "good1.fbx", "good1.npz", "good2.fbx", "good2.npz"]
    requests = [json.loads(line) for line in backend.read_text().splitlines()]
    settings = requests[0]["settings"]
    assert (
        settings["height"] == 1.8
        and abs(settings["fov"] - 1.0471976) < 1e-6
        and settings["foot_lock"] is False
    )
    by_clip = {Path(r["clip"]).stem: r["pid"] for r in requests}
    assert by_clip["good1"] == by_clip["good2"] == by_clip["nobody"] != by_clip["crash"], (
        "the backend stays warm"
    )
    for pid in by_clip.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@one_environment
def test_a_person_is_found_by_number(environment, backend, tmp_path):
    clip = tmp_path / "good.mp4"
    clip.write_text("")
    out = tmp_path / "out"

    def batch(*arguments):
        done = run(environment.script(BATCH, clip, "--out", out, "--fbx", *arguments))
        requests = [json.loads(line) for line in backend.read_text().splitlines()]
        backend.unlink()
        return done, last_json(done.stdout)["items"][0], requests

    done, item, (search, estimate) = batch("--person", "2", "--start", "0.5", "--height", "1.8")
    assert done.returncode == 0, done.stderr
    assert (search["command"], estimate["command"]) == ("people", "estimate")
    assert "capture" not in search and search["settings"]["start"] == 0.5
    assert search["settings"]["person"] == "prominent"
    assert estimate["settings"]["person"] == {"time": 1.0, "box": [2, 0, 11, 20]}
    assert estimate["settings"]["height"] == 1.8
    assert item["name"] == "good_person2" and sorted(item["outputs"]) == ["capture", "fbx"]
    assert (out / "good_person2.npz").is_file() and (out / "good_person2.fbx").is_file()

    done, item, requests = batch("--person", "3")
    assert done.returncode == 1 and [r["command"] for r in requests] == ["people"]
    assert item["error"]["code"] == "no_person" and "no person 3: 2 found" in item["error"]["message"]

    done, item, (estimate,) = batch("--person", "prominent")
    assert done.returncode == 0 and estimate["settings"] == {"person": "prominent"} and item["name"] == "good"


@pytest.fixture
def images(tmp_path):
    """Images 0005 to 0034 of a sequence, each with one grey of its own."""
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(5, 35):
        assert cv2.imwrite(str(folder / f"shot_{n:04d}.png"), np.full((48, 64, 3), 4 * n, np.uint8))
    return folder


@every_environment
def test_image_sequences_stand_behind_the_camera(environment, backend, images, tmp_path):
    look, out = tmp_path / "look.py", tmp_path / "out"
    look.write_text(LOOK)
    named = images / "shot_####.png"
    done = run(environment.script(BATCH, named, "--out", out, "--blend", "--sequence-fps", "30"))
    assert done.returncode == 0, done.stderr
    (item,) = last_json(done.stdout)["items"]
    assert item["warnings"] == ["made up"] and item["name"] == "shot"
    request = json.loads(backend.read_text().splitlines()[-1])
    assert request["sequence_fps"] == 30 and Path(request["clip"]) == named
    seen = run(environment.script(look, out / "shot.blend"))
    assert seen.stdout.splitlines()[-1].split() == ["SEQUENCE", "shot_0005.png", "4"], (
        seen.stdout + seen.stderr
    )
    # a capture of images that is there already, with their folder named
    blend = tmp_path / "again.blend"
    done = run(environment.script(BATCH, "--capture", out / "shot.npz", "--clip", images, "--blend", blend))
    assert done.returncode == 0 and not last_json(done.stdout)["items"][0]["warnings"], done.stderr
    seen = run(environment.script(look, blend))
    assert seen.stdout.splitlines()[-1].split() == ["SEQUENCE", "shot_0005.png", "4"]
    # a clip that is none is a note, not a failure
    done = run(
        environment.script(
            BATCH, "--capture", out / "shot.npz", "--clip", tmp_path / "lost_##.png", "--blend", blend
        )
    )
    (note,) = last_json(done.stdout)["items"][0]["warnings"]
    assert done.returncode == 0 and "No clip behind the camera: No numbered images" in note
    gone = tmp_path / "gone_##.png"
    done = run(environment.script(BATCH, gone, "--out", out, "--fbx", "--sequence-fps", "30"))
    assert done.returncode == 1
    assert last_json(done.stdout)["items"][0]["error"]["code"] == "empty_video"


# Kind and file of what is behind the camera, and by how much its frames are offset on the first frame.
LOOK = """
import os, sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[-1])
background = bpy.context.scene.camera.data.background_images[0]
print(background.image.source, os.path.basename(background.image.filepath), background.image_user.frame_offset, flush=True)
os._exit(0)
"""


@one_environment
def test_wrong_arguments_are_refused_before_any_work(environment, backend, capture, tmp_path):
    clip = tmp_path / "good.mp4"
    clip.write_text("")
    twin = tmp_path / "other" / "GOOD.mov"
    twin.parent.mkdir()
    twin.write_text("")
    out = str(tmp_path / "out")
    cases = {
        (): "give clips",
        ("--capture", capture): "nothing to write",
        ("--capture", capture, clip, "--blend", "--fbx", "--height", "1.8", "-o", out): "no effect",
        (clip, "--fbx"): "--out",
        ("--out", out, "--fbx", clip): "does not end with .fbx",
        (clip, twin, "--out", out, "--fbx"): "same files",
        (clip, "--out", out, "--fbx", "--height", "18"): "height",
        (clip, "--out", out, "--fbx", "--focal-mm", "35", "--fov", "60"): "not allowed with",
        (clip, "--out", out, "--fbx", "--person", "0"): "number from 1 on",
        ("--capture", capture, "--fbx", "--person", "2", "-o", out): "no effect",
        (clip, "--out", out, "--fbx", "--backend-python", tmp_path / "nope"): "backend's Python",
        (tmp_path / "other" / "..", "--out", out, "--fbx", "--bogus"): "--bogus",
    }
    for arguments, words in cases.items():
        done = run(environment.script(BATCH, *arguments))
        assert done.returncode == 2 and words in done.stderr, (arguments, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() and not backend.exists()
    assert run(environment.script(BATCH, "--help")).returncode == 0


@every_environment
@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_interruption_ends_the_backend(environment, backend, tmp_path):
    clips = [tmp_path / "good.mp4", tmp_path / "slow.mp4", tmp_path / "later.mp4"]
    for clip in clips:
        clip.write_text("")
    out = tmp_path / "out"
    command = environment.script(BATCH, *clips, "--out", out, "--fbx")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (backend.exists() and "slow" in backend.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    summary = last_json(stdout)
    assert (summary["done"], summary["not_started"]) == (1, 2)
    pid = json.loads(backend.read_text().splitlines()[-1])["pid"]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the backend still runs")
    assert not list(out.glob("slow*")) and (out / "good.fbx").is_file()


@every_environment
def test_read_only_output(environment, capture, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = run(environment.script(BATCH, "--capture", capture, "--blend", blocked / "a.blend"))
    assert done.returncode == 1
    assert last_json(done.stdout)["items"][0]["error"]["code"] == "not_writable"
    assert blocked.read_text() == ""
