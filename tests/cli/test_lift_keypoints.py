"""gentg lift: the file format of other people's detectors."""

from __future__ import annotations

import numpy as np
import pytest

from gentg_blender.core.contract import load_capture
from inference_backend.keypoints.layouts import LAYOUTS


@pytest.fixture(scope="module")
def walking_points():
    """A figure that strides in front of the camera: (40, 17, 3) h36m17 pixels in 1280x720."""
    t = np.arange(40) / 30
    names = LAYOUTS["h36m17"]
    place = dict(
        pelvis=(0, 0),
        r_hip=(-18, 0),
        l_hip=(18, 0),
        spine=(0, -45),
        neck=(0, -100),
        nose=(0, -130),
        head_top=(0, -160),
        l_shoulder=(32, -98),
        r_shoulder=(-32, -98),
        l_elbow=(38, -45),
        r_elbow=(-38, -45),
        l_wrist=(40, 5),
        r_wrist=(-40, 5),
        l_knee=(18, 85),
        r_knee=(-18, 85),
        l_ankle=(18, 170),
        r_ankle=(-18, 170),
    )
    points = np.array([[place[n]] * len(t) for n in names], float).transpose(1, 0, 2)
    swing = 25 * np.sin(2 * np.pi * 0.9 * t)
    for name, sign in (("l_ankle", 1), ("r_ankle", -1), ("l_wrist", -1), ("r_wrist", 1)):
        points[:, names.index(name), 0] += sign * swing
    points += [640, 360]
    points[..., 0] += (30 * t)[:, None]
    return np.concatenate([points, np.full((len(t), 17, 1), 0.9)], axis=-1)


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def good(points, **more):
    return (
        dict(
            keypoints=points, layout=np.array("h36m17"), image_size=np.array([1280, 720]), fps=np.array(30.0)
        )
        | more
    )


def test_lift_gives_a_capture(gentg, tmp_path, walking_points):
    k = np.array([[1100.0, 0, 640], [0, 1100, 360], [0, 0, 1]])
    source = write(tmp_path / "k.npz", **good(walking_points, K=k))
    ran = gentg("lift", source, "-o", tmp_path / "out.npz")
    assert ran.code == 0, ran.err
    capture = load_capture(tmp_path / "out.npz")
    assert len(capture) == 40 and capture.seen.all() and capture.meta["camera"]["from"] == "file"
    np.testing.assert_array_equal(capture.K, k)
    np.testing.assert_allclose(capture.timestamps, np.arange(40) / 30)
    up = (
        capture.xyz[:, capture.names.tolist().index("head_top"), 2]
        - capture.xyz[:, capture.names.tolist().index("l_ankle"), 2]
    )
    assert (up > 1.0).all()  # he stands upright in a Z-up world


def test_missing_stretch_is_a_gap(gentg, tmp_path, walking_points):
    points = walking_points.copy()
    points[15:35, :, 2] = 0.0
    ran = gentg("lift", write(tmp_path / "k.npz", **good(points)), "-o", tmp_path / "out.npz")
    assert ran.code == 0, ran.err
    seen = load_capture(tmp_path / "out.npz").seen
    assert seen[:15].all() and not seen[17:33].any()


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (dict(layout=np.array("body25")), 7, "body25"),
        (dict(keypoints=np.zeros((4, 16, 3))), 7, "shape"),
        (dict(keypoints=np.full((4, 17, 3), np.nan)), 7, "finite"),
        (dict(image_size=np.array([1280])), 7, "image_size"),
        (dict(fps=np.array(-3.0)), 7, "fps"),
        (dict(timestamps=np.zeros(40)), 7, "increase"),
        (dict(K=np.eye(4)), 7, "K"),
        (dict(keypoints=np.array([{}], dtype=object)), 7, "cannot be read"),
    ],
)
def test_bad_files_are_explained(gentg, tmp_path, walking_points, change, code, says):
    source = write(tmp_path / "k.npz", **good(walking_points, **change))
    ran = gentg("lift", source, "-o", tmp_path / "out.npz")
    assert ran.code == code and says in ran.err and "k.npz" in ran.err and "Traceback" not in ran.err
    assert not (tmp_path / "out.npz").exists()


def test_other_bad_inputs(gentg, tmp_path, walking_points):
    (tmp_path / "text.npz").write_text("hello")
    assert gentg("lift", tmp_path / "text.npz", "-o", tmp_path / "o.npz").code == 7
    assert gentg("lift", tmp_path / "none.npz", "-o", tmp_path / "o.npz").code == 3
    nobody = walking_points.copy()
    nobody[..., 2] = 0
    assert gentg("lift", write(tmp_path / "n.npz", **good(nobody)), "-o", tmp_path / "o.npz").code == 5
    source = write(tmp_path / "k.npz", **good(walking_points))
    assert gentg("lift", source, "-o", source).code == 2
