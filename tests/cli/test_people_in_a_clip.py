"""gentg people and gentg estimate --person, on the sample's walker beside his mirror image."""

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError, encode, load_capture, message
from inference_backend.pipeline.estimate import Estimator
from inference_backend.pipeline.jobs import people_command
from inference_backend.pipeline.reporter import Reporter

WIDTH = 300


@pytest.fixture(scope="module")
def pair(tmp_path_factory, person_frames, make_person_clip):
    """Half a second, 600 x 500: the second walker stands at the right and is mirrored."""
    halves = [f[60:560, 60:] for f in person_frames[:15]]
    frames = [np.concatenate([h, h[:, ::-1]], axis=1) for h in halves]
    return make_person_clip(tmp_path_factory.mktemp("pair") / "pair.mp4", frames)


def test_list_and_estimate_one(gentg, pair, tmp_path):
    listed = gentg("people", pair, "-o", tmp_path / "faces", "--json")
    assert listed.code == 0, listed.err
    people = listed.summary["people"]
    assert [p["number"] for p in people] == [1, 2] and listed.summary["image_size"] == [2 * WIDTH, 500]
    assert sorted(f.name for f in (tmp_path / "faces").iterdir()) == ["pair_person1.jpg", "pair_person2.jpg"]
    for person in people:
        n = person["number"]
        done = gentg("estimate", pair, "--person", n, "-o", tmp_path, "--quiet")
        assert done.code == 0, done.err
        capture = load_capture(tmp_path / f"pair_person{n}.npz")
        shown = capture.keypoints[..., 2] > 0.3
        left = person["box"][2] < WIDTH
        assert ((capture.keypoints[..., 0][shown] < WIDTH) == left).all() and capture.seen.all()
        assert capture.meta["settings"]["person"] == person["seed"]
        assert (
            capture.meta["detector"]["name"] == "mediapipe-people"
            and capture.meta["footage"]["others"] == 1.0
        )
    text = gentg("people", pair)
    assert text.code == 0 and text.out.startswith("2 found in 6 images of 600 x 500")
    missing = gentg("estimate", pair, "--person", "7", "-o", tmp_path / "none", "--quiet")
    assert missing.code == 5 and "no person 7" in missing.err and not (tmp_path / "none").exists()


def test_the_command_is_cached_and_tidy(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("GENTG_CACHE", str(tmp_path / "cache"))
    estimator = Estimator()
    params = {"clip": str(pair), "folder": str(tmp_path / "faces")}
    stages = []
    first = people_command(
        estimator, params, Reporter(lambda stage, done, total, *_: stages.append((stage, done, total)))
    )
    encode(message("result", id="a", result=first))
    assert ("people", 6, 6) in stages and first["sampled"] == 6
    images = {p["thumbnail"]: open(p["thumbnail"], "rb").read() for p in first["people"]}
    assert all(data[:3] == b"\xff\xd8\xff" for data in images.values())

    from inference_backend.keypoints import people

    monkeypatch.setattr(people, "find_people", None)  # must not be needed again
    second = people_command(estimator, {**params, "folder": str(tmp_path / "again")}, Reporter())
    assert [p["seed"] for p in second["people"]] == [p["seed"] for p in first["people"]]
    assert [open(p["thumbnail"], "rb").read() for p in second["people"]] == list(images.values())
    assert "thumbnail" not in people_command(estimator, {"clip": str(pair)}, Reporter())["people"][0]
    with pytest.raises(GentgError, match="colour"):
        people_command(estimator, {**params, "colour": 1}, Reporter())


def test_nobody_leaves_nothing(tmp_path, make_person_clip, monkeypatch):
    monkeypatch.setenv("GENTG_CACHE", str(tmp_path / "cache"))
    clip = make_person_clip(
        tmp_path / "empty.mp4", [np.full((240, 320, 3), 40 + i, np.uint8) for i in range(20)]
    )
    with pytest.raises(GentgError) as caught:
        people_command(Estimator(), {"clip": str(clip), "folder": str(tmp_path / "faces")}, Reporter())
    assert caught.value.code == "no_person" and not (tmp_path / "faces").exists()
