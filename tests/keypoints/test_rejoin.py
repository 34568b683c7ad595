"""People who come back, cuts and jumps to somebody else: through the images, up to the final track."""

from pathlib import Path

import av
import numpy as np
import pytest

from gentg_blender.core.skeleton import JOINT_INDEX
from inference_backend.keypoints.appearance import BINS, SHAPE
from inference_backend.keypoints.detect import detect_video
from inference_backend.keypoints.detector import Detection, box_of
from inference_backend.keypoints.layouts import LAYOUTS
from inference_backend.keypoints.tracking import follow_person
from inference_backend.video.write import VideoWriter

FPS = 10
HEIGHT = 200
SKIN = (205, 150, 125)
RED_BLUE, GREEN_GREY = ((170, 50, 50), (50, 60, 140)), ((60, 130, 70), (110, 110, 110))
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "beam_walk.mp4"


class LeftmostDetector:
    """One person an image, like MediaPipe: the leftmost, so that when this one goes it jumps to the next."""

    name, layout, version, hashes, max_size, follows = "leftmost", "coco17", "1", {}, 1080, True

    def __init__(self, model):
        self.model = model  # (35, 3) a standing figure, heights, the middle of the feet at 0, 1

    def detect(self, image):
        columns = (image.max(axis=2) > 70).sum(axis=0) > 0.3 * HEIGHT
        if not columns.any():
            return []
        left = int(np.argmax(columns))
        width = int(np.argmin(np.append(columns[left:], False)))
        rows = np.flatnonzero(image[:, left + width // 2].max(axis=1) > 40)
        points = self.model.copy()
        points[:, :2] = points[:, :2] * HEIGHT + (left + width / 2, rows[0])
        picked = points[[JOINT_INDEX[n] for n in LAYOUTS["coco17"]]]
        return [Detection(picked, 0.9, box_of(picked))]

    def reset(self):
        pass

    def clone(self):
        return LeftmostDetector(self.model)

    def close(self):
        pass


@pytest.fixture
def detector(figure):
    return LeftmostDetector(figure(np.zeros(1), height=1.0, origin=(0.0, 0.0))[0])


def paint(image, x, clothes, shade=1.0):
    """A person HEIGHT pixels high at column x: head, a torso as wide as the arms hang, legs."""
    top, legs = (tuple(int(shade * v) for v in c) for c in clothes)
    y = 20
    image[y : y + 32, x - 14 : x + 14] = tuple(int(shade * v) for v in SKIN)
    image[y + 32 : y + 96, x - 34 : x + 34] = top
    image[y + 96 : y + HEIGHT, x - 18 : x + 18] = legs


def film(path, seconds, who):
    """`who(t)` gives the people of an image: (column, clothes, shade) each."""
    with VideoWriter(path, (480, 240), crf=10) as writer:
        for i in range(round(seconds * FPS)):
            image = np.full((240, 480, 3), 20, np.uint8)
            for x, clothes, shade in who(i / FPS):
                paint(image, int(x), clothes, shade)
            writer.add(image, i / FPS)
    return path


def test_a_jump_to_other_clothes_in_one_frame_is_not_joined(tmp_path, detector):
    clip = film(
        tmp_path / "a.mp4",
        8,
        lambda t: [(100 + 5 * t, RED_BLUE, 1)] * (t < 4.95) + [(380 - 5 * t, GREEN_GREY, 1)],
    )
    track = detect_video(clip, detector)
    assert np.array_equal(track.seen, np.arange(80) < 50)
    assert (track.keypoints[:50, JOINT_INDEX["nose"], 0] < 200).all()


def test_somebody_else_after_a_while_is_not_joined(tmp_path, detector):
    clip = film(
        tmp_path / "b.mp4",
        10,
        lambda t: [(120, RED_BLUE, 1)] if t < 4.95 else [(130, GREEN_GREY, 1)] * (t > 7.95),
    )
    assert np.array_equal(detect_video(clip, detector).seen, np.arange(100) < 50)


def test_the_same_person_is_joined_after_three_seconds_out_of_sight(tmp_path, detector):
    """Elsewhere and in the shade; the gap stays a gap."""
    clip = film(
        tmp_path / "c.mp4",
        12,
        lambda t: [(100 + 8 * t, RED_BLUE, 1)] * (t < 4.95) + [(380, RED_BLUE, 0.85)] * (t > 7.95),
    )
    track = detect_video(clip, detector)
    rows = np.arange(120)
    assert np.array_equal(track.seen, (rows < 50) | (rows >= 80))
    assert not track.keypoints[50:80].any()
    assert (track.keypoints[80:, JOINT_INDEX["nose"], 0] > 300).all()


def test_a_cut_keeps_the_person(tmp_path, detector):
    clip = film(tmp_path / "d.mp4", 8, lambda t: [(100 + 40 * (t % 4), RED_BLUE, 1)])
    assert detect_video(clip, detector).seen.all()
    clip = film(tmp_path / "e.mp4", 8, lambda t: [(100 if t < 3.95 else 380, RED_BLUE, 1)])
    assert detect_video(clip, detector).seen.all()


def test_any_number_of_workers_gives_the_same(tmp_path, detector):
    clip = film(
        tmp_path / "f.mp4",
        12,
        lambda t: [(100 + 8 * t, RED_BLUE, 1)] * (t < 4.95) + [(380, RED_BLUE, 0.9)] * (t > 7.95),
    )
    one, three = (detect_video(clip, detector, workers=n) for n in (1, 3))
    assert np.array_equal(one.keypoints, three.keypoints) and np.array_equal(one.seen, three.seen)


# The same on detections alone, for several people at once.


def plain(*bins):
    """An appearance whose parts all have the colour of one bin per channel."""
    look = np.zeros(SHAPE, np.uint8)
    look[:, np.arange(3), np.array(bins) % BINS] = 255
    return look


def detections(points, look):
    out = []
    for p in points:
        k = np.array([p[JOINT_INDEX[n]] for n in LAYOUTS["coco17"]])
        out.append(Detection(k, 0.9, box_of(k), None, look))
    return out


def scene(*people):
    """Lists of people for `follow_person` from (rows where shown, detections)."""
    found = [[] for _ in range(len(people[0][1]))]
    where = [[-1] * len(found) for _ in people]
    for n, (rows, all_of_them) in enumerate(people):
        for row in rows:
            where[n][row] = len(found[row])
            found[row].append(all_of_them[row])
    return found, np.array(where)


TIMES = np.arange(100) / 10
RETURN = [*range(50), *range(80, 100)]


def test_a_double_who_was_there_all_the_time_forbids_joining(figure):
    """Team-mates: who comes back may be either of them."""
    look = plain(3, 2, 5)
    near = detections(figure(TIMES, height=420, origin=(150, 20), drift=(0, 0)), look)
    back = detections(figure(TIMES, height=400, origin=(700, 30), drift=(0, 0)), look)
    double = detections(figure(TIMES, height=300, origin=(430, 60), drift=(0, 0)), look)
    found, where = scene((range(50), near), (range(80, 100), back), (range(45), double))
    assert np.array_equal(follow_person(TIMES, found, "coco17"), where[0])
    other = detections(figure(TIMES, height=300, origin=(430, 60), drift=(0, 0)), plain(3, 6, 1))
    found, where = scene((range(50), near), (range(80, 100), back), (range(45), other))
    assert np.array_equal(follow_person(TIMES, found, "coco17"), np.maximum(where[0], where[1]))


def test_two_alike_who_come_at_once_are_both_left_out(figure):
    look = plain(3, 2, 5)
    near = detections(figure(TIMES, height=420, origin=(150, 20), drift=(0, 0)), look)
    a = detections(figure(TIMES, height=400, origin=(700, 30), drift=(0, 0)), look)
    b = detections(figure(TIMES, height=410, origin=(350, 30), drift=(0, 0)), look)
    found, where = scene((range(50), near), (range(80, 100), a), (range(80, 100), b))
    assert np.array_equal(follow_person(TIMES, found, "coco17"), where[0])


@pytest.mark.parametrize(
    "gap, ratio, joined", [(1.5, 0.5, True), (1.5, 0.25, False), (0.0, 0.5, False), (0.0, 0.8, True)]
)
def test_sizes_must_be_plausible_for_the_gap(figure, gap, ratio, joined):
    start = 50 + round(gap * 10)
    look = plain(3, 2, 5)
    first = detections(figure(TIMES, height=400, origin=(150, 20), drift=(0, 0)), look)
    then = detections(figure(TIMES, height=400 * ratio, origin=(700, 20), drift=(0, 0)), look)
    found, where = scene((range(50), first), (range(start, 100), then))
    chosen = follow_person(TIMES, found, "coco17")
    assert np.array_equal(chosen, np.maximum(where[0], where[1]) if joined else where[0])


def test_a_cut_asks_for_a_closer_match_than_an_absence(figure):
    """A difference of 3.6 L*a*b* units."""
    first = detections(figure(TIMES, height=400, origin=(150, 20), drift=(0, 0)), plain(3, 2, 5))
    look = plain(3, 2, 5)
    look[:, 0, 3], look[:, 0, 4] = 128, 127  # half a bin of lightness: 7.1 units, which count half
    for start, joined in ((50, False), (75, True)):
        then = detections(figure(TIMES, height=400, origin=(700, 20), drift=(0, 0)), look)
        found, where = scene((range(50), first), (range(start, 100), then))
        chosen = follow_person(TIMES, found, "coco17")
        assert np.array_equal(chosen, np.maximum(where[0], where[1]) if joined else where[0]), start


# Real footage with MediaPipe.


def test_all_passes_of_a_looped_clip_are_seen(tmp_path):
    mediapipe_pose = pytest.importorskip("inference_backend.keypoints.mediapipe_pose")
    pytest.importorskip("mediapipe")
    loop = tmp_path / "loop.mp4"
    with av.open(str(SAMPLE)) as source, av.open(str(loop), "w") as target:
        stream = source.streams.video[0]
        frames = [f.reformat(width=270, height=480, format="yuv420p") for f in source.decode(stream)][::2]
        rate = stream.average_rate / 2
        out = target.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        out.width, out.height, out.pix_fmt = 270, 480, "yuv420p"
        for i in range(5 * len(frames)):
            frame = frames[i % len(frames)]
            frame.pts, frame.time_base = i, 1 / rate
            target.mux(out.encode(frame))
        target.mux(out.encode())
    track = detect_video(loop, mediapipe_pose.MediapipePose())
    assert len(track) == 250 and track.seen.all()
