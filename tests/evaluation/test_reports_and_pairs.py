"""Any result against any reference, tables, verdicts and the command."""

import argparse
import json

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError, save_capture
from gentg_blender.core.skeleton import JOINT_MIRROR, JOINTS
from inference_backend.cli import evaluate
from inference_backend.evaluation import report
from inference_backend.evaluation.readers import read_poses, read_reference
from inference_backend.evaluation.score import Score, score
from inference_backend.evaluation.video_suite import (
    BASELINE,
    OURS,
    find_cases,
    run_cases,
    suite_verdicts,
    verdicts,
)
from tests.preview.preview_case import capture, clip

TIMES = np.arange(12) / 25


def reference_file(path, c, cameras=("cam",), **more):
    k = len(cameras)
    np.savez(path, xyz=c.xyz, names=c.names, visible=np.ones(c.xyz.shape[:2], bool), fps=25.0, cam_names=np.array(cameras),
             K=np.repeat(c.K[None], k, 0), dist=np.zeros((k, 5)), R=np.repeat(c.R[None], k, 0), t=np.repeat(c.t[None], k, 0),
             size=np.repeat(c.image_size[None], k, 0), **more)  # fmt: skip
    return path


def wobbling(**changes):
    """A capture whose joints are off by 30 mm to the right of the truth in every other frame, wrists only."""
    c = capture(TIMES, **changes)
    for side in "lr":
        c.xyz_camera[::2, JOINTS.index(f"{side}_wrist"), 0] += 0.03
    return c


def test_a_capture_against_its_truth(tmp_path):
    truth = capture(TIMES, step=0.002)
    found = wobbling(step=0.002)
    save_capture(tmp_path / "walk.npz", found)
    reference = read_reference(reference_file(tmp_path / "gt.npz", truth))
    v = score(read_poses(tmp_path / "walk.npz"), reference).values
    assert v["mpjpe"] == pytest.approx(30 * 2 / 12 / 2)
    assert v["accel_error"] == pytest.approx(0.06 * 25**2 * 2 / 12)
    assert v["coverage"] == 1 and v["swap"] == 0 and v["root_error"] == pytest.approx(0, abs=1e-6)
    # sigma is 20 mm: 95 % reach to 32 mm, 90 % to 29 mm, and 1 joint of 12 is 30 mm off on average
    assert v["coverage_95"] == 1.0 and v["coverage_90"] == pytest.approx(11 / 12)
    for skate in ("skate", "skate_ref", "skate_own_root"):
        assert v[skate] == pytest.approx(0.05)


def test_frames_are_joined_by_number_and_gaps_do_not_count(tmp_path):
    part = capture(TIMES[4:9], frames=np.arange(4, 9))
    part.xyz_camera += 4 * np.array([0.05, 0, 0])  # where the person is by then
    part.seen[2] = False
    save_capture(tmp_path / "part.npz", part)
    v = score(
        read_poses(tmp_path / "part.npz"), read_reference(reference_file(tmp_path / "gt.npz", capture(TIMES)))
    ).values
    assert v["coverage"] == pytest.approx(4 / 12) and v["mpjpe"] == pytest.approx(0, abs=1e-4)
    assert v["pck150"] == pytest.approx(4 / 12) and v["root_error"] == pytest.approx(0, abs=1e-4)


def test_swapped_sides_are_seen(tmp_path):
    truth, found = capture(TIMES), capture(TIMES)
    found.xyz_camera[:3] = found.xyz_camera[:3][:, JOINT_MIRROR]
    save_capture(tmp_path / "a.npz", found)
    v = score(
        read_poses(tmp_path / "a.npz"), read_reference(reference_file(tmp_path / "gt.npz", truth))
    ).values
    assert v["swap"] == pytest.approx(0.25) and v["mpjpe"] > 50


def test_several_cameras_want_a_name(tmp_path):
    path = reference_file(tmp_path / "reference_3d.npz", capture(TIMES), ("cam01", "cam02"))
    assert read_reference(path, "cam02").clip.endswith("/cam02")
    for camera, message in ((None, "has the cameras cam01, cam02"), ("cam09", "no camera 'cam09'")):
        with pytest.raises(GentgError, match=message):
            read_reference(path, camera)


def test_files_that_are_no_result(tmp_path):
    np.savez(tmp_path / "a.npz", xyz=np.zeros((3, 2, 3)))
    with pytest.raises(GentgError, match="names"):
        read_poses(tmp_path / "a.npz")
    np.savez(
        tmp_path / "a.npz",
        xyz=np.zeros((3, 2, 3)),
        names=np.array(["l_hip", "r_hip"]),
        timestamps=np.array([0, 2, 1.0]),
    )
    with pytest.raises(GentgError, match="increase"):
        read_poses(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", xyz=np.zeros((3, 2, 3)), names=np.array(["l_hip", "r_hip"]), fps=30.0)
    with pytest.raises(GentgError, match="l_shoulder"):
        score(
            read_poses(tmp_path / "a.npz"),
            read_reference(reference_file(tmp_path / "gt.npz", capture(TIMES))),
        )


def test_tables_and_means():
    a = Score(
        {"mpjpe": 10.0, "skate": float("nan")}, {"mpjpe": {"nose": 1.0}}, 10, {"clip": "a", "action": "x"}
    )
    b = Score({"mpjpe": 40.0, "skate": 0.2}, {"mpjpe": {"nose": 3.0}}, 30, {"clip": "b", "action": "x"})
    assert report.mean_score([a, b]).values == {"mpjpe": 25.0, "skate": 0.2}
    weighted = report.grouped([a, b], "action", by_frames=True)
    assert weighted[0].values["mpjpe"] == pytest.approx(32.5) and weighted[0].frames == 40
    text = report.table([("a", a), ("b", b)])
    assert text.splitlines()[0].split("|")[1:4] == [" clip ", " MPJPE, mm ", " foot skate, m/s "]
    assert text.splitlines()[2] == "| a    |      10.0 |               - |"
    assert "nose" in report.joint_table([("m", a)]) and len({len(line) for line in text.splitlines()}) == 1
    data = json.loads(json.dumps(report.as_json({"m": [a, b]}), allow_nan=False))
    assert data["methods"]["m"][0]["values"]["skate"] is None and data["methods"]["m"][1]["clip"] == "b"


def test_video_suite_finds_scores_and_judges(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        clip(tmp_path / name / f"{name}.mp4", TIMES[:2])
        reference_file(tmp_path / name / "gt.npz", capture(TIMES))
    (tmp_path / "views").mkdir()
    clip(tmp_path / "views" / "cam01.mp4", TIMES[:2])
    reference_file(tmp_path / "views" / "reference_3d.npz", capture(TIMES), ("cam01", "cam02"))
    base = tmp_path / "baselines" / "mediapipe"
    base.mkdir(parents=True)
    bad = wobbling().xyz_camera + 0.02 * np.random.default_rng(0).normal(size=(12, 35, 3))
    for name in ("one", "two"):
        np.savez(base / f"{name}.npz", xyz=bad, names=np.array(JOINTS), fps=25.0)
    cases = find_cases(tmp_path)
    assert [c.name for c in cases] == ["one", "two", "views/cam01"]
    assert cases[0].baseline and cases[2].baseline is None and cases[2].camera == "cam01"
    ours = tmp_path / "ours.npz"
    save_capture(ours, capture(TIMES))
    asked = []

    def live_baseline(case):
        asked.append(case.name)
        return read_poses(base / "one.npz")

    results = [s for _, s in run_cases(cases, lambda case, ref: ours, live_baseline)]
    assert asked == ["views/cam01"]
    good = verdicts([r[OURS] for r in results], [r[BASELINE] for r in results])
    assert {v.metric for v in good if v.holds} >= {"mpjpe", "p_mpjpe", "accel_error", "bone_std", "swap"}
    worse = verdicts([r[BASELINE] for r in results], [r[BASELINE] for r in results])
    assert not any(v.holds for v in worse if v.metric in ("mpjpe", "p_mpjpe", "bone_std"))
    assert "MISSED" in str(worse[0])
    # A good scene must not hide behind bad ones: rendered clips are averaged, each real camera stands alone.
    mixed = [results[0][OURS], results[1][OURS], results[2][BASELINE]]
    found = suite_verdicts(cases, mixed, [r[BASELINE] for r in results])
    holds = {v.about: v.holds for v in found if v.metric == "mpjpe"}
    assert holds == {"mean of the clips with exact truth": True, "views/cam01": False}
    with pytest.raises(GentgError, match="no clip with a reference"):
        find_cases(base)


def test_command_for_a_pair(tmp_path, capsys):
    save_capture(tmp_path / "walk.npz", wobbling())
    reference_file(tmp_path / "gt.npz", capture(TIMES))
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    args = parser.parse_args(["--pair", str(tmp_path / "walk.npz"), str(tmp_path / "gt.npz"), "--per-joint",
                              "--json", str(tmp_path / "out.json"), "--markdown", str(tmp_path / "out.md"), "-q"])  # fmt: skip

    class Quiet:
        out = __import__("sys").stdout

    assert evaluate._run(args, Quiet()) == 0
    data = json.loads((tmp_path / "out.json").read_text())
    assert data["methods"]["walk.npz"][0]["values"]["mpjpe"] == pytest.approx(2.5)
    assert "l_wrist" in (tmp_path / "out.md").read_text() and "MPJPE" in capsys.readouterr().out
