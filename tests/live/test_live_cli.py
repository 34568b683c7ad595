"""`gentg live` as people run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_every_frame_in_order(gentg, tmp_path, make_person_clip, person_frames):
    times = [0.0, 0.04, 0.07, 0.12, 0.2, 0.24]
    clip = make_person_clip(tmp_path / "c.mp4", person_frames[:6], times)
    ran = gentg("live", clip, "--preview", tmp_path / "p.mp4", "--fov", 40)
    assert ran.code == 0, ran.err
    header, *frames, end = lines(ran.out)
    assert header["source"] == str(clip) and header["image_size"] == [360, 640]
    np.testing.assert_allclose([f["time"] for f in frames], times, atol=1e-3)
    assert [f["status"] for f in frames] == ["ok"] * 6 and end["frames"] == 6 and end["dropped"] == 0
    xyz = np.array([f["xyz"] for f in frames])
    assert xyz.shape == (6, 35, 3) and 1.2 < np.ptp(xyz[..., 2], axis=1).mean() < 1.9, "a person stands there"
    assert "latency" in ran.err and "p95" in ran.err and (tmp_path / "p.mp4").is_file()


def test_a_clip_without_people_says_so_for_every_frame(gentg, tmp_path, make_person_clip):
    clip = make_person_clip(tmp_path / "wall.mp4", [np.full((320, 240, 3), 90, np.uint8)] * 5)
    ran = gentg("live", clip, "-o", tmp_path / "w.jsonl")
    assert ran.code == 0 and ran.out == ""
    _, *frames, end = lines((tmp_path / "w.jsonl").read_text())
    assert [f["status"] for f in frames] == ["no_person"] * 5 and end["seen"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none.mp4"], 3, "does not exist"),
        (["97"], 3, "Camera 97 gives no image"),
        ([str(ROOT / "README.md")], 4, "README.md"),
        (["clip.mp4", "-o", "a.fbx"], 2, ".jsonl or .npz"),
        (["clip.mp4", "--udp", "nowhere"], 2, "HOST:PORT"),
        (["clip.mp4", "--smoothing", "9"], 2, "--smoothing"),
        (["0", "--realtime"], 2, "--realtime"),
        (["clip.mp4", "-o", "no_such_folder/a.npz"], 8, "folder"),
    ],
)
def test_faults(gentg, sample_clip, arguments, code, says):
    ran = gentg("live", *[str(sample_clip) if a == "clip.mp4" else a for a in arguments])
    assert ran.code == code and says in ran.err, ran.err
    assert "Traceback" not in ran.err and ran.out == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_in_the_middle_everything_is_whole(tmp_path, sample_clip, shared_cache, number, code):
    out = tmp_path / "take.npz"
    process = subprocess.Popen(
        [sys.executable, "-m", "inference_backend", "live", str(sample_clip), "--realtime", "-o", str(out),
         "--preview", str(tmp_path / "p.mp4"), "--udp", "127.0.0.1:9"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"GENTG_CACHE": str(shared_cache)},
    )  # fmt: skip
    wait_for = next(line for line in process.stderr if "focal length" in line)
    assert wait_for
    end = time.monotonic() + 60  # the preview's temporary file tells that frames are coming
    while not [p for p in tmp_path.iterdir() if p.suffix != ".npz"] and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Stopped" in err and "frames in" in err and "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.mp4", "take.npz"]
    with np.load(out, allow_pickle=False) as z:
        assert 0 < len(z["timestamps"]) and (np.diff(z["timestamps"]) > 0).all()
