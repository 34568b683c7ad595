"""gentg evaluate's studies of motion, with the shipped weights on a motion file made here."""

import argparse
import json
import sys

import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.cli import evaluate
from tests.training.conftest import swinging, write_motion


class Quiet:
    out = sys.stdout

    def say(self, text):
        pass


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate._run(parser.parse_args([*map(str, arguments), "-q"]), Quiet())


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    clips = [(f"made_{k}", "made", *swinging(120, k)) for k in (0, 1)]
    return write_motion(tmp_path_factory.mktemp("motion") / "made.npz", clips)


def test_hidden_limbs(motion, tmp_path):
    out = ["--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md"]
    assert run("--motion", motion, "--subjects", "made", "--hidden-limbs", "--count", 2, "--thresholds", 0.1,
               "--quality", "fast", *out) == 0  # fmt: skip
    data = json.loads((tmp_path / "a.json").read_text())
    methods = [f["method"] for f in data["figures"]]
    assert methods[0] == "TGT" and len(methods) == 5 and sum("(in use)" in m for m in methods) == 1
    assert data["about"]["reported"] == 1 and data["about"]["correction"] == 1.0
    hidden, other = data["figures"][0]["hidden"], data["figures"][0]["other"]
    assert 10 < other < hidden < 1000  # mm: a walk in place with a limb unseen
    assert len(data["verdicts"]) == 3 and methods[-1] in (tmp_path / "a.md").read_text()


def test_coverage(motion, tmp_path):
    out = ["--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md"]
    assert run("--motion", motion, "--subjects", "made", "--coverage", "--count", 2, "--noise", "clean", "unseen",
               "--quality", "fast", *out) == 0  # fmt: skip
    data = json.loads((tmp_path / "a.json").read_text())
    assert set(data["noise"]) == {"clean", "unseen"} and len(data["verdicts"]) == 4
    v = data["noise"]["unseen"]
    assert 0.2 < v["coverage_50"] < v["coverage_80"] < v["coverage_95"] <= 1 and v["error_rms"] > 10
    assert "| unseen" in (tmp_path / "a.md").read_text()


def test_networks(motion, tmp_path):
    assert run("--motion", motion, "--subjects", "made", "--networks", "--count", 2, "--noise", "clean", "--runs", 1,
               "--json", tmp_path / "a.json") == 0  # fmt: skip
    rows = {r["label"]: r for r in json.loads((tmp_path / "a.json").read_text())["networks"]}
    assert list(rows) == ["TGT", "TGT, rigid", "TGT + GPC"]
    assert 5 < rows["TGT"]["values"]["clean"]["mpjpe"] < 300
    assert (
        rows["TGT, rigid"]["values"]["clean"]["bone_std"] < 0.01 < rows["TGT"]["values"]["clean"]["bone_std"]
    )
    assert rows["TGT + GPC"]["cost"]["macs"] > rows["TGT"]["cost"]["macs"] > 1e6
    assert rows["TGT"]["frames"] > 1e6


def test_live(motion, tmp_path):
    out = ["--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md"]
    assert run("--motion", motion, "--subjects", "made", "--live", "--count", 1, "--noise", "clean",
               "--quality", "fast", *out) == 0  # fmt: skip
    rows = {r["method"]: r for r in json.loads((tmp_path / "a.json").read_text())["figures"]}
    assert len(rows) == 4 and all(r["method"] in (tmp_path / "a.md").read_text() for r in rows.values())
    assert all(2 < r["p_mpjpe"] < r["mpjpe"] < 400 for r in rows.values())
    smooth, raw = (rows[f"live, {how} smoothing"]["accel_error"] for how in ("0.05 s of", "no"))
    assert smooth < raw


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--pair", "a.npz", "b.npz", "--hidden-limbs"], "--motion"),
        (["--motion", "MOTION", "--hidden-limbs", "--correction", "0"], "--correction"),
        (["--motion", "MOTION", "--hidden-limbs", "--noise", "open", "clean"], "one noise level"),
        (["--motion", "MOTION", "--coverage", "--subjects", "made", "--rates", "30", "60"], "one frame rate"),
        (["--motion", "MOTION", "--live", "--noise", "open", "clean"], "one noise level"),
        (["--motion", "MOTION", "--networks", "no_run", "--subjects", "made"], "no checkpoint"),
    ],
)
def test_mistakes(motion, arguments, word):
    with pytest.raises(GentgError, match=word):
        run(*(motion if a == "MOTION" else a for a in arguments))
