"""Colours of a painted figure against OpenCV's L*a*b* and scipy's earth mover's distance."""

import cv2
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINT_MIRROR
from inference_backend.keypoints import appearance
from inference_backend.keypoints.appearance import (
    BINS,
    PARTS,
    SHAPE,
    average,
    describe,
    distance,
    part_distances,
)

RED, BLUE, GREY = (180, 60, 60), (60, 80, 170), (120, 120, 120)


def person(figure, top, legs, height=400.0):
    """An image with a figure whose clothes above and below the hips have one colour each, and its joints."""
    points = figure(np.zeros(1), height=height)[0]
    image = np.zeros((500, 600, 3), np.uint8)
    waist = int(points[J["l_hip"], 1]) + 1
    image[:waist], image[waist:] = top, legs
    return image, points


def lab(rgb):
    """L*, and a*, b* as at medium light."""
    value = cv2.cvtColor(np.float32([[rgb]]) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    return value * (1, *[80 / (value[0] + 30)] * 2)


def mean(histogram):
    centres = appearance._LOW[:, None] + appearance._STEP[:, None] * np.arange(BINS)
    return (histogram * centres).sum(axis=-1) / histogram.sum(axis=-1)


def test_the_parts_have_the_colours_of_the_clothes(figure):
    described = describe(*person(figure, RED, BLUE))
    assert described.shape == SHAPE and described.dtype == np.uint8
    for part, colour in (("torso", RED), ("upper arms", RED), ("thighs", BLUE), ("shins", BLUE)):
        assert np.allclose(mean(described[PARTS.index(part)]), lab(colour), atol=1.0), part


def test_hidden_and_outside_parts_are_empty(figure):
    image, points = person(figure, RED, BLUE)
    points[[J["l_knee"], J["r_knee"]], 2] = 0.2
    described = describe(image, points)
    empty = [PARTS[i] for i in range(len(PARTS)) if not described[i].any()]
    assert empty == ["thighs", "shins"]
    below = points + (0, 350, 0)  # the upper body stays in the image
    below[[J["l_knee"], J["r_knee"]], 2] = 0.9
    described = describe(image, below)
    assert described[PARTS.index("head")].any() and not described[PARTS.index("thighs")].any()
    assert not describe(image, points + (0, 5000, 0)).any()


def test_exchanged_sides_change_nothing(figure):
    rng = np.random.default_rng(0)
    points = figure(np.zeros(1))[0]
    image = rng.integers(0, 255, (500, 600, 3), dtype=np.uint8)
    a, b = describe(image, points), describe(image, points[JOINT_MIRROR])
    assert np.abs(a.astype(int) - b).max() <= 6  # the torso's columns are the same in the other order


def test_distance_of_plain_colours_is_that_of_their_lab_values(figure):
    a, b = (average([describe(*person(figure, RED, legs))]) for legs in (BLUE, GREY))
    parts = part_distances(a, b)
    light, *chroma = lab(BLUE) - lab(GREY)
    assert parts[PARTS.index("torso")] < 1e-9
    assert parts[PARTS.index("shins")] == pytest.approx(
        np.sqrt((0.5 * light) ** 2 + np.sum(np.square(chroma))), abs=1.0
    )


def test_distance_is_scipys(figure):
    rng = np.random.default_rng(1)
    a, b = (average([rng.integers(1, 60, SHAPE, dtype=np.uint8)]) for _ in range(2))
    centres = appearance._LOW[:, None] + appearance._STEP[:, None] * np.arange(BINS)
    for part, ours in enumerate(part_distances(a, b)):
        moved = [wasserstein_distance(centres[c], centres[c], a[part, c], b[part, c]) for c in range(3)]
        assert ours == pytest.approx(np.sqrt((0.5 * moved[0]) ** 2 + moved[1] ** 2 + moved[2] ** 2), rel=1e-5)


def test_shade_matters_less_than_other_clothes(figure):
    lit = average([describe(*person(figure, RED, BLUE))])
    shaded = average([describe(*person(figure, *(tuple(int(0.85 * v) for v in c) for c in (RED, BLUE))))])
    other = average([describe(*person(figure, GREY, BLUE))])
    assert distance(lit, shaded) < 4.5 < 9 < distance(lit, other)


def test_an_average_forgets_moments_of_occlusion(figure):
    usual, covered = describe(*person(figure, RED, BLUE)), describe(*person(figure, GREY, GREY))
    nothing = np.zeros(SHAPE, np.uint8)
    mixed = average([usual] * 9 + [None, covered, nothing])
    assert distance(mixed, average([usual])) < 1e-9
    assert not average([None, nothing]).any()


def test_one_part_alone_is_no_evidence(figure):
    a = average([describe(*person(figure, RED, BLUE))])
    only = np.zeros_like(a)
    only[PARTS.index("torso")] = a[PARTS.index("torso")]
    assert distance(a, only) == np.inf and distance(a, a) == 0
    legs = a.copy()
    legs[PARTS.index("torso")] = 0
    assert distance(a, legs) == np.inf
