"""The comparison of networks: its plan, that finished runs are left alone, and the whole command in small."""

import argparse
import json
import sys

import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.cli import train as command
from inference_backend.networks.baselines import BASELINES
from inference_backend.training import compare
from inference_backend.training.compare import ABLATION, MINUTES, SAMPLES, load_compare, plan

TINY = [
    "train.device=cpu", "train.data.held_out_subjects=[made_3]", "train.generator.frames=16",
    "train.tgt.d_space=8", "train.tgt.space_heads=2", "train.tgt.space_layers=1", "train.tgt.out_layers=1",
    "train.tgt.d_time=32", "train.tgt.time_heads=2", "train.tgt.time_layers=1", "train.gpc.d_time=32",
    "train.gpc.time_heads=2", "train.gpc.time_layers=1", "train.optim.batch=4", "train.optim.precision=fp32",
    "train.optim.learning_rate=0.003", "niceness=0", "scoring.films=4", "scoring.timing_runs=1",
]  # fmt: skip


def small(motion_file, tmp_path, *more: str) -> compare.CompareConfig:
    return load_compare(None, [*TINY, f"train.data.motion={motion_file}", f"out={tmp_path}", *more])


def test_the_plan_has_every_network_in_both_tables_and_every_ablation(motion_file, tmp_path):
    config = small(motion_file, tmp_path, "samples=10", "minutes=0.5")
    runs = plan(config)
    for table in (SAMPLES, MINUTES):
        assert [r.label for r in runs if r.table == table] == ["TGT", "TGT + GPC", *BASELINES]
    assert len({r.folder for r in runs}) == len(runs) == 2 * (2 + len(BASELINES)) + len(config.ablations)
    equal = [r for r in runs if r.table != MINUTES]
    assert {(r.config.optim.steps, r.config.optim.minutes) for r in equal} == {(3, None)}  # 3 x 4 clips >= 10
    timed = [r for r in runs if r.table == MINUTES]
    assert {(r.config.optim.steps, r.config.optim.minutes) for r in timed} == {(compare.ENDLESS, 0.5)}
    rates = {r.config.baseline: r.config.optim.learning_rate for r in runs}
    assert rates["motionagformer_xs"] == 5e-4 and rates["martinez"] == 3e-3


def test_every_ablation_changes_what_it_says_and_nothing_else(motion_file, tmp_path):
    from inference_backend.training.config import to_dict

    runs = plan(small(motion_file, tmp_path))
    whole = to_dict(next(r for r in runs if r.table == SAMPLES and r.label == "TGT").config) | {"name": ""}
    changed = {}
    for r in (r for r in runs if r.table == ABLATION):
        assert r.config.kind == "tgt"
        changed[r.label] = set(compare._differences(whole, to_dict(r.config) | {"name": ""}))
    assert changed == {
        "no limb tokens": {"tgt.limb_tokens"},
        "no graph bias": {"tgt.graph_bias"},
        "no temporal attention": {"tgt.temporal"},
        "no ray normalisation": {"tgt.ray_normalisation"},
        "no time encoding": {"tgt.rotary"},
        "no noise in training": {"generator.noise"},
        "no detector embedding": {"tgt.detector_embedding"},
        "joints by forward kinematics": {"tgt.fk_output"},
        "no forward-kinematics losses": {"loss.rigid", "loss.direction", "loss.length"},
    }


@pytest.mark.parametrize(
    "override, word",
    [
        ("networks=[tgt, pose_magic]", "pose_magic"),
        ("networks=[gpc, tgt]", "gpc"),
        ("networks=[martinez]", "ablations"),
        ("train.optim.stepz=3", "train.optim.stepz"),
        ("train.optim.precision=fp16", "precision"),
        ("ablations={x: 3}", "ablations.x"),
        ("samples=many", "samples"),
    ],
)
def test_mistakes_name_the_setting(motion_file, tmp_path, override, word):
    with pytest.raises(GentgError, match=word):
        small(motion_file, tmp_path, override)


def test_nothing_to_train_and_weights_to_start_from_are_refused(motion_file, tmp_path):
    with pytest.raises(GentgError, match="nothing to train"):
        small(motion_file, tmp_path, "samples=0", "minutes=0", "ablations={}")
    with pytest.raises(GentgError, match="from scratch"):
        plan(small(motion_file, tmp_path, "train.tgt_weights=some.safetensors"))
    with pytest.raises(GentgError, match="tgt.magic"):
        plan(small(motion_file, tmp_path, "ablations={wrong: [tgt.magic=true]}"))


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(motion_file, tmp_path):
    told = []
    more = ("samples=8", "minutes=0", "networks=[tgt, martinez]", "ablations={}")
    for _ in range(2):
        did = [compare.train(p, told.append) for p in plan(small(motion_file, tmp_path, *more))]
    assert did == [False, False] and len(told) == 2
    note = json.loads((tmp_path / "compare" / "samples" / "martinez" / "run.json").read_text())
    assert note["done"] and note["steps"] == 2
    with pytest.raises(GentgError, match="optim.learning_rate") as caught:
        compare.train(
            plan(small(motion_file, tmp_path, *more, "train.optim.learning_rate=0.1"))[0], told.append
        )
    assert caught.value.file.endswith("run.json")


def test_several_processes_are_refused(monkeypatch):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GentgError, match="one process"):
        command._run(parser.parse_args(["compare"]), None)
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(GentgError, match="--ship"):
        command._run(parser.parse_args(["compare", "--ship", "somewhere"]), None)


def test_the_command_trains_scores_and_reports(motion_file, tmp_path, capsys):
    """Equal samples and equal time of TGT, GPC and a baseline, and two ablations; then once more from what is kept."""

    class Said:
        out = sys.stdout
        lines: list[str] = []

        def say(self, text):
            self.lines.append(text)

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    overrides = [*TINY, f"train.data.motion={motion_file}", f"out={tmp_path}", "samples=40", "minutes=0.02",
                 "networks=[tgt, gpc, semgcn16]",
                 "ablations={flat: [tgt.ray_normalisation=false], rigid: [tgt.fk_output=true]}"]  # fmt: skip
    args = parser.parse_args(["compare", "--set", *overrides])
    assert command._run(args, Said()) == 0
    text = (tmp_path / "compare" / "report.md").read_text()
    assert text in capsys.readouterr().out
    data = json.loads((tmp_path / "compare" / "report.json").read_text())["tables"]
    labels = {table: [r["label"] for r in rows] for table, rows in data.items()}
    four = ["TGT", "TGT, rigid", "TGT + GPC", "semgcn16"]
    assert labels == {SAMPLES: four, MINUTES: four, ABLATION: ["TGT", "flat", "rigid"]}
    by_label = {r["label"]: r for r in data[SAMPLES]}
    assert {r["frames"] for r in data[SAMPLES] + data[ABLATION]} == {40 * 16}
    assert all(r["minutes"] >= 0.02 and r["frames"] > 0 for r in data[MINUTES])
    assert by_label["semgcn16"]["joints"] == 16 and by_label["TGT"]["joints"] == 17
    for rows in data.values():
        for r in rows:
            assert 20 < r["values"]["clean"]["mpjpe"] < 10_000
            assert r["values"]["clean"]["p_mpjpe"] < r["values"]["clean"]["mpjpe"]
            assert r["cost"]["ms"] > 0 and r["cost"]["macs"] > 1000
    rigid = [by_label["TGT, rigid"], next(r for r in data[ABLATION] if r["label"] == "rigid")]
    assert all(r["values"]["detector"]["bone_std"] < 0.01 for r in rigid)
    assert by_label["TGT"]["values"]["detector"]["bone_std"] > 0.1
    assert (
        "the best baseline" in text
        and "(16 joints)" in text
        and "Equal time" in text
        and "minutes of wall time" in text
    )

    before = len(Said.lines)
    assert command._run(args, Said()) == 0
    assert not [line for line in Said.lines[before:] if line.startswith("[")]  # nothing trained again
    again = json.loads((tmp_path / "compare" / "report.json").read_text())["tables"]
    for table, rows in data.items():
        assert [r["values"] for r in rows] == [r["values"] for r in again[table]]
