"""Everything that people feed it by mistake: a clear message, an exit code, nothing half-written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def contents(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def refused(ran, out: Path, code: int, *says: str) -> None:
    """The run failed as it should: told on stderr, without a traceback, and nothing was written."""
    assert ran.code == code, ran.err
    for text in says:
        assert text in ran.err
    assert "Traceback" not in ran.err + ran.out
    assert not out.exists() or contents(out) == []


def test_no_such_file(gentg, tmp_path):
    refused(
        gentg("estimate", tmp_path / "none.mp4", "-o", tmp_path / "out"),
        tmp_path / "out",
        3,
        "none.mp4",
        "does not exist",
    )


def test_text_named_mp4(gentg, tmp_path):
    clip = tmp_path / "notes.mp4"
    clip.write_text("to do: film the walk\n" * 50)
    refused(gentg("estimate", clip, "-o", tmp_path / "out"), tmp_path / "out", 4, "notes.mp4", "not a video")


def test_zero_bytes(gentg, tmp_path):
    clip = tmp_path / "empty.mp4"
    clip.touch()
    refused(gentg("estimate", clip, "-o", tmp_path / "out"), tmp_path / "out", 4, "empty.mp4", "empty")


def test_truncated_before_its_index(gentg, tmp_path, make_person_clip, person_frames):
    clip = make_person_clip(tmp_path / "cut.mp4", person_frames[:10])
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    refused(gentg("estimate", clip, "-o", tmp_path / "out"), tmp_path / "out", 4, "cut.mp4", "damaged")


def test_video_without_people(gentg, tmp_path, make_person_clip):
    rng = np.random.default_rng(0)
    noise = [
        np.repeat(np.repeat(rng.integers(0, 255, (20, 12, 3), np.uint8), 16, 0), 16, 1) for _ in range(12)
    ]
    clip = make_person_clip(tmp_path / "wall.mp4", noise)
    refused(gentg("estimate", clip, "-o", tmp_path / "out"), tmp_path / "out", 5, "wall.mp4", "No person")


def test_folder_under_a_file_cannot_be_written(gentg, tmp_path, sample_clip):
    (tmp_path / "file").write_text("mine")
    ran = gentg("estimate", sample_clip, "-o", tmp_path / "file" / "out")
    assert ran.code == 8 and "beam_walk.npz" in ran.err and "-o" in ran.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(gentg, tmp_path, sample_clip):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o555)
    try:
        refused(gentg("estimate", sample_clip, "-o", out), out, 8, "beam_walk.npz")
    finally:
        out.chmod(0o755)


def test_read_only_system_folder_even_for_root(gentg, sample_clip):
    if not Path("/proc/self").exists():
        pytest.skip("no /proc")
    ran = gentg("estimate", sample_clip, "-o", "/proc/gentg")
    assert ran.code == 8 and "/proc/gentg" in ran.err


@pytest.mark.parametrize("network", ["tgt", "gpc"])
def test_damaged_weights(gentg, tmp_path, sample_clip, network):
    """In a copy of the program, so that the real weights stay whole. A cached lift must not hide the damage."""
    copy = tmp_path / "copy"
    for package in ("gentg_blender", "inference_backend"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    weights = copy / "inference_backend" / "weights" / f"{network}.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0xFF
    weights.write_bytes(data)
    ran = gentg("estimate", sample_clip, "--end", 0.3, "-o", tmp_path / "out", cwd=copy)
    refused(ran, tmp_path / "out", 6, f"{network}.safetensors", "damaged")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--height", "17"], "metres"),
        (["--end", "-1"], "end must come after"),
        (["--start", "99"], "no frame"),
        (["--fov", "60", "--focal-mm", "35"], "not allowed with"),
        (["--correction", "2"], "between 0 and 1"),
        (["--fbx", "walk.blend"], ".fbx"),
        (["--quality", "superb"], "superb"),
        (["--detector", "openpose"], "openpose"),
        (["--still", "x.png", "--fbx", "other.mp4"], "took the clip"),
    ],
)
def test_wrong_options_say_what_is_right(gentg, tmp_path, sample_clip, arguments, says):
    ran = gentg("estimate", sample_clip, *arguments, "-o", tmp_path / "out")
    refused(ran, tmp_path / "out", 2, says)


def test_a_clip_is_never_overwritten(gentg, tmp_path, make_person_clip, person_frames):
    clip = make_person_clip(tmp_path / "walk.mp4", person_frames[:3])
    before = clip.read_bytes()
    ran = gentg("estimate", clip, "--preview", clip)
    assert ran.code == 2 and "overwrite" in ran.err and clip.read_bytes() == before


def test_two_clips_of_one_name(gentg, tmp_path, sample_clip):
    other = tmp_path / "beam_walk.mp4"
    shutil.copy(sample_clip, other)
    refused(
        gentg("estimate", sample_clip, other, "-o", tmp_path / "out"), tmp_path / "out", 2, "both be written"
    )


def test_empty_folder(gentg, tmp_path):
    (tmp_path / "clips").mkdir()
    refused(
        gentg("estimate", tmp_path / "clips", "-o", tmp_path / "out"), tmp_path / "out", 3, "holds no video"
    )


def test_unknown_blender(gentg, tmp_path, sample_clip):
    ran = gentg("estimate", sample_clip, "-o", tmp_path / "out", "--blend", "--blender", tmp_path / "blender")
    refused(ran, tmp_path / "out", 9, str(tmp_path / "blender"))


def test_one_failure_does_not_stop_the_rest(gentg, tmp_path, make_person_clip, person_frames):
    clips = tmp_path / "clips"
    clips.mkdir()
    make_person_clip(clips / "b.mp4", person_frames[:8])
    (clips / "a.mp4").write_text("no video")
    (clips / "notes.txt").write_text("not looked at")
    ran = gentg("estimate", clips, "-o", tmp_path / "out", "--json")
    assert ran.code == 4, ran.err
    summary = ran.summary
    assert (summary["done"], summary["failed"], summary["not_started"]) == (1, 1, 0)
    bad, good = summary["clips"]
    assert not bad["ok"] and bad["error"]["code"] == "not_a_video" and Path(bad["error"]["log"]).is_file()
    assert good["ok"] and good["frames"] == 8
    assert contents(tmp_path / "out") == ["b.npz"]


def test_failures_of_several_kinds(gentg, tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    ran = gentg("estimate", tmp_path / "a.mp4", tmp_path / "none.mp4", "-o", tmp_path / "out", "--json")
    assert ran.code == 1 and ran.summary["failed"] == 2


def test_help_is_instant_and_complete(gentg):
    import time

    began = time.monotonic()
    ran = gentg("--help")
    assert ran.code == 0 and time.monotonic() - began < 1.5
    from inference_backend.cli import COMMANDS

    for name in COMMANDS:
        assert name in ran.out
        assert gentg(name, "--help").code == 0
    assert gentg("estimat").code == 2
