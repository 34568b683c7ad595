import numpy as np
import pytest

from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_MIRROR
from inference_backend.keypoints.detector import Detection, box_of
from inference_backend.keypoints.layouts import LAYOUTS
from inference_backend.keypoints.tracking import follow_person

NAMES = LAYOUTS["blazepose33"]


def detections(points, score=0.8):
    """(T, 35, 3) canonical points -> one BlazePose detection per frame."""
    out = []
    for p in points:
        k = np.array([p[JOINT_INDEX[n]] if n in JOINT_INDEX else p[JOINT_INDEX["nose"]] for n in NAMES])
        out.append(Detection(k, score, box_of(k)))
    return out


def test_one_person_all_the_time(figure):
    times = np.arange(60) / 30
    chosen = follow_person(times, [[d] for d in detections(figure(times))], "blazepose33")
    assert np.all(chosen == 0)


def test_a_jump_to_somebody_else_is_cut(figure):
    """What MediaPipe does when the person leaves: its one result is suddenly another person."""
    times = np.arange(90) / 30
    first, second = figure(times, origin=(200, 40)), figure(times, origin=(520, 60), height=360)
    found = [[d] for d in detections(np.where((np.arange(90) < 55)[:, None, None], first, second))]
    chosen = follow_person(times, found, "blazepose33")
    assert np.all(chosen[:55] == 0) and np.all(chosen[55:] == -1)


def test_people_one_after_another_are_not_joined(figure):
    times = np.arange(120) / 10
    points = figure(times, origin=(300, 40), drift=(0, 0))
    found = [[d] for d in detections(points)]
    for row in range(40, 56):
        found[row] = []  # empty scene for 1.6 s
    chosen = follow_person(times, found, "blazepose33")
    assert np.all(chosen[:56] == -1) and np.all(chosen[56:] == 0)


def test_short_loss_is_bridged_and_marked(figure):
    times = np.arange(60) / 30
    found = [[d] for d in detections(figure(times))]
    for row in range(20, 30):
        found[row] = []
    chosen = follow_person(times, found, "blazepose33")
    assert np.all(chosen[20:30] == -1) and np.all(chosen[:20] == 0) and np.all(chosen[30:] == 0)


def test_two_people_in_any_order(figure):
    rng = np.random.default_rng(0)
    times = np.arange(90) / 30
    near, far = (
        detections(figure(times, height=420, origin=(250, 20))),
        detections(figure(times, height=200, origin=(480, 150), drift=(-60, 0))),
    )
    found, expected = [], []
    for a, b in zip(near, far):
        order = rng.permutation(2)
        found.append([(a, b)[i] for i in order])
        expected.append(int(np.flatnonzero(order == 0)[0]))
    assert follow_person(times, found, "blazepose33").tolist() == expected


def test_a_left_right_swap_ends_no_track(figure):
    times = np.arange(60) / 30
    points = figure(times)
    points[25:30] = points[25:30][:, JOINT_MIRROR]
    assert np.all(follow_person(times, [[d] for d in detections(points)], "blazepose33") == 0)


def test_a_fast_person_is_followed(figure):
    for fps in (10, 30, 60):
        times = np.arange(0, 1.5, 1 / fps)
        points = figure(times, height=200, drift=(700, 0))  # a sprint: 3.5 body heights a second
        assert np.all(follow_person(times, [[d] for d in detections(points)], "blazepose33") == 0), fps


def test_trembling_furniture_is_nobody(figure):
    rng = np.random.default_rng(4)
    times = np.arange(60) / 10
    points = figure(times, height=80, drift=(0, 0))
    points[..., :2] += rng.normal(0, 6, points[..., :2].shape)
    assert np.all(follow_person(times, [[d] for d in detections(points)], "blazepose33") == -1)


@pytest.mark.parametrize("t", [0, 1, 2])
def test_tiny_clips(figure, t):
    times = np.arange(t) / 30
    chosen = follow_person(times, [[d] for d in detections(figure(times))], "blazepose33")
    assert chosen.tolist() == [0] * t
    assert follow_person(times, [[]] * t, "blazepose33").tolist() == [-1] * t
