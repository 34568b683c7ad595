"""The filming check finds what was spoiled, and nothing in good footage."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gentg_blender.core.filming_check import check_filming, findings_from_json, findings_to_json

sys.path.insert(0, str(Path(__file__).parents[1] / "blender"))
from walking import walking  # noqa: E402


@pytest.fixture(scope="module")
def good():
    return walking(2.0)


def texts(capture) -> str:
    return " ".join(f.what for f in check_filming(capture))


def test_good_footage_has_nothing_to_say(good):
    assert [f.level for f in check_filming(good)] == ["good"]


def test_findings_are_kept_as_text(good):
    found = check_filming(replace(good, timestamps=np.arange(len(good)) / 12.0))
    assert findings_from_json(findings_to_json(found)) == found and found
    assert findings_from_json("") == findings_from_json("[1]") == findings_from_json('[{"a": 1}]') == []


def test_low_frame_rate(good):
    assert "frames a second" in texts(replace(good, timestamps=np.arange(len(good)) / 12.0))


def test_irregular_frames(good):
    steps = np.where(np.arange(len(good)) % 8 == 0, 0.2, 1 / 30)
    assert "irregularly" in texts(replace(good, timestamps=np.cumsum(steps)))


def test_small_person(good):
    small = good.keypoints.copy()
    small[..., :2] = small[..., :2] * 0.1 + 100
    assert "pixels tall" in texts(replace(good, keypoints=small))


def test_cut_off_feet(good):
    assert "feet leave the image" in texts(
        replace(
            good,
            image_size=np.array(
                [good.image_size[0], int(np.median(good.keypoints[..., 1].max(axis=1))) - 20]
            ),
        )
    )


def test_gaps(good):
    seen = np.ones(len(good), bool)
    seen[: len(seen) // 2] = False
    found = check_filming(replace(good, seen=seen))
    assert found[0].level == "problem" and "not seen in 50%" in found[0].what


def test_fast_hands(good):
    xyz = good.xyz.copy()
    xyz[::2, list(good.names).index("l_wrist")] += 0.4
    assert "very fast" in texts(replace(good, xyz=xyz))


def filmed(capture, person="prominent", **measures):
    still = {"looks": 8, "blur": 0.44, "others": 0.0, "camera_speed": 0.0005, "camera_speed_90": 0.005}
    return replace(capture, meta={"footage": still | measures, "settings": {"person": person}})


def test_sharp_still_footage_of_one_person_is_good(good):
    assert [f.level for f in check_filming(filmed(good))] == ["good"]


@pytest.mark.parametrize("blur, level", [(0.63, None), (0.7, "hint"), (0.85, "problem")])
def test_blur(good, blur, level):
    found = [f for f in check_filming(filmed(good, blur=blur)) if "blurred" in f.what]
    assert [f.level for f in found] == ([level] if level else []) and all(
        "exposure" in f.advice for f in found
    )


def test_several_people(good):
    (one,) = check_filming(filmed(good, others=1.0))
    assert one.what == "Several people are in the image." and "Find People" in one.advice
    (some,) = check_filming(filmed(good, others=0.25))
    assert "25%" in some.what
    (picked,) = check_filming(filmed(good, {"time": 1.0, "box": [0, 0, 9, 9]}, others=1.0))
    assert "passes in front" in picked.advice


@pytest.mark.parametrize(
    "median, high, level",
    [(0.01, 0.03, None), (0.02, 0.03, "hint"), (0.01, 0.06, "hint"), (0.2, 0.3, "problem")],
)
def test_moving_camera(good, median, high, level):
    found = [
        f
        for f in check_filming(filmed(good, camera_speed=median, camera_speed_90=high))
        if "camera" in f.what
    ]
    assert [f.level for f in found] == ([level] if level else []) and all("tripod" in f.advice for f in found)


def test_a_camera_that_was_followed_is_no_problem(good):
    turned = replace(filmed(good, camera_speed=0.2, camera_speed_90=0.3), camera_rotation=None)
    angle = np.radians(np.linspace(-12.0, 12.0, len(good)))
    turned.camera_rotation[:, 0, 0] = turned.camera_rotation[:, 2, 2] = np.cos(angle)
    turned.camera_rotation[:, 2, 0] = np.sin(angle)
    turned.camera_rotation[:, 0, 2] = -np.sin(angle)
    (found,) = [f for f in check_filming(turned) if "camera" in f.what]
    assert found.level == "hint" and "12 degrees" in found.what and "followed" in found.what


def test_what_was_not_measured_is_not_said(good):
    nothing = dict.fromkeys(("blur", "others", "camera_speed", "camera_speed_90"))
    for capture in (filmed(good, **nothing), replace(good, meta={}), replace(good, meta={"footage": None})):
        assert [f.level for f in check_filming(capture)] == ["good"]
