"""The real detector, on clips beside the repository."""

import subprocess
import sys

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from inference_backend.keypoints.clean import clean
from inference_backend.keypoints.detect import detect_video
from inference_backend.keypoints.layouts import to_canonical

mediapipe_pose = pytest.importorskip("inference_backend.keypoints.mediapipe_pose")
mediapipe_runtime = pytest.importorskip("inference_backend.keypoints.mediapipe_runtime")


@pytest.fixture(scope="module")
def detector():
    detector = mediapipe_pose.MediapipePose()
    yield detector
    detector.close()


def test_says_nothing_and_opens_no_socket(shared):
    """A fresh process: not a byte on stdout or stderr, and any use of the network is an error."""
    code = """
import socket, sys
def refuse(*a, **k): raise RuntimeError("network")
socket.socket.connect = socket.create_connection = refuse
import numpy as np
from inference_backend.keypoints.mediapipe_pose import MediapipePose
from inference_backend.video.decode import decode
d = MediapipePose()
assert d.detect(np.zeros((120, 200, 3), np.uint8)) == []
found = [d.detect(f.image) for f in decode(sys.argv[1], end=0.15)]
assert all(len(f) == 1 for f in found), found
d.close(); d.close()
"""
    clip = shared / "video/rendered/boxing/boxing.mp4"
    result = subprocess.run(
        [sys.executable, "-c", code, str(clip)], capture_output=True, text=True, timeout=120
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_other_messages_on_stderr_get_through(capfd):
    import os

    with mediapipe_runtime.quiet():
        os.write(2, b"W0000 inference_feedback_manager.cc:114] noise\nsomething real is wrong\n")
    assert capfd.readouterr().err == "something real is wrong\n"


def test_hashes_name_the_models(detector):
    assert set(detector.hashes) == {"pose_detection.tflite", "pose_landmark_full.tflite"}
    assert all(len(h) == 64 for h in detector.hashes.values()) and detector.version == "0.10.21"


def test_a_missing_model_is_an_error_not_a_download(monkeypatch, tmp_path):
    monkeypatch.setattr(mediapipe_runtime, "_MODELS", ("modules/none.tflite",))
    with pytest.raises(GentgError) as caught:
        mediapipe_pose.MediapipePose()
    assert caught.value.code == "missing_dependency"


def test_clip_against_exact_truth(shared, detector):
    folder = shared / "video/rendered/boxing"
    done = []
    raw = detect_video(folder / "boxing.mp4", detector, end=1.5, report=lambda *a: done.append(a))
    assert len(raw) == 45 and raw.seen.all() and raw.image_size == (720, 1280)
    assert done[-1] == ("detect", 45, 45)
    truth = np.load(folder / "gt.npz")
    names = [str(n) for n in truth["names"]]
    main = [n for n in names if n.split("_")[-1] in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]
    xy = truth["xy"][:45, [names.index(n) for n in main]]
    cleaned, _ = clean(raw)
    body = 590  # pixels, standing
    errors = {}
    for name, track in (("raw", raw), ("cleaned", cleaned)):
        error = np.linalg.norm(track.keypoints[:, [J[n] for n in main], :2] - xy, axis=-1) / body
        errors[name] = np.median(error)
        assert np.median(error) < 0.02 and np.percentile(error, 90) < 0.05
    assert errors["cleaned"] < 1.05 * errors["raw"]
    limb = np.linalg.norm(raw.world[:, J["l_hip"]] - raw.world[:, J["l_knee"]], axis=1)
    assert 0.25 < np.median(limb) < 0.55 and np.isnan(raw.world[:, J["chest"]]).all()


def test_left_and_right_in_the_hardest_view(shared, detector):
    """A third of this clip's frames come out of the detector with the sides exchanged."""
    folder = shared / "video/pose2sim_single"
    z = np.load(folder / "reference_3d.npz")
    names = [str(n) for n in z["names"]]
    camera = list(z["cam_names"]).index("cam02")
    x = z["xyz"] @ z["R"][camera].T + z["t"][camera]
    xy = (x @ z["K"][camera].T)[..., :2] / x[..., 2:]  # the lens's distortion is a few pixels here

    def swapped(track, parts):
        def distance(exchange):
            return np.mean(
                [
                    np.linalg.norm(
                        track.keypoints[:, J[("rl" if exchange else "lr")[i] + "_" + part], :2]
                        - xy[:, names.index(side + "_" + part)],
                        axis=1,
                    )
                    for part in parts
                    for i, side in enumerate("lr")
                ],
                axis=0,
            )

        return int((distance(True) < distance(False)).sum())

    raw = detect_video(folder / "cam02.mp4", detector)
    cleaned, _ = clean(raw)
    arms, legs = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    assert swapped(raw, arms) > 20 and swapped(raw, legs) > 20
    assert swapped(cleaned, arms) <= 2 and swapped(cleaned, legs) <= 2


def test_segments_and_workers_change_nothing(shared, detector):
    clip = shared / "video/rendered/walk_turn/walk_turn.mp4"
    one = detect_video(clip, detector, start=0.5, end=5.0, workers=1)
    two = detect_video(clip, detector, start=0.5, end=5.0, workers=2)
    assert np.array_equal(one.keypoints, two.keypoints) and np.array_equal(one.frames, np.arange(15, 150))
    # the seam in the middle against one pass over all of it
    from inference_backend.video.decode import decode

    fresh = detector.clone()
    passed = [fresh.detect(f.image)[0].keypoints for f in decode(clip, 0.5, 5.0, 720)]
    fresh.close()
    apart = np.linalg.norm(
        to_canonical(np.array(passed), "blazepose33")[..., :2] - one.keypoints[..., :2], axis=-1
    )
    assert np.median(apart, axis=1).max() < 2.0  # pixels of a person 480 px high: below the white noise


def test_a_detector_that_forgets_goes_on_as_a_fresh_one(shared, detector):
    from inference_backend.video.decode import decode

    folder = shared / "video/rendered"
    before = [f.image for f in decode(folder / "boxing/boxing.mp4", 0.0, 0.3, 720)]
    after = [f.image for f in decode(folder / "walk_turn/walk_turn.mp4", 2.0, 2.3, 720)]

    def detected(by, images):
        return np.array([by.detect(p)[0].keypoints for p in images])

    fresh = detector.clone()
    want = detected(fresh, after)
    detected(fresh, before)
    carried = detected(fresh, after)  # the first images are searched where somebody else was
    fresh.reset()
    assert np.array_equal(detected(fresh, after), want) and not np.array_equal(carried, want)
    fresh.close()
    with pytest.raises(RuntimeError, match="closed"):
        fresh.reset()
    assert (
        detector.sees_several(before[0], detector.detect(before[0])) is False
    )  # what both share is still open


def test_short_clips_are_split_where_it_changes_little(shared, detector):
    """1.6 s in two segments against one pass: less than the points tremble from image to image."""
    from inference_backend.video.decode import decode

    clip = shared / "video/rendered/walk_turn/walk_turn.mp4"
    split = detect_video(clip, detector, start=1.0, end=2.6, workers=2)
    detector.reset()
    passed = [detector.detect(f.image)[0].keypoints for f in decode(clip, 1.0, 2.6, 720)]
    whole = to_canonical(np.array(passed), "blazepose33")
    assert len(split) == len(whole) == 48
    apart = np.linalg.norm(split.keypoints[..., :2] - whole[..., :2], axis=-1)
    tremble = np.linalg.norm(np.diff(whole[..., :2], 2, axis=0), axis=-1)
    assert np.median(apart[:23]) < 0.01 and 0.0 < apart.mean(1).max() < 1.2 * tremble.mean()


def test_people_one_after_another(shared, detector):
    """41 s of people who come and go: one of them is kept, from entering to leaving, and nobody else."""
    clip = shared / "video/intel_one_by_one/one-by-one-person-detection.mp4"
    track = detect_video(clip, detector, start=50.0, end=91.0)
    seen = np.flatnonzero(track.seen)
    frames = track.frames[seen]
    # people's own stretches, read off the clip: 510-694, 749-866; the chair between is nobody
    assert 500 <= frames[0] and frames[-1] <= 697 and len(frames) > 170
    assert np.diff(frames).max() <= 10


def test_a_clip_without_people(tmp_path, detector):
    from inference_backend.video.write import VideoWriter

    with VideoWriter(tmp_path / "empty.mp4", (320, 240)) as writer:
        for i in range(20):
            writer.add(np.full((240, 320, 3), 40 + i, np.uint8), i / 10)
    with pytest.raises(GentgError) as caught:
        detect_video(tmp_path / "empty.mp4", detector)
    assert caught.value.code == "no_person" and "empty.mp4" in str(caught.value)
