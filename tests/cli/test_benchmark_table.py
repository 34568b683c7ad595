"""gentg benchmark prints TGT and GPC beside the published lifters; the pipeline's own figures are given here."""

import argparse
import io
import json

import pytest

from inference_backend.cli import benchmark
from inference_backend.evaluation import candidates
from inference_backend.networks.baselines import BASELINES
from inference_backend.pipeline import benchmark as measuring

FIGURES = {
    "clip": "walk.mp4", "frames": 10, "image_size": (64, 48), "cores": 2, "cpu_ms_per_frame": {"lift": 1.5},
    "after_detection_ms": 1.5, "tgt_ms": 1.0, "gpc_ms": 2.0, "resampled": 0.25, "detector_fps": 50.0, "whole_fps": 40.0,
    "ratio": 0.8, "load_s": 1.0, "peak_memory": 1e8,
}  # fmt: skip


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(measuring, "measure", lambda *a: dict(FIGURES))

    class Quiet:
        def __init__(self):
            self.out = io.StringIO()

        def say(self, text):
            pass

    def run(*arguments: str) -> str:
        parser = argparse.ArgumentParser()
        benchmark.add_arguments(parser)
        terminal = Quiet()
        assert benchmark._run(parser.parse_args(["--runs", "1", *arguments]), terminal) == 0
        return terminal.out.getvalue()

    return run


def test_networks_stand_side_by_side(run):
    lines = run().splitlines()
    start = next(i for i, line in enumerate(lines) if "81 frames" in line)
    rows = {
        " ".join(line.split()[:-4]): [float(v) for v in line.split()[-4:]] for line in lines[start + 2 : -1]
    }
    assert list(rows) == ["TGT", "TGT + GPC", *BASELINES]
    for million, macs, ms, overlapped in rows.values():
        assert million > 0.1 and macs > 1 and overlapped == pytest.approx(2 * ms, abs=0.02)
    assert rows["TGT + GPC"][1] > rows["TGT"][1] and rows["videopose3d"][0] == pytest.approx(14.0, abs=0.01)
    assert "TGT 1.00 ms per frame, GPC 2.00 ms per frame" in "\n".join(lines)
    assert "20% of the frames uncertain" in lines[-1]


def test_for_programs(run, monkeypatch):
    few = [c for c in candidates.untrained_baselines() if c.label == "martinez"]
    monkeypatch.setattr(candidates, "untrained_baselines", lambda: few)
    data = json.loads(run("--json"))
    assert data["networks"]["martinez"]["parameters"] > 4e6 and data["tgt_ms"] == 1.0
