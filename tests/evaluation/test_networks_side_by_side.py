"""Networks beside each other: scores against known poses, counted multiply-adds, time taken in turn, the table."""

import json

import numpy as np
import pytest
import torch

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINTS
from inference_backend.evaluation import candidates, cost, network_table
from inference_backend.evaluation.candidates import Candidate
from inference_backend.lifting.correct import CorrectorSettings
from inference_backend.networks.baselines.martinez import Martinez, MartinezConfig
from inference_backend.networks.baselines.motionagformer import _Attention
from inference_backend.networks.baselines.videopose3d import VideoPose3D, VideoPose3DConfig
from inference_backend.training.train_baseline import BaselineLifter


@pytest.fixture(scope="module")
def films(motion_file):
    return network_table.films_of(motion_file, ("made_3",), ["clean", "detector"], 4, frames=30)


def truth(batch) -> torch.Tensor:
    return batch.xyz - batch.xyz[:, :, :1]


def test_the_truth_scores_zero_and_an_offset_its_length(films):
    offset = torch.zeros(35, 3)
    offset[J["l_wrist"], 2] = 0.034  # 34 mm at one of the 17 joints
    perfect = network_table.row_of(Candidate("perfect", truth, 1), films)
    off = network_table.row_of(Candidate("off", lambda b: truth(b) + offset, 1), films)
    for noise in ("clean", "detector"):
        assert perfect.values[noise]["mpjpe"] == pytest.approx(0, abs=1e-3)
        assert perfect.values[noise]["bone_std"] == pytest.approx(0, abs=1e-3)
        assert off.values[noise]["mpjpe"] == pytest.approx(2.0, rel=1e-3)
        assert off.values[noise]["accel_error"] == pytest.approx(0, abs=1e-2)
    assert perfect.joints == 17


def test_a_network_of_16_joints_is_scored_on_those(films):
    names = tuple(n for n in JOINTS if n != "nose")
    kept = [J[n] for n in names]
    row = network_table.row_of(Candidate("no nose", lambda b: truth(b)[:, :, kept], 1, names), films)
    assert row.joints == 16 and row.values["clean"]["mpjpe"] == pytest.approx(0, abs=1e-3)
    assert "no nose (16 joints)" in network_table.network_table([row])


def test_answers_come_in_the_real_cameras_axes(films, networks):
    batch = films["detector"][0][0]
    free, rigid = candidates.of_tgt(networks[0].model, "TGT")
    x = batch.normalised()
    out = networks[0].model(x, batch.times, batch.family)
    back = torch.linalg.inv(x.rotation)
    expected = torch.einsum("btij,btkj->btki", back, out.joints)
    torch.testing.assert_close(free.predict(batch), expected, atol=1e-5, rtol=1e-4)
    lengths = (rigid.predict(batch)[:, :, J["l_knee"]] - rigid.predict(batch)[:, :, J["l_hip"]]).norm(dim=-1)
    torch.testing.assert_close(
        lengths, out.lengths[:, None, J["l_knee"]].expand_as(lengths), atol=1e-5, rtol=1e-4
    )


def test_gpc_is_timed_with_a_fifth_of_the_frames_uncertain(films, networks, monkeypatch):
    """Its own threshold leaves all alone; the timed one resamples, from the threshold that a fifth exceeds."""
    used = []
    real = candidates.correct

    def spy(denoiser, out, x, times, settings, *rest):
        used.append((settings.threshold, out))
        return real(denoiser, out, x, times, settings, *rest)

    monkeypatch.setattr(candidates, "correct", spy)
    both = candidates.of_gpc(networks[0].model, networks[1].model, [1.0, 1.0],
                             CorrectorSettings(threshold=100.0, steps=1, hypotheses=1), "TGT + GPC")  # fmt: skip
    batch = films["detector"][0][0]
    alone = candidates.of_tgt(networks[0].model, "TGT")[0].predict(batch)
    assert torch.equal(both.predict(batch), alone) and not torch.equal(both.timed(batch), alone)
    threshold, out = used[1]
    worst = candidates.joint_sigma(out.scale)[..., 1:].amax(-1)
    assert float((worst > threshold).float().mean()) == pytest.approx(0.2, abs=0.02)


def test_multiply_adds_are_those_counted_by_hand():
    c = MartinezConfig(width=64)
    martinez = Martinez(c).eval()
    by_hand = 105 * 64 + 4 * 64 * 64 + 64 * 105  # 35 joints of 3 features in, 35 of 3 out
    assert cost.macs(lambda _: martinez(torch.zeros(1, 10, 35, 3)), None) == 10 * by_hand
    v = VideoPose3DConfig(channels=32, widths=(3, 3))
    video = VideoPose3D(v).eval()
    frames = 10
    # 8 frames of padding; the first filter leaves 16 frames, the second, 3 apart, the 10 asked for.
    by_hand = 16 * 105 * 32 * 3 + frames * (32 * 32 * 3 + 32 * 32) + frames * 32 * 105
    assert cost.macs(lambda _: video(torch.zeros(1, frames, 35, 3)), None) == by_hand
    attention = _Attention(32, 4)
    by_hand = 7 * 32 * 96 + 2 * 7 * 7 * 32 + 7 * 32 * 32  # projections, scores and sums, way out
    assert cost.macs(lambda _: attention(torch.zeros(1, 7, 32), None), None) == by_hand


def test_time_is_taken_in_turn_and_the_first_round_warms_up(monkeypatch):
    film = cost.any_window()
    assert film.times.shape == (1, 81)
    clock, order = [0.0], []
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    lasts = {"a": [9.0, 0.081, 0.162, 0.243], "b": [9.0, 0.81, 0.0, 0.81]}

    def candidate(label):
        def predict(batch):
            order.append(label)
            if lasts[label]:
                clock[0] += lasts[label].pop(0)
            return batch.xyz

        return Candidate(label, predict, 7)

    found = cost.measure([candidate("a"), candidate("b")], film, 3)
    assert order[:8] == ["a", "b"] * 4
    assert found["a"].ms == pytest.approx(2.0) and found["b"].ms == pytest.approx(10.0)  # medians, per frame
    assert found["a"].ms_overlapped == pytest.approx(4.0) and found["a"].parameters == 7
    assert "2.00" in cost.cost_lines(found)[1]


def test_a_row_comes_back_as_it_went(films):
    nothing = Candidate(
        "nothing", lambda b: torch.full_like(b.xyz, float("nan")), 5, frames=3_000_000, minutes=1.5
    )
    row = network_table.row_of(nothing, films)
    assert np.isnan(row.values["clean"]["mpjpe"])
    plain = json.loads(json.dumps(network_table.as_json([row])).replace("NaN", "null"))
    again = network_table.Row.read(plain[0])
    assert repr(again) == repr(row)
    text = network_table.network_table([row]).splitlines()
    assert [c.strip() for c in text[2].split("|")[1:5]] == ["nothing", "3.000", "1.5", "-"]
    again.cost = cost.Cost(5, 2e6, 0.5, 1.0)
    assert network_table.network_table([again]).splitlines()[2].replace(" ", "").endswith("|2.0|0.50|1.00|")


def test_published_sizes_have_costs_and_unknown_runs_are_named(motion_file, tmp_path):
    found = {c.label: c for c in candidates.untrained_baselines()}
    assert found["semgcn16"].joints == tuple(n for n in candidates.MAIN_JOINTS if n != "nose")
    assert found["martinez"].parameters == sum(p.numel() for p in BaselineLifter("martinez").parameters())
    with pytest.raises(GentgError, match="no checkpoint"):
        candidates.of_run(tmp_path, motion_file)
