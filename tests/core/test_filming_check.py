"""The filming check finds what was spoiled, and nothing in good footage."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gentg_blender.core.filming_check import check_filming

sys.path.insert(0, str(Path(__file__).parents[1] / "blender"))
from walking import walking  # noqa: E402


@pytest.fixture(scope="module")
def good():
    return walking(2.0)


def texts(capture) -> str:
    return " ".join(f.what for f in check_filming(capture))


def test_good_footage_has_nothing_to_say(good):
    assert [f.level for f in check_filming(good)] == ["good"]


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
    assert "feet leave the picture" in texts(
        replace(good, image_size=np.array([good.image_size[0], int(np.median(good.keypoints[..., 1].max(axis=1))) - 20])))


def test_gaps(good):
    seen = np.ones(len(good), bool)
    seen[: len(seen) // 2] = False
    found = check_filming(replace(good, seen=seen))
    assert found[0].level == "problem" and "not seen in 50%" in found[0].what


def test_fast_hands(good):
    xyz = good.xyz.copy()
    xyz[::2, list(good.names).index("l_wrist")] += 0.4
    assert "very fast" in texts(replace(good, xyz=xyz))
