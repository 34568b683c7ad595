"""Geometry with tiny ONNX models made here; the person detector also with its real model where it is at hand."""

import argparse
import hashlib
import io
import os
import zipfile

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.cli import detector as detector_command
from inference_backend.cli.terminal import Terminal
from inference_backend.keypoints.download import download_model, unpack_onnx
from inference_backend.keypoints.rtmpose import PersonDetector, PoseEstimator, RtmPose

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

W, H, K = 48, 64, 17


def save_pose_model(path, points=K):
    """Every point lies on the brightest pixel of the crop: row and column maxima, each bin twice (SimCC)."""
    split = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, H, W])]
    nodes, outputs = [], []
    for axis, name, length in ((2, "simcc_x", W), (3, "simcc_y", H)):
        nodes += [
            helper.make_node("ReduceMax", ["input"], [name + "_max"], axes=[1, axis], keepdims=0),  # (1, length)
            helper.make_node("Unsqueeze", [name + "_max", name + "_axes"], [name + "_3"]),  # (1, 1, length)
            helper.make_node("Resize", [name + "_3", "", name + "_scales"], [name + "_2"], mode="nearest",
                             coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
            helper.make_node("Tile", [name + "_2", name + "_repeat"], [name]),
        ]  # fmt: skip
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, points, 2 * length]))
    constants = []
    for name in ("simcc_x", "simcc_y"):
        constants += [
            helper.make_tensor(name + "_axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor(name + "_scales", TensorProto.FLOAT, [3], [1.0, 1.0, 2.0]),
            helper.make_tensor(name + "_repeat", TensorProto.INT64, [3], [1, points, 1]),
        ]
    graph = helper.make_graph(nodes, "pose", split, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def save_person_model(path, boxes, labels):
    """Always the same boxes, in pixels of the 64x64 letterboxed image; reads its input so that it is used."""
    n = len(boxes)
    nodes = [
        helper.make_node("ReduceMin", ["input"], ["low"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["low", "zero"], ["nothing"]),
        helper.make_node("Add", ["boxes", "nothing"], ["dets"]),
        helper.make_node("Identity", ["kinds"], ["labels"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("boxes", TensorProto.FLOAT, [1, n, 5], np.ravel(boxes)),
        helper.make_tensor("kinds", TensorProto.INT64, [1, n], labels),
    ]
    graph = helper.make_graph(
        nodes, "person", [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, n, 5]),
         helper.make_tensor_value_info("labels", TensorProto.INT64, [1, n])], constants)  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def dot(x, y, width=400, height=300):
    """A bright dot whose centre is at (x, y) in outer-corner pixels."""
    yy, xx = np.mgrid[:height, :width] + 0.5
    value = 250 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 4.0**2))
    return np.repeat(value[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    "box", [(100, 60, 220, 220), (130.5, 40.25, 190.5, 250.75), (10, 10, 390, 290), (-40, -30, 260, 200)]
)
@pytest.mark.parametrize("x, y", [(150.5, 120.5), (163.0, 99.0)])
def test_a_point_is_found_where_it_is(tmp_path, box, x, y):
    estimator = PoseEstimator(save_pose_model(tmp_path / "pose.onnx"))
    found = estimator(dot(x, y), np.array(box, float))
    extent = np.array([box[2] - box[0], box[3] - box[1]]) * 1.25
    bin_size = max(extent[0] / W, extent[1] / H)  # image pixels per crop pixel
    assert found.shape == (K, 3)
    assert np.abs(found[:, :2] - (x, y)).max() <= 0.5 * bin_size + 0.51


def test_no_systematic_shift(tmp_path):
    """Over many places the rounding averages out: what is left would be a half-pixel mistake."""
    estimator = PoseEstimator(save_pose_model(tmp_path / "pose.onnx"))
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        x, y = rng.uniform(120, 200), rng.uniform(80, 200)
        errors.append(estimator(dot(x, y), np.array([90.0, 50.0, 230.0, 240.0]))[0, :2] - (x, y))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.35  # a crop pixel is 3.7 image pixels here


def test_score_is_the_lower_of_both_axes(tmp_path):
    estimator = PoseEstimator(save_pose_model(tmp_path / "pose.onnx"))
    _, crop = estimator.preprocess(dot(150, 100), np.array([100.0, 60.0, 220.0, 220.0]))
    x, y = np.zeros((K, 2 * W)), np.zeros((K, 2 * H))
    x[:, 20], y[:, 30] = 0.7, 0.4
    assert np.allclose(estimator.postprocess(x, y, crop)[:, 2], 0.4)


def test_boxes_come_back_in_the_images_pixels(tmp_path):
    boxes = [[16, 8, 32, 40, 0.9], [0, 0, 64, 64, 0.95], [4, 4, 8, 8, 0.1], [40, 10, 50, 60, 0.6]]
    detector = PersonDetector(save_person_model(tmp_path / "p.onnx", boxes, [0, 5, 0, 0]))
    found = detector(np.zeros((480, 640, 3), np.uint8))  # letterboxed by 0.1
    assert np.allclose(found, [[160, 80, 320, 400, 0.9], [400, 100, 500, 480, 0.6]], atol=1e-3)


def test_whole_detector_from_a_folder(tmp_path):
    (tmp_path / "rtmdet").mkdir()
    save_person_model(tmp_path / "rtmdet/end2end.onnx", [[10, 6, 22, 22, 0.8]], [0])
    with pytest.raises(GentgError) as caught:
        RtmPose.open(tmp_path)
    assert caught.value.code == "bad_weights" and "no pose model" in caught.value.message
    save_pose_model(tmp_path / "pose.onnx", points=26)
    detector = RtmPose.open(tmp_path)
    assert detector.layout == "halpe26" and len(detector.hashes) == 2
    expected = hashlib.sha256((tmp_path / "pose.onnx").read_bytes()).hexdigest()
    assert expected in detector.hashes.values()
    for each in (detector, detector.clone()):
        (person,) = each.detect(dot(100, 90, 400, 400))
        assert person.score == pytest.approx(0.8) and np.allclose(person.box, [62.5, 37.5, 137.5, 137.5])
        assert np.abs(person.keypoints[:, :2] - (100, 90)).max() < 2.5
        each.close()


def test_wrong_models_are_named(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    pose = save_pose_model(tmp_path / "pose.onnx")
    odd = save_pose_model(tmp_path / "odd.onnx", points=5)
    for make in (
        lambda: PersonDetector(tmp_path / "none.onnx"),
        lambda: PersonDetector(tmp_path / "text.onnx"),
        lambda: PersonDetector(pose),
        lambda: PoseEstimator(odd),
    ):
        with pytest.raises(GentgError) as caught:
            make()
        assert caught.value.code == "bad_weights" and caught.value.file
    with pytest.raises(GentgError) as caught:
        RtmPose.open(tmp_path / "nowhere")
    assert caught.value.code == "no_such_file"


def test_the_real_person_detector(shared):
    from inference_backend.video.decode import decode

    detector = PersonDetector(shared / "weights/rtmdet_nano/end2end.onnx")
    truth = np.load(shared / "video/rendered/walk_turn/gt.npz")["xy"]
    overlaps = []
    for frame in decode(shared / "video/rendered/walk_turn/walk_turn.mp4", end=3.0):
        if frame.index % 15:
            continue
        found = detector(frame.image)
        assert len(found) >= 1 and found[0, 4] > 0.5
        low, high = truth[frame.index].min(axis=0), truth[frame.index].max(axis=0)
        inner = np.clip(np.minimum(found[0, 2:4], high) - np.maximum(found[0, :2], low), 0, None).prod()
        overlaps.append(inner / ((high - low).prod() + (found[0, 2:4] - found[0, :2]).prod() - inner))
    assert min(overlaps) > 0.65, overlaps  # joints lie inside the body's outline


# --------------------------------------------------------------------------- download


class Answer:
    def __init__(self, data):
        self.data, self.headers, self.at = data, {"Content-Length": str(len(data))}, 0

    def read(self, n):
        self.at += n
        return self.data[self.at - n : self.at]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def net(monkeypatch):
    asked = []

    def answer(url, timeout):
        asked.append(url)
        if "gone" in url:
            raise OSError("name or service not known")
        return Answer(b"model" * 100_000)

    monkeypatch.setattr("urllib.request.urlopen", answer)
    return asked


GOOD = hashlib.sha256(b"model" * 100_000).hexdigest()


@pytest.mark.parametrize("url, digest, consent, code", [
    ("https://x.invalid/m.onnx", GOOD, False, "bad_request"), ("http://x.invalid/m.onnx", GOOD, True, "bad_request"),
    ("https://x.invalid/m.onnx", "abc", True, "bad_request"), ("https://x.invalid/m.onnx", "0" * 64, True, "bad_weights"),
    ("https://gone.invalid/m.onnx", GOOD, True, "no_such_file"),
])  # fmt: skip
def test_nothing_is_left_of_a_refused_download(tmp_path, net, url, digest, consent, code):
    with pytest.raises(GentgError) as caught:
        download_model(url, digest, tmp_path / "m.onnx", consent=consent)
    assert caught.value.code == code and list(tmp_path.iterdir()) == []
    assert bool(net) == (consent and digest != "abc" and url.startswith("https"))


def test_a_good_download_happens_once(tmp_path, net):
    reports = []
    for consent in (True, False):
        path = download_model(
            "https://x.invalid/m.onnx",
            GOOD,
            tmp_path / "m.onnx",
            consent=consent,
            report=lambda *a: reports.append(a),
        )
        assert path.stat().st_size == 500_000
    assert len(net) == 1 and reports[-1] == ("download", 500_000, 500_000)


def test_archives_cannot_write_elsewhere(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("../../escape.onnx", b"1")
        z.writestr("deep/er/end2end.onnx", b"22")
        z.writestr("pipeline.json", b"{}")
    out = unpack_onnx(tmp_path / "a.zip", tmp_path / "models")
    assert sorted(os.path.relpath(p, tmp_path) for p in out) == ["models/end2end.onnx", "models/escape.onnx"]
    (tmp_path / "b.zip").write_text("none")
    with pytest.raises(GentgError):
        unpack_onnx(tmp_path / "b.zip", tmp_path / "models")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A zip with a person detector and a bare pose model, as two addresses give them; what was asked for."""
    save_person_model(tmp_path / "end2end.onnx", [[10, 6, 22, 22, 0.8]], [0])
    with zipfile.ZipFile(tmp_path / "rtmdet.zip", "w") as z:
        z.write(tmp_path / "end2end.onnx", "deep/end2end.onnx")
    save_pose_model(tmp_path / "pose.onnx", points=26)
    files = {f"https://x.invalid/a/{n}": (tmp_path / n).read_bytes() for n in ("rtmdet.zip", "pose.onnx")}
    asked = []
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda url, timeout: asked.append(url) or Answer(files[url])
    )
    return [("--get", url, hashlib.sha256(data).hexdigest()) for url, data in files.items()], asked


def fetch(tmp_path, *words):
    parser = argparse.ArgumentParser()
    detector_command.add_arguments(parser)
    args = parser.parse_args([str(tmp_path / "models"), *words])
    return detector_command._run(args, Terminal(io.StringIO(), io.StringIO(), tmp_path / "log"))


def test_command_fetches_a_detector_that_works(tmp_path, published):
    words, asked = published
    flat = [w for group in words for w in group]
    assert fetch(tmp_path, *flat, "--yes") == 0 and len(asked) == 2
    assert fetch(tmp_path, *flat) == 0 and len(asked) == 2  # all there: nothing to agree to
    detector = RtmPose.open(tmp_path / "models")
    assert detector.layout == "halpe26"
    detector.close()


def test_command_downloads_nothing_without_consent_or_a_plain_name(tmp_path, published, monkeypatch):
    words, asked = published
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # no terminal: nobody was asked
    with pytest.raises(GentgError, match="consent"):
        fetch(tmp_path, *words[0])
    for url in ("https://x.invalid/model", "https://x.invalid/%2e%2e%2fpose.onnx", words[1][1]):
        with pytest.raises(GentgError, match="must end|same name"):
            fetch(tmp_path, *words[1], "--get", url, GOOD, "--yes")
    assert not asked and not (tmp_path / "models").exists()
