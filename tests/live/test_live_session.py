"""The live loop: newest images only, cameras that fail, one person, sinks that others can read."""

import io
import json
import socket
import threading
import time

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINTS, NUM_JOINTS
from inference_backend.keypoints.detector import Detection, box_of
from inference_backend.keypoints.following import Following
from inference_backend.keypoints.layouts import LAYOUTS
from inference_backend.keypoints.track import load_keypoints
from inference_backend.live.lifter import LiveLifter, LivePose
from inference_backend.live.session import LiveFrame, Summary, run_live
from inference_backend.live.sinks import Datagrams, JsonLines, LinesFile, Preview, Recording, Stream
from inference_backend.live.sources import Camera, Newest, SourceFrame, paced
from inference_backend.video.decode import decode

K = np.array([[800.0, 0, 180], [0, 800, 320], [0, 0, 1]])
IMAGE = np.zeros((64, 36, 3), np.uint8)


def images(count: int, rate: float = 30.0):
    for i in range(count):
        yield SourceFrame(i, i / rate, IMAGE, time.monotonic())


def coco(x: float, size: float = 300.0) -> Detection:
    """A person who stands at column x, about `size` pixels high."""
    rng = np.random.default_rng(0)
    points = np.column_stack(
        [x + 0.1 * size * rng.normal(size=17), 200 + 0.3 * size * rng.normal(size=17), np.full(17, 0.9)]
    )
    at = {name: i for i, name in enumerate(LAYOUTS["coco17"])}
    for name, dx, dy in (
        ("l_shoulder", 0.1, -0.2),
        ("r_shoulder", -0.1, -0.2),
        ("l_hip", 0.06, 0.09),
        ("r_hip", -0.06, 0.09),
    ):
        points[at[name], :2] = x + dx * size, 200 + dy * size
    return Detection(points, 0.9, box_of(points))


def test_newest_drops_what_nobody_took_and_never_queues():
    stopped = threading.Event()
    newest = Newest(paced(images(40, rate=100.0), stopped), stopped)
    taken, delays = [], []
    for source_frame in newest:
        delays.append(time.monotonic() - source_frame.arrived)
        taken.append(source_frame.index)
        time.sleep(0.05)
    assert taken == sorted(taken) and taken[-1] == 39, "the last one is never dropped"
    assert len(taken) + newest.dropped == 40 and newest.dropped >= 20
    assert max(delays) < 0.045, "an image is at most as old as one turn of the loop"


def test_newest_passes_errors_on_after_the_last_image():
    def failing():
        yield from images(1)
        raise GentgError("not_a_video", "broken")

    newest = Newest(failing(), threading.Event())
    with pytest.raises(GentgError, match="broken"):
        for _ in newest:
            pass


def test_pacing_keeps_the_files_times():
    stopped, began = threading.Event(), time.monotonic()
    arrived = [p.arrived - began for p in paced(images(5, rate=20.0), stopped)]
    np.testing.assert_allclose(np.diff(arrived), 0.05, atol=1e-6)
    assert time.monotonic() - began >= 0.2
    stopped.set()
    assert list(paced(images(100, rate=1.0), stopped)) == []


class FakeDevice:
    """A cv2.VideoCapture that gives `good` images and then none."""

    def __init__(self, good: int, opened: bool = True):
        self.left, self.opened, self.released = good, opened, False

    def isOpened(self):  # noqa: N802
        return self.opened

    def read(self):
        self.left -= 1
        image = np.zeros((1440, 1000, 3), np.uint8)
        image[..., 0] = 255  # blue in OpenCV's order
        return (True, image) if self.left >= 0 else (False, None)

    def release(self):
        self.released = True


def test_camera_turns_images_and_notices_its_loss(monkeypatch):
    monkeypatch.setattr("inference_backend.live.sources.LOST", 0.1)
    device = FakeDevice(4)
    camera = Camera(0, lambda number: device)
    assert camera.size == (1000, 1440)
    got = []
    with pytest.raises(GentgError, match="lost") as lost:
        for source_frame in camera.images(500, threading.Event()):
            got.append(source_frame)
    assert lost.value.code == "empty_video"
    assert [p.index for p in got] == [0, 1, 2] and got[0].time == 0.0
    assert got[0].image.shape == (720, 500, 3) and got[0].image[0, 0].tolist() == [0, 0, 255]
    camera.close()
    assert device.released
    for absent in (FakeDevice(0), FakeDevice(9, opened=False)):
        with pytest.raises(GentgError, match="Camera 3 gives no image"):
            Camera(3, lambda number, device=absent: device)
        assert absent.released


def test_following_stays_with_one_person():
    following = Following("coco17")
    assert following.choose(0.0, [coco(100, 200), coco(400, 300)]).box[0] > 250, "the larger one"
    for i in range(1, 30):  # the other one comes nearer and is larger by now
        chosen = following.choose(i / 30, [coco(100 + i, 420), coco(400, 300)])
        assert abs(chosen.keypoints[:, 0].mean() - coco(400, 300).keypoints[:, 0].mean()) < 1
    assert following.choose(1.2, [coco(130, 420)]) is None, (
        "nobody takes the place of a person who was just there"
    )
    assert following.choose(2.5, [coco(130, 420)]) is not None, "but of one who left"
    assert following.choose(2.6, []) is None


class FakeDetector:
    layout, max_size, name, follows = "coco17", 720, "fake", False

    def __init__(self, nobody: set[int] = frozenset()):
        self.nobody, self.count = nobody, -1

    def detect(self, image):
        self.count += 1
        return [] if self.count in self.nobody else [coco(18 + 0.05 * self.count, 40)]


class Kept:
    def __init__(self):
        self.frames, self.summary = [], None

    def add(self, frame, source_frame):
        self.frames.append(frame)

    def end(self, summary):
        self.summary = summary


def test_loop_says_where_nobody_is_and_ends_its_sinks_on_errors():
    def failing():
        yield from images(12)
        raise GentgError("empty_video", "Camera 0 was lost")

    kept, stopped = Kept(), threading.Event()
    lifter = LiveLifter(K, "coco17", device="cpu")
    with pytest.raises(GentgError, match="lost"):
        run_live(failing(), (360, 640), FakeDetector({3, 4}), lifter, [kept], stopped, dropped=lambda: 5)
    assert [f.index for f in kept.frames if f.pose is None] == [3, 4]
    assert kept.summary.frames == 12 and kept.summary.seen == 10 and kept.summary.dropped == 5
    assert (
        stopped.is_set()
        and 0 < kept.summary.to_dict()["latency_median"] <= kept.summary.to_dict()["latency_p95"]
    )
    person = kept.frames[0].keypoints  # in pixels of the unscaled image, which is ten times as large
    np.testing.assert_allclose(person[:, :2], 10 * coco(18, 40).keypoints[:, :2])
    kept, lifter = Kept(), LiveLifter(K, "coco17", device="cpu")
    run_live(images(30), (360, 640), FakeDetector(), lifter, [kept], threading.Event(), seconds=0.5)
    assert len(kept.frames) == 15


def test_images_that_come_later_change_nothing(person_frames):
    """The real detector and network: what follows an image has no influence on its pose."""
    from inference_backend.keypoints.mediapipe_pose import MediapipePose

    runs = []
    for images in (
        person_frames[:14],
        [*person_frames[:8], *(f[:, ::-1].copy() for f in person_frames[40:46])],
    ):
        kept, detector = Kept(), MediapipePose()
        source = (SourceFrame(i, i / 30, image, time.monotonic()) for i, image in enumerate(images))
        lifter = LiveLifter(K, detector.layout, device="cpu")
        run_live(source, (360, 640), detector, lifter, [kept], threading.Event())
        detector.close()
        runs.append(kept.frames)
    assert len(runs[0]) == len(runs[1]) == 14 and all(f.pose for f in runs[0])
    for a, b in zip(runs[0][:8], runs[1][:8]):
        for name in ("xyz", "xyz_camera", "sigma", "contacts", "R", "t"):
            np.testing.assert_array_equal(getattr(a.pose, name), getattr(b.pose, name), err_msg=name)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
    assert not np.array_equal(runs[0][9].keypoints, runs[1][9].keypoints)


# ----------------------------------------------------------------------------- sinks
STREAM = Stream("walk.mp4", "camera", "coco17", (36, 64), K, "1" * 64)


def frame(index: int, seen: bool = True) -> LiveFrame:
    rng = np.random.default_rng(index)
    xyz = rng.normal(size=(NUM_JOINTS, 3)) * 0.3 + [0, 0, 4]
    pose = LivePose(
        index / 30,
        xyz,
        xyz + 1,
        np.full(35, 0.03),
        np.array([True, False, True, False]),
        np.ones(35),
        np.eye(3),
        np.zeros(3),
    )
    return LiveFrame(
        index, index / 30, 0.02, pose if seen else None, coco(18, 40).keypoints if seen else None
    )


def fill(sink) -> list[LiveFrame]:
    frames = [frame(0), frame(1, seen=False), frame(2)]
    for f in frames:
        sink.add(f, SourceFrame(f.index, f.time, IMAGE, 0.0))
    sink.end(Summary(frames=3, seen=2, latencies=[0.02]))
    return frames


def test_lines_are_json_that_says_everything(tmp_path):
    sink = LinesFile(STREAM, tmp_path / "a.jsonl", threading.Event())
    frames = fill(sink)
    header, first, gap, _, end = (json.loads(x) for x in (tmp_path / "a.jsonl").read_text().splitlines())
    assert header["type"] == "live" and header["names"] == list(JOINTS) and header["axes"] == "camera"
    assert header["K"] == K.tolist() and header["parents"][0] == -1
    np.testing.assert_allclose(first["xyz"], frames[0].pose.xyz_camera, atol=1e-4)
    assert (
        first["contacts"] == [True, False, True, False]
        and first["latency"] == 0.02
        and first["status"] == "ok"
    )
    assert gap["status"] == "no_person" and "xyz" not in gap and gap["frame"] == 1
    assert end["type"] == "end" and end["latency_p95"] == 0.02
    out = io.StringIO()
    fill(JsonLines(Stream("0", "world", "coco17", (36, 64), K, ""), out, threading.Event()))
    np.testing.assert_allclose(
        json.loads(out.getvalue().splitlines()[1])["xyz"], frames[0].pose.xyz, atol=1e-4
    )


def test_a_reader_who_leaves_ends_the_stream(tmp_path):
    import os

    read, write = os.pipe()
    stopped = threading.Event()
    sink = JsonLines(STREAM, os.fdopen(write, "w"), stopped)
    os.close(read)
    fill(sink)
    assert stopped.is_set()


def test_recording_is_a_keypoint_file_too(tmp_path):
    fill(Recording(STREAM, tmp_path / "take.npz"))
    track = load_keypoints(tmp_path / "take.npz")
    assert track.seen.tolist() == [True, False, True] and track.image_size == (36, 64)
    np.testing.assert_array_equal(track.camera, K)
    with np.load(tmp_path / "take.npz", allow_pickle=False) as z:
        assert np.isnan(z["xyz"][1]).all() and np.isfinite(z["xyz"][[0, 2]]).all()
        np.testing.assert_allclose(z["xyz_camera"][2], frame(2).pose.xyz_camera, rtol=1e-6)
        assert json.loads(str(z["meta"]))["summary"]["frames"] == 3


def test_preview_has_every_image_at_its_time(tmp_path):
    fill(Preview(STREAM, tmp_path / "p.mp4"))
    found = list(decode(tmp_path / "p.mp4"))
    np.testing.assert_allclose([f.time for f in found], [0, 1 / 30, 2 / 30], atol=1e-3)
    assert found[0].image.max() > 60, "there is a skeleton on the black image"


def test_datagrams_reach_a_listener_and_need_none(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        fill(Datagrams(STREAM, "127.0.0.1", listener.getsockname()[1]))
        got = [json.loads(listener.recv(65536)) for _ in range(5)]
    assert [g["type"] for g in got] == ["live", "frame", "frame", "frame", "end"]
    fill(Datagrams(STREAM, "127.0.0.1", 9))  # nobody listens there
    with pytest.raises(GentgError, match="not known"):
        Datagrams(STREAM, "no.such.host.invalid", 9)


def test_faults_of_files(tmp_path):
    with pytest.raises(GentgError) as error:
        LinesFile(STREAM, tmp_path / "none" / "a.jsonl", threading.Event())
    assert error.value.code == "not_writable"
