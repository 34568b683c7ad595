"""The wiring, with a detector that reads its answer off the image."""

import threading

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from inference_backend.keypoints.detect import detect_video, plan_segments
from inference_backend.keypoints.detector import Detection, box_of
from inference_backend.video.index import scan
from inference_backend.video.write import VideoWriter

SIZE = (160, 120)
FPS = 10


class DotDetector:
    """The person stands where the white square is; one instance must see frames in order."""

    name, layout, version, hashes, max_size, follows = "dot", "coco17", "1", {}, 60, True
    made, closed = 0, 0

    def __init__(self, fail_at=None):
        self.fail_at, self.calls, self.resets = fail_at, 0, 0

    def reset(self):
        self.resets += 1

    def detect(self, image):
        assert min(image.shape[:2]) <= 60
        self.calls += 1
        if self.fail_at is not None and self.calls > self.fail_at:
            raise RuntimeError("the detector broke")
        bright = image[..., 0] > 128
        if not bright.any():
            return []
        y, x = np.nonzero(bright)
        points = np.zeros((17, 3))
        points[:, 0] = x.mean() + 0.5 + np.linspace(-8, 8, 17)
        points[:, 1] = y.mean() + 0.5 + np.linspace(-12, 12, 17)
        points[:, 2] = 0.9
        return [Detection(points, 0.9, box_of(points))]

    def clone(self):
        DotDetector.made += 1
        return DotDetector(self.fail_at)

    def close(self):
        DotDetector.closed += 1


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("dots") / "dots.mp4"
    with VideoWriter(path, SIZE, crf=10) as writer:
        for i in range(120):  # 12 s; nobody in 5.0 <= t < 6.5
            image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            if not 50 <= i < 65:
                image[50:70, 40 + i // 2 : 60 + i // 2] = 255
            writer.add(image, i / FPS)
    return path


def test_positions_times_and_gaps(clip):
    DotDetector.made = DotDetector.closed = 0
    detector, worker_detectors = DotDetector(), []
    track = detect_video(clip, detector, workers=2, worker_detectors=worker_detectors)
    assert DotDetector.made == len(worker_detectors) == 1 and DotDetector.closed == 0
    segments = plan_segments(0, 12, True, scan(clip))
    assert detector.resets + worker_detectors[0].resets == len(
        segments
    )  # each begins as with a fresh detector
    assert detector.calls + worker_detectors[0].calls > 120  # 120 frames, and those that lead up to a segment
    again = detect_video(clip, detector, workers=2, worker_detectors=worker_detectors)
    assert DotDetector.made == len(worker_detectors) == 1 and np.array_equal(again.keypoints, track.keypoints)
    assert np.array_equal(track.frames, np.arange(120)) and np.allclose(
        track.timestamps, np.arange(120) / FPS, atol=1e-4
    )
    assert track.image_size == SIZE and track.layout == "coco17" and track.world is None
    seen = np.abs(np.arange(120) - 57) > 7  # joined over the gap of 1.5 s, for it looks the same
    assert np.array_equal(track.seen, seen)
    middle = (track.keypoints[:, J["l_ear"], 0] + track.keypoints[:, J["l_hip"], 0]) / 2
    expected = 50 + np.arange(120) // 2
    assert np.abs(track.keypoints[seen, J["l_elbow"], 1] - (60 + np.linspace(-12, 12, 17)[7] * 2)).max() < 2.5
    assert np.ptp((middle - expected)[seen]) < 3
    assert not track.keypoints[~seen].any()


def test_range(clip):
    DotDetector.made = DotDetector.closed = 0
    track = detect_video(clip, DotDetector(), start=7.0, end=11.5, workers=2)
    assert DotDetector.made == DotDetector.closed == 1  # the caller's own stays open
    assert np.array_equal(track.frames, np.arange(70, 115)) and track.seen.all()


def test_progress_is_real_and_cancel_ends_all_threads(clip):
    calls = []

    def report(stage, done, total):
        calls.append((stage, done, total))
        if done > 20:
            raise GentgError("cancelled", "stop")

    class Slow(DotDetector):
        def clone(self):
            return Slow()

        def detect(self, image):
            threading.Event().wait(0.01)
            return super().detect(image)

    with pytest.raises(GentgError) as caught:
        detect_video(clip, Slow(), report=report)
    assert caught.value.code == "cancelled"
    assert {c[0] for c in calls} == {"detect"} and {c[2] for c in calls} == {120}
    assert [c[1] for c in calls] == sorted(c[1] for c in calls) and calls[-1][1] < 100
    assert not [t for t in threading.enumerate() if t.name.startswith("gentg-")]


def test_an_error_in_a_worker_arrives(clip):
    with pytest.raises(RuntimeError, match="the detector broke"):
        detect_video(clip, DotDetector(fail_at=5))
    assert not [t for t in threading.enumerate() if t.name.startswith("gentg-")]


def test_segments_depend_on_the_clip_alone(clip):
    index = scan(clip)
    for start, end in ((0.0, 12.0), (3.0, 11.0)):
        segments = plan_segments(start, end, True, index)
        assert len(segments) % 2 == 0 and segments[0].begin == start and segments[-1].end == end
        assert all(a.end == b.begin for a, b in zip(segments, segments[1:]))
        assert all(s.warm_up <= s.begin for s in segments) and segments[1].warm_up < segments[1].begin
    short = plan_segments(0.0, 2.0, True, index)
    assert len(short) == 2 and short[1].begin - short[1].warm_up == pytest.approx(0.2)
    assert short[0].end == pytest.approx(2.0 - short[1].warm_up, abs=0.2)  # both take about as long
    assert len(plan_segments(0.0, 0.9, True, index)) == 1
    assert len(plan_segments(0.0, 12.0, True, None)) == 1
    assert all(s.warm_up == s.begin for s in plan_segments(0.0, 12.0, False, index))


def test_one_frame(tmp_path):
    with VideoWriter(tmp_path / "one.mp4", SIZE) as writer:
        image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        image[50:70, 40:60] = 255
        writer.add(image, 0.0)
    track = detect_video(tmp_path / "one.mp4", DotDetector())
    assert len(track) == 1 and track.seen.all() and track.timestamps[0] == 0.0
