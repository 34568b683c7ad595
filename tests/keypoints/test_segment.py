"""What a stretch of a clip keeps of each frame: the numbers that were found, in few bytes."""

import numpy as np
import pytest

from inference_backend.keypoints.detector import Detection, box_of
from inference_backend.keypoints.segment import Segment

SIZE = (640, 360)


def somebody(rng, points, world):
    keypoints = rng.uniform(0.2, 0.9, (points, 3)) * [*SIZE, 1.0]
    return Detection(
        keypoints, float(rng.uniform()), box_of(keypoints), rng.normal(size=(points, 3)) if world else None
    )


@pytest.mark.parametrize(("points", "world"), [(33, True), (17, False)])
def test_people_come_back_in_the_pixels_of_another_size(points, world):
    rng = np.random.default_rng(1)
    given = [[somebody(rng, points, world) for _ in range(count)] for count in (0, 1, 2, 0, 3)]
    look = rng.integers(0, 255, (6, 3, 8)).astype(np.uint8)
    segment = Segment(0.0, 0.0, 1.0)
    for i, people in enumerate(given):
        segment.add(
            7 + i, i / 30, people, [look if i == 2 and p == 1 else None for p in range(len(people))], SIZE
        )
    assert list(segment.frames) == [7, 8, 9, 10, 11] and segment.times[4] == 4 / 30
    for stretch in (1.0, 1.5):
        got = segment.detections((round(SIZE[0] * stretch), round(SIZE[1] * 2 * stretch)))
        assert [len(people) for people in got] == [0, 1, 2, 0, 3]
        for want, have in zip(sum(given, []), sum(got, []), strict=True):
            larger = np.array([stretch, 2 * stretch])
            np.testing.assert_allclose(have.keypoints, want.keypoints * [*larger, 1.0], rtol=1e-5)
            np.testing.assert_allclose(have.box, want.box * np.tile(larger, 2), rtol=1e-5)
            assert have.score == pytest.approx(want.score)
            if world:
                np.testing.assert_allclose(have.world, want.world, rtol=1e-6)
            else:
                assert have.world is None
    looks = [d.appearance for people in segment.detections(SIZE) for d in people]
    assert looks[2] is look and sum(a is None for a in looks) == 5


def test_nobody_in_any_frame():
    segment = Segment(None, None, None)
    segment.add(0, 0.0, [], [], SIZE)
    assert segment.detections(SIZE) == [[]]
    assert Segment(None, None, None).detections(SIZE) == []


def test_an_hour_takes_less_than_200_megabytes():
    rng = np.random.default_rng(0)
    segment, person = Segment(0.0, 0.0, 1.0), somebody(rng, 33, True)
    for i in range(1000):
        segment.add(i, i / 60, [person], [None], SIZE)
    taken = sum(len(a) * a.itemsize for a in vars(segment).values() if hasattr(a, "itemsize"))
    assert 800 < taken / 1000 < 1000  # 198 numbers of 4 bytes, box, score, time and number of the frame
