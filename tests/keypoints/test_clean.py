import time

import numpy as np
import pytest

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINT_MIRROR
from inference_backend.keypoints.clean import CleanConfig, body_size, clean
from inference_backend.keypoints.sides import SideConfig, repair_sides
from inference_backend.keypoints.track import KeypointTrack

ARM = [J[f"{s}_{n}"] for n in ("shoulder", "elbow", "wrist", "index", "pinky", "thumb") for s in "lr"]
LEG = [J[f"{s}_{n}"] for n in ("hip", "knee", "ankle", "heel", "foot_index") for s in "lr"]


def track_of(times, points, seen=None):
    seen = np.ones(len(times), bool) if seen is None else seen
    return KeypointTrack(
        points, "blazepose33", np.asarray(times, float), np.arange(len(times)), seen, (1280, 720), 30.0
    )


def off(a, b, joints=slice(None)):
    return np.linalg.norm(a[:, joints, :2] - b[:, joints, :2], axis=-1)


@pytest.mark.parametrize("fps", [10, 30, 60, "irregular"])
def test_swaps_are_repaired(figure, fps):
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 4, 120)) if fps == "irregular" else np.arange(0, 4, 1 / fps)
    truth = figure(times)
    noisy = truth.copy()
    noisy[..., :2] += rng.normal(0, 1.0, noisy[..., :2].shape)
    wrong = noisy.copy()
    at = lambda a, b: (times >= a) & (times < b)  # noqa: E731
    for rows, joints in (
        (at(0.5, 0.9), range(35)),
        (at(1.5, 1.75), ARM),
        (at(2.2, 2.5), LEG),
        (at(3.3, 3.4), range(35)),
    ):
        joints = np.array(joints)
        wrong[np.ix_(rows, joints)] = noisy[np.ix_(rows, JOINT_MIRROR[joints])]
    cleaned, report = clean(track_of(times, wrong))
    assert off(wrong, truth, ARM).max() > 60
    assert off(cleaned.keypoints, truth, ARM + LEG).max() < 12
    expected = np.zeros(report.swapped.shape, bool)
    expected[np.ix_(at(1.5, 1.75), np.array(ARM))] = True
    assert np.array_equal(report.swapped[at(1.4, 1.9)], expected[at(1.4, 1.9)])


@pytest.mark.parametrize("fps, hz", [(60, 0.9), (30, 0.9), (30, 1.4), (24, 1.2), (15, 0.8), (10, 0.7)])
def test_nothing_is_swapped_when_limbs_cross(figure, fps, hz):
    """Legs that pass each other in a side view come as close to each other as to themselves."""
    times = np.arange(0, 4, 1 / fps)
    points = figure(times)
    for name in ("hip", "knee", "ankle", "heel", "foot_index"):
        for sign, side in ((1, "l_"), (-1, "r_")):
            reach = {"hip": 0.0, "knee": 40.0}.get(name, 90.0)
            points[:, J[side + name], 0] = (
                300 + 40 * times + sign * (2 + reach * np.sin(2 * np.pi * hz * times))
            )
    points[..., :2] += np.random.default_rng(0).normal(0, 1.0, points[..., :2].shape)
    _, report = clean(track_of(times, points))
    assert not report.swapped.any()


def test_the_majority_names_the_sides(figure):
    times = np.arange(0, 3, 1 / 30)
    truth = figure(times)
    wrong = truth.copy()
    wrong[:20] = truth[:20][:, JOINT_MIRROR]
    cleaned, _ = clean(track_of(times, wrong))
    assert off(cleaned.keypoints, truth, ARM + LEG).max() < 8


def test_isolated_jumps_lose_their_confidence_and_their_place(figure):
    times = np.arange(0, 3, 1 / 30)
    truth = figure(times)
    wrong = truth.copy()
    spots = [(20, J["l_wrist"]), (45, J["r_ankle"]), (46, J["nose"]), (70, J["l_knee"])]
    for row, joint in spots:
        wrong[row, joint, :2] += (80, -60)
    cleaned, report = clean(track_of(times, wrong))
    for row, joint in spots:
        assert report.outliers[row, joint] and cleaned.keypoints[row, joint, 2] < 0.1
        assert off(cleaned.keypoints, truth)[row, joint] < 12
    assert report.outliers.sum() == len(spots)
    assert np.all(
        cleaned.keypoints[..., 2] <= np.maximum(wrong[..., 2], CleanConfig().fill_confidence) + 1e-9
    )


def test_smoothing_takes_jitter_without_lag(figure):
    rng = np.random.default_rng(2)
    times = np.arange(0, 6, 1 / 60)
    truth = figure(times)
    noisy = truth.copy()
    noisy[..., :2] += rng.normal(0, 1.5, noisy[..., :2].shape)
    cleaned, _ = clean(track_of(times, noisy))
    jerk = lambda p: np.diff(p[:, J["l_wrist"], 0] - truth[:, J["l_wrist"], 0], 2).std()  # noqa: E731
    assert jerk(cleaned.keypoints) < 0.15 * jerk(noisy)
    assert (
        off(cleaned.keypoints, truth, [J["l_wrist"]]).mean() < 0.75 * off(noisy, truth, [J["l_wrist"]]).mean()
    )
    # lag: the shift in time at which the smoothed wrist fits the true one best
    x, y = cleaned.keypoints[:, J["l_wrist"], 0], truth[:, J["l_wrist"], 0]
    shifts = np.arange(-4, 5)
    fit = [np.mean((x[10:-10] - np.roll(y, s)[10:-10]) ** 2) for s in shifts]
    assert shifts[int(np.argmin(fit))] == 0


@pytest.mark.parametrize("hz, least, most", [(1.0, 0.99, 1.001), (3.0, 0.93, 1.0), (14.0, 0.0, 0.15)])
def test_gain_is_that_of_the_formula(figure, hz, least, most):
    times = np.arange(0, 8, 1 / 120)
    points = figure(times, drift=(0.0, 0.0))
    wave = 5 * np.sin(2 * np.pi * hz * times)
    points[:, :, 0] += wave[:, None]
    still = figure(times, drift=(0.0, 0.0))
    cleaned, _ = clean(track_of(times, points))
    middle = slice(200, -200)
    gain = np.dot((cleaned.keypoints - still)[middle, J["nose"], 0], wave[middle]) / np.dot(
        wave[middle], wave[middle]
    )
    s = CleanConfig().smoothing
    weight = 0.95**2  # a less sure point is smoothed more
    assert gain == pytest.approx(1 / (1 + (2 * np.pi * hz * s) ** 4 / weight), abs=0.03)
    assert least <= gain <= most


def test_gaps_are_filled_when_short_and_marked_when_long(figure):
    times = np.arange(0, 5, 1 / 30)
    truth = figure(times)
    seen = np.ones(len(times), bool)
    seen[40:44] = False  # 0.13 s
    seen[80:110] = False  # 1 s
    seen[:6] = False
    wrong = truth.copy()
    wrong[~seen] = 0.0
    cleaned, report = clean(track_of(times, wrong, seen))
    assert np.flatnonzero(report.filled).tolist() == [40, 41, 42, 43]
    assert off(cleaned.keypoints, truth, ARM)[40:44].max() < 6
    confidence = cleaned.keypoints[..., 2]
    assert np.all(confidence[40:44][:, ARM] == CleanConfig().fill_confidence)
    assert not cleaned.seen[80:110].any() and not cleaned.seen[:6].any()
    assert not confidence[80:110].any() and not confidence[:6].any()
    assert np.isfinite(cleaned.keypoints).all()


def test_a_single_missing_joint_is_filled_only_for_a_moment(figure):
    times = np.arange(0, 3, 1 / 30)
    truth = figure(times)
    wrong = truth.copy()
    wrong[30:33, J["l_wrist"]] = 0.0
    wrong[50:80, J["r_wrist"]] = 0.0
    cleaned, _ = clean(track_of(times, wrong))
    assert (
        np.all(cleaned.keypoints[30:33, J["l_wrist"], 2] > 0)
        and off(cleaned.keypoints, truth)[30:33, J["l_wrist"]].max() < 8
    )
    assert np.all(cleaned.keypoints[50:80, J["r_wrist"], 2] == 0)


@pytest.mark.parametrize("t", [1, 2, 3, 4, 6])
def test_very_short_clips(figure, t):
    times = np.arange(t) / 30
    truth = figure(times)
    cleaned, _ = clean(track_of(times, truth))
    assert off(cleaned.keypoints, truth).max() < 1.0 and np.isfinite(cleaned.keypoints).all()


def test_world_follows_the_repair(figure):
    times = np.arange(0, 2, 1 / 30)
    points = figure(times)
    world = np.zeros((len(times), 35, 3))
    world[:, J["l_wrist"]], world[:, J["r_wrist"]] = 1.0, -1.0
    points[20:30], world[20:30] = points[20:30][:, JOINT_MIRROR], world[20:30][:, JOINT_MIRROR]
    track = track_of(times, points)
    from dataclasses import replace

    cleaned, _ = clean(replace(track, world=world))
    assert np.all(cleaned.world[:, J["l_wrist"]] == 1.0)


def test_body_size_is_about_the_height(figure):
    times = np.arange(0, 2, 1 / 30)
    assert np.allclose(body_size(times, figure(times, height=400.0)), 400.0, rtol=0.05)


def test_speed(figure):
    times = np.arange(3000) / 30
    track = track_of(times, figure(times, drift=(1.0, 0.0)))
    begun = time.process_time()
    clean(track)
    assert (time.process_time() - begun) / 3000 < 1e-3


@pytest.mark.parametrize("part", [slice(0, 15), slice(75, 90)])
def test_swaps_at_the_ends_of_a_clip_are_repaired(figure, part):
    times = np.arange(90) / 30
    truth = figure(times)
    wrong = truth.copy()
    wrong[part] = wrong[part][:, JOINT_MIRROR]
    cleaned, report = clean(track_of(times, wrong))
    assert report.swapped[part][:, ARM].all() and report.swapped[:, ARM].sum() == 15 * np.size(ARM)
    assert off(cleaned.keypoints, truth, ARM).max() < 8


def test_legs_that_pass_each_other_as_a_clip_begins_stay(shared):
    """MediaPipe on a man who runs in from the side: its sides are right at first, then wrong for moments."""
    folder = shared / "video" / "rendered"
    with np.load(folder / "baselines" / "mediapipe" / "dive_roll_nosmooth.npz", allow_pickle=False) as found:
        seen = np.flatnonzero(np.isfinite(found["kpts"][..., 0]).all(axis=1))
        points = np.zeros((len(seen), 35, 3))
        for i, name in enumerate(found["names"].tolist()):
            if name in J:
                points[:, J[name]] = np.column_stack([found["kpts"][seen, i], found["conf"][seen, i]])
    pairs = ("l_knee", "r_knee", "l_ankle", "r_ankle")
    with np.load(folder / "dive_roll" / "gt.npz", allow_pickle=False) as truth:
        true = truth["xy"][seen][:, [truth["names"].tolist().index(n) for n in pairs]]
    size = body_size(seen / 30, points)

    def exchanged(keypoints):
        ours = keypoints[:, [J[n] for n in pairs], :2]
        direct = np.linalg.norm(ours - true, axis=-1).sum(axis=1)
        crossed = np.linalg.norm(ours[:, [1, 0, 3, 2]] - true, axis=-1).sum(axis=1)
        return ((crossed < 0.8 * direct) & (direct - crossed > 0.1 * size)).sum()

    assert exchanged(points) >= 8
    assert exchanged(repair_sides(seen / 30, points, size)[0]) <= 2
    assert exchanged(repair_sides(seen / 30, points, size, SideConfig(edge=0.0))[0]) >= 5  # what it is for
