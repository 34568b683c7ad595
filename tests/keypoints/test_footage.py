"""What is measured of the footage itself, on images that were spoiled by a known amount."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gentg_blender.core.skeleton import JOINT_INDEX as J
from inference_backend.keypoints import footage
from inference_backend.keypoints.detector import Detection, box_of
from inference_backend.keypoints.footage import (
    FootageMeter,
    FootageSample,
    background_mask,
    background_shift,
    person_blur,
    small_grey,
    summarise,
)
from inference_backend.keypoints.layouts import LAYOUTS

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "beam_walk.mp4"
# The walker in the sample's first frame, 720 x 1280, as anybody can read off the image.
PLACES = {
    "nose": (333, 262), "l_shoulder": (352, 320), "r_shoulder": (258, 312), "l_elbow": (362, 400), "r_elbow": (213, 388),
    "l_wrist": (360, 480), "r_wrist": (178, 480), "l_hip": (318, 480), "r_hip": (250, 478), "l_knee": (300, 600),
    "r_knee": (245, 580), "l_ankle": (285, 740), "r_ankle": (222, 690),
}  # fmt: skip


@pytest.fixture(scope="module")
def still():
    with av.open(str(SAMPLE)) as container:
        return next(f.reformat(720, 1280, format="rgb24").to_ndarray() for f in container.decode(video=0))


@pytest.fixture(scope="module")
def points():
    out = np.zeros((35, 3))
    for name, (x, y) in PLACES.items():
        out[J[name]] = x, y, 0.9
    return out


def detection(points):
    picked = np.array([points[J[n]] for n in LAYOUTS["coco17"]])
    return Detection(picked, 0.9, box_of(picked))


def test_blur_grows_with_the_blur_of_the_person(still, points):
    values = [person_blur(still, points)]
    values += [person_blur(cv2.GaussianBlur(still, (0, 0), s), points) for s in (1.5, 3, 6)]
    assert values[0] < 0.55 and values == sorted(values) and values[2] > 0.64 and values[3] > 0.78
    assert person_blur(cv2.blur(still, (31, 1)), points) > 0.64  # a camera that shakes sideways
    around = cv2.GaussianBlur(still, (0, 0), 6)  # a soft background is no fault
    around[220:800, 150:400] = still[220:800, 150:400]
    assert abs(person_blur(around, points) - values[0]) < 0.05


def test_size_does_not_count_as_blur(still, points):
    half = points.copy()
    half[:, :2] /= 2
    small = cv2.resize(still, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert abs(person_blur(small, half) - person_blur(still, points)) < 0.06


def test_nobody_or_too_little_of_somebody_has_no_blur(still, points):
    assert person_blur(still, np.zeros((35, 3))) is None
    away = points.copy()
    away[:, 0] += 5000
    assert person_blur(still, away) is None


@pytest.mark.parametrize("shift", [(0, 0), (6, 0), (-9, 4)])
def test_the_background_moves_as_it_was_moved(still, shift):
    first = still[100:820, 60:660]
    then = still[100 + shift[1] : 820 + shift[1], 60 + shift[0] : 660 + shift[0]]
    a, b = small_grey(first), small_grey(then)
    moved = background_shift(a, b, background_mask(a, first.shape, []))
    assert moved == pytest.approx(np.hypot(*shift) / 600, abs=0.0012)


def test_a_person_who_moves_is_not_the_camera(still):
    first, then = still.copy(), still.copy()
    then[220:800, 190:440] = still[220:800, 150:400]
    a, b = small_grey(first), small_grey(then)
    box = np.array([150.0, 220.0, 440.0, 800.0])
    assert background_shift(a, b, background_mask(a, first.shape, [box])) < 0.001
    assert background_shift(a, b, background_mask(a, first.shape, [])) < 0.001  # most of the still agrees


def test_nothing_to_see_is_not_measured(still):
    blank = np.full((135, 240), 90, np.uint8)
    assert background_shift(blank, blank, np.full_like(blank, 255)) is None
    assert (
        background_shift(small_grey(still), small_grey(still[:, ::-1]), np.full((240, 135), 255, np.uint8))
        is None
    )


def test_the_meter_over_a_panned_still(still, points):
    """0.1 still widths a second, 30 frames a second, for four seconds; two people in the second half."""
    walker = detection(points)
    meter = FootageMeter(1.0, "coco17", lambda image, found: len(found) > 1, 2.0)
    for i in range(120):
        x = round(0.1 * 600 * i / 30)
        image = still[:, x : x + 600] if x + 600 <= 720 else still[:, 120:]
        moved = points.copy()
        moved[:, 0] -= min(x, 120)
        people = [detection(moved), walker][: 1 + (i >= 60)]
        meter.see(i / 30, image, people)
    times = [look.time for look in meter.looks]
    assert times == pytest.approx([0, 1, 2, 3]) and [look.others for look in meter.looks] == [
        False,
        None,
        True,
        None,
    ]
    assert meter.looks[0].camera == pytest.approx(0.1, rel=0.08) and meter.looks[1].camera == pytest.approx(
        0.1, rel=0.08
    )
    assert meter.looks[3].camera < 0.005  # the pan has come to its end after two seconds
    found = summarise(meter.looks)
    assert found["looks"] == 4 and found["others"] == 0.5
    assert found["blur"] < 0.6 and 0.0 <= found["camera_speed"] <= found["camera_speed_90"] < 0.11


def test_a_summary_of_nothing_claims_nothing():
    empty = {"looks": 0, "blur": None, "others": None, "camera_speed": None, "camera_speed_90": None}
    assert summarise([]) == empty
    once = summarise([FootageSample(0.0, 0.4, None, 0.2)])
    assert once["camera_speed"] is None and once["blur"] == 0.4  # one pair is no motion


def test_it_works_on_few_images(still, points, monkeypatch):
    """What bounds its cost: of six seconds at 30 images a second it reads two every 1.5 s, and asks for others once."""
    read, asked = [], []
    monkeypatch.setattr(footage, "small_grey", lambda image: read.append(1) or small_grey(image))
    monkeypatch.setattr(footage, "person_blur", lambda *a: read.append(1) or person_blur(*a))
    meter = FootageMeter(1.5, "coco17", lambda image, found: bool(asked.append(1)), 6.0)
    for i in range(180):
        meter.see(i / 30, still, [detection(points)])
    assert len(meter.looks) == 4 and len(asked) == 1
    assert len(read) == 4 * 3  # blur once, the background twice
