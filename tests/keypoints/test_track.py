import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from inference_backend.keypoints.track import load_keypoints, load_track, save_track


def good(t=4):
    points = np.random.default_rng(0).uniform(10, 200, (t, 17, 3))
    points[..., 2] = 0.8
    return dict(
        keypoints=points, layout=np.array("coco17"), image_size=np.array([320, 240]), fps=np.array(25.0)
    )


def write(path, **changes):
    arrays = {**good(), **changes}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def test_reads_a_good_file(tmp_path):
    track = load_keypoints(write(tmp_path / "a.npz"))
    assert track.keypoints.shape == (4, 35, 3) and track.image_size == (320, 240)
    assert np.allclose(track.timestamps, np.arange(4) / 25) and track.seen.all()
    assert np.allclose(track.keypoints[:, J["l_wrist"]], good()["keypoints"][:, 9])


def test_timestamps_and_camera(tmp_path):
    times = np.array([0.0, 0.1, 0.15, 0.4])
    K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    track = load_keypoints(write(tmp_path / "a.npz", fps=None, timestamps=times, K=K))
    assert np.array_equal(track.timestamps, times) and track.fps == pytest.approx(3 / 0.4)
    assert np.array_equal(track.camera, K)


def test_missing_points_may_be_nan(tmp_path):
    points = good()["keypoints"]
    points[1] = np.nan
    points[1, :, 2] = 0.0
    points[2, 3:] = 0.0
    points[2, :2] = 0.0
    track = load_keypoints(write(tmp_path / "a.npz", keypoints=points))
    assert np.isfinite(track.keypoints).all() and track.seen.tolist() == [True, False, False, True]


def bad(name, **changes):
    return pytest.param(changes, name, id=name)


def altered(function):
    points = good()["keypoints"]
    function(points)
    return points


@pytest.mark.parametrize("changes, word", [
    bad("'keypoints' is missing", keypoints=None), bad("'layout' is missing", layout=None),
    bad("'image_size' is missing", image_size=None), bad("neither 'fps' nor 'timestamps'", fps=None),
    bad("unknown", layout=np.array("body25")), bad("needs (T, 17, 3)", keypoints=np.ones((4, 18, 3))),
    bad("no frame", keypoints=np.ones((0, 17, 3))),
    bad("type", keypoints=np.full((4, 17, 3), "x")),
    bad("0..1", keypoints=altered(lambda p: p.__setitem__((0, 0, 2), 7.0))),
    bad("not finite", keypoints=altered(lambda p: p.__setitem__((0, 0, 0), np.nan))),
    bad("confidences are not finite", keypoints=altered(lambda p: p.__setitem__((0, 0, 2), np.nan))),
    bad("normalised", keypoints=np.full((4, 17, 3), 0.5)),
    bad("must increase", timestamps=np.array([0.0, 0.1, 0.1, 0.2])),
    bad("not (4,)", timestamps=np.array([0.0, 0.1])), bad("above 0", fps=np.array(0.0)),
    bad("image_size", image_size=np.array([0, 240])), bad("'K' must be", K=np.eye(4)),
    bad("no pinhole", K=-np.eye(3)),
])  # fmt: skip
def test_faults_are_named(tmp_path, changes, word):
    path = write(tmp_path / "bad.npz", **changes)
    with pytest.raises(GentgError) as caught:
        load_keypoints(path)
    assert caught.value.code == "bad_keypoints" and word in caught.value.message, caught.value.message


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "pickle.npz", keypoints=np.array([{}], dtype=object))
    for name, code in (
        ("none.npz", "no_such_file"),
        ("text.npz", "bad_keypoints"),
        ("pickle.npz", "bad_keypoints"),
    ):
        with pytest.raises(GentgError) as caught:
            load_keypoints(tmp_path / name)
        assert caught.value.code == code


def test_cache_round_trip(tmp_path):
    track = load_keypoints(write(tmp_path / "a.npz"))
    from dataclasses import replace

    world = np.full((4, 35, 3), np.nan)
    world[:, 0] = 1.5
    track = replace(track, world=world, camera=np.diag([2.0, 2.0, 1.0]))
    save_track(tmp_path / "cache.npz", track)
    again = load_track(tmp_path / "cache.npz")
    assert np.allclose(again.keypoints, track.keypoints, atol=1e-4) and again.layout == "coco17"
    assert np.array_equal(again.world, world, equal_nan=True) and np.array_equal(again.camera, track.camera)
    assert again.image_size == track.image_size and np.array_equal(again.timestamps, track.timestamps)
    with pytest.raises(GentgError):
        save_track(tmp_path / "b.npz", replace(track, timestamps=track.timestamps[::-1]))
    assert not (tmp_path / "b.npz").exists()
