"""GPC on and off on hidden limbs: what is hidden, what is measured, how the low-pass is tuned."""

from dataclasses import replace

import numpy as np
import pytest

from gentg_blender.core.contract import EstimateSettings, GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINTS
from inference_backend.evaluation import hidden_limbs
from inference_backend.evaluation.hidden_limbs import Figures
from inference_backend.evaluation.motion_suite import MotionCase, held_out, motion_cases
from inference_backend.lifting.correct import CorrectorSettings
from inference_backend.lifting.lifter import Lifter


@pytest.fixture(scope="module")
def films(motion_file):
    clips = held_out(motion_file, ("made_3",))
    return list(motion_cases(clips, MotionCase(noise="open"), 12, frames=81, seed=1))


def truth_of(case) -> np.ndarray:
    truth = case.case.reference.in_camera()
    return truth - truth[:, :1]


def test_one_arm_or_both_legs_are_hidden_for_a_while(films):
    cases = hidden_limbs.hide_limbs(films, 0)
    arms = {f"{s}_{n}" for s in "lr" for n in ("elbow", "wrist", "index", "pinky", "thumb")}
    legs = {f"{s}_{n}" for s in "lr" for n in ("hip", "knee", "ankle", "heel", "foot_index", "small_toe")}
    seen = set()
    for film, case in zip(films, cases, strict=True):
        joints = {JOINTS[j] for j in np.flatnonzero(case.hidden.any(0))}
        rows = np.flatnonzero(case.hidden.any(1))
        times = film.track.timestamps[rows]
        assert joints == (legs if case.part == "both legs" else {n for n in arms if n[0] == case.part[0]})
        assert len(rows) == rows[-1] - rows[0] + 1 and 0.26 <= np.ptp(times) <= 1.0
        assert times[0] >= film.track.timestamps[0] + 0.3 and times[-1] <= film.track.timestamps[-1] - 0.3
        assert not case.case.track.keypoints[case.hidden].any()
        assert np.array_equal(case.case.track.keypoints[~case.hidden], film.track.keypoints[~case.hidden])
        seen.add(case.part)
    assert seen == {"left arm", "right arm", "both legs"}
    again = hidden_limbs.hide_limbs(films, 0)
    assert all(np.array_equal(a.hidden, b.hidden) for a, b in zip(cases, again, strict=True))


def test_a_clip_that_is_too_short_is_refused(motion_file):
    short = list(motion_cases(held_out(motion_file, ("made_3",)), MotionCase(noise="open"), 1, frames=10))
    with pytest.raises(GentgError, match="too short"):
        hidden_limbs.hide_limbs(short, 0)


def test_errors_are_told_apart_by_where_they_are(films):
    case = hidden_limbs.hide_limbs(films, 0)[0]
    main = [J[n] for n in hidden_limbs.MAIN_JOINTS]
    pred = truth_of(case) + 0.05 * case.hidden[..., None] * [0.0, 1.0, 0.0]
    found = hidden_limbs.errors(case, pred)
    share = case.hidden[:, main].mean()
    assert found["hidden"] == pytest.approx(50.0) and found["other"] == pytest.approx(0.0, abs=1e-9)
    assert found["mpjpe"] == pytest.approx(50.0 * share)
    # Each hidden main joint jumps by 5 cm in and out: +1 -1 and -1 +1 in second differences, at 30 frames/s.
    jumps = 4 * case.hidden[:, main].any(0).sum() * 0.05 * 900
    assert found["accel_error"] == pytest.approx(jumps / (79 * 17), rel=1e-6)


def test_the_low_pass_has_no_phase_and_halves_its_cutoff():
    t = np.arange(600) / 30.0
    for hertz, gain in ((0.5, 1.0), (3.0, 0.5), (12.0, 0.0)):
        wave = np.sin(2 * np.pi * hertz * t)[:, None]
        out = hidden_limbs.low_pass(wave, 30.0, 3.0)[100:500, 0]
        inner = wave[100:500, 0]
        assert out @ inner / (inner @ inner) == pytest.approx(gain, abs=0.01)
        quadrature = np.cos(2 * np.pi * hertz * t)[100:500]
        assert out @ quadrature / (quadrature @ quadrature) == pytest.approx(0.0, abs=0.01)


def test_the_cutoff_is_tuned_to_what_disturbs(films):
    cases = hidden_limbs.hide_limbs(films, 0)[:4]
    t = np.arange(81) / 30.0
    exact = [truth_of(c) for c in cases]
    shaken = [
        x + 0.04 * np.sin(2 * np.pi * 10 * t)[:, None, None] * (np.arange(35) > 0)[:, None] for x in exact
    ]
    for by in ("mpjpe", "accel_error"):
        assert hidden_limbs.tuned_cutoff(cases, exact, by) == max(hidden_limbs.CUTOFFS)
        best = hidden_limbs.tuned_cutoff(cases, shaken, by)
        assert 2.0 <= best <= 6.0
        every = [np.mean([hidden_limbs.errors(c, hidden_limbs.low_pass(x, 30.0, cut))[by]
                          for c, x in zip(cases, shaken, strict=True)]) for cut in (1.0, best, 12.0)]  # fmt: skip
        assert every[1] < min(every[0], every[2])


def test_thresholds_decide_how_much_is_drawn_anew(films, networks):
    settings = EstimateSettings(correction=0.5, quality="fast", device="cpu")
    lifter = Lifter(settings, *networks, CorrectorSettings(threshold=0.05, steps=1, hypotheses=1))
    cases = hidden_limbs.hide_limbs(films, 0)[:4]
    figures = hidden_limbs.compare(cases, settings, (0.0, 100.0), lifter=lifter)
    assert [f.threshold for f in figures] == [None, None, None, 0.0, 0.05, 100.0]
    assert [f.method for f in figures if "in use" in f.method] == ["TGT + GPC, 0.05 m (in use)"]
    tgt, everything, nothing = figures[0], figures[3], figures[5]
    assert everything.resampled == pytest.approx(34 / 35) and nothing.resampled == 0.0
    assert (nothing.hidden, nothing.other, nothing.accel_error) == (tgt.hidden, tgt.other, tgt.accel_error)
    assert everything.hidden != tgt.hidden and np.isfinite(everything.ms)
    assert figures[1].accel_error < tgt.accel_error or figures[2].accel_error < tgt.accel_error
    half = {f.threshold: f for f in figures}[0.0]
    whole = hidden_limbs.compare(cases, replace(settings, correction=1.0), (0.0,), lifter=lifter)[3]
    assert half.hidden != whole.hidden
    text = hidden_limbs.table(figures)
    assert text.count("\n") == 7 and "| TGT + GPC, 0.05 m (in use)" in text


def test_what_was_promised_is_judged():
    def row(method, hidden, other, accel, threshold=None):
        return Figures(method, hidden, other, other, accel, threshold=threshold)

    base = [row("TGT", 200, 80, 12), row("slow", 200, 82, 6), row("fast", 198, 80, 9)]
    good = hidden_limbs.verdicts(
        [*base, row("TGT + GPC (in use)", 160, 80.2, 5.9, 0.1), row("other", 900, 900, 900, 0.2)]
    )
    assert [line[:6] for line in good] == ["holds "] * 3 and "20.0 %" in good[0] and "slow" in good[2]
    bad = hidden_limbs.verdicts([*base, row("TGT + GPC (in use)", 175, 80.5, 7, 0.1)])
    assert [line[:6] for line in bad] == ["MISSED"] * 3
