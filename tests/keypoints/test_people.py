"""Several people in one image: found, told apart, listed, and one of them followed. The sample clip beside itself."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gentg_blender.core.contract import EstimateSettings, GentgError, PersonSeed
from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINT_MIRROR
from inference_backend.keypoints.appearance import SHAPE
from inference_backend.keypoints.detect import detect_video
from inference_backend.keypoints.detector import Detection, box_of
from inference_backend.keypoints.layouts import LAYOUTS
from inference_backend.keypoints.people import find_people
from inference_backend.keypoints.tracking import follow_person
from inference_backend.video.write import VideoWriter

mediapipe_people = pytest.importorskip("inference_backend.keypoints.mediapipe_people")
pytest.importorskip("mediapipe")

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "beam_walk.mp4"
WIDTH, HEIGHT = 300, 500  # of one half: the walker without the bystander at the sample's left edge


@pytest.fixture(scope="module")
def walker():
    """12 images of the walker alone, 10 a second, (500, 300, 3)."""
    with av.open(str(SAMPLE)) as container:
        frames = [f.reformat(360, 640, format="rgb24").to_ndarray() for f in container.decode(video=0)]
    return [np.ascontiguousarray(f[60 : 60 + HEIGHT, 60:]) for f in frames[:72:6]]


def pair(frames, near=0, last=None):
    """The walker at the left, mirrored and in another tint at the right; `near` pixels cut between the two."""
    out = []
    for i, frame in enumerate(frames):
        other = frame[:, ::-1, [1, 2, 0]]
        cut = near if last is None else near + (last - near) * i // max(len(frames) - 1, 1)
        out.append(np.concatenate([frame[:, : WIDTH - cut], other[:, cut:]], axis=1))
        out[-1] = np.pad(out[-1], ((0, 0), (cut, cut), (0, 0)), constant_values=127)
    return out


@pytest.fixture(scope="module")
def clip(tmp_path_factory, walker):
    path = tmp_path_factory.mktemp("pair") / "pair.mp4"
    with VideoWriter(path, (2 * WIDTH, HEIGHT), crf=12) as writer:
        for i, image in enumerate(pair(walker)):
            writer.add(image, i / 10)
    return path


@pytest.fixture(scope="module")
def detector():
    detector = mediapipe_people.MediapipePeople()
    yield detector
    detector.close()


def test_both_are_found_and_their_points_are_mirror_images(detector, walker):
    detector.reset()
    found = detector.detect(pair(walker)[0])
    assert len(found) == 2
    left, right = sorted(found, key=lambda d: d.box[0])
    assert left.box[2] < WIDTH < right.box[0]
    names = LAYOUTS["blazepose33"]
    mirrored = [names.index(n.replace("l_", "r_", 1) if n.startswith("l_") else n.replace("r_", "l_", 1) if n.startswith("r_") else n)
                for n in names]  # fmt: skip
    back = right.keypoints[mirrored]
    apart = np.hypot(2 * WIDTH - back[:, 0] - left.keypoints[:, 0], back[:, 1] - left.keypoints[:, 1])
    body = left.box[3] - left.box[1]
    assert np.median(apart) < 0.02 * body and left.world.shape == right.world.shape == (33, 3)


def test_an_empty_image_shows_nobody(detector):
    detector.reset()
    assert detector.detect(np.full((300, 500, 3), 90, np.uint8)) == []


def test_others_are_seen_for_the_filming_check(walker):
    from inference_backend.keypoints.mediapipe_pose import MediapipePose

    single = MediapipePose()
    for images, expected in ((walker, False), (pair(walker), True)):
        found = single.detect(images[0])
        assert len(found) == 1 and single.sees_several(images[0], found) == expected
    single.close()


def test_people_are_listed_with_a_place_each(clip, detector):
    found = find_people(clip, detector)
    assert found.sampled == 6 and found.image_size == (2 * WIDTH, HEIGHT) and len(found.people) == 2
    boxes = sorted(p.box for p in found.people)
    assert boxes[0][2] < WIDTH < boxes[1][0]
    assert abs(boxes[0][0] - (2 * WIDTH - boxes[1][2])) < 12  # mirror images
    for person in found.people:
        assert person.share == 1.0
        image = cv2.imdecode(np.frombuffer(person.thumbnail, np.uint8), cv2.IMREAD_COLOR)
        assert 64 < max(image.shape[:2]) <= 256
        left = person.box[0] < WIDTH
        # skin is red on the left; the tint on the right turns red into blue (OpenCV: blue first)
        assert (image[..., 2].mean() > image[..., 0].mean()) == left
        assert PersonSeed.from_dict(person.to_dict()["seed"]) == person.seed


def test_each_chosen_person_is_followed_and_nobody_else(clip, detector):
    tracks = {}
    for person in find_people(clip, detector).people:
        track = detect_video(clip, detector, person=person.seed)
        assert track.seen.all()
        shown = track.keypoints[0, :, 2] > 0  # joints of this layout
        x = track.keypoints[:, shown, 0]
        side = "left" if person.box[0] < WIDTH else "right"
        assert (x < WIDTH).all() if side == "left" else (x > WIDTH).all()
        tracks[side] = track.keypoints
        assert track.footage["others"] == 1.0
    back = tracks["right"][:, JOINT_MIRROR]
    apart = np.hypot(2 * WIDTH - back[..., 0] - tracks["left"][..., 0], back[..., 1] - tracks["left"][..., 1])
    assert np.median(apart[:, shown]) < 5  # pixels of a person 250 high


def test_two_who_come_close_stay_apart(detector, walker):
    """Bodies from 200 to 20 pixels apart: each crop sees a part of the other one, painted over."""
    detector.reset()
    images = pair(walker[:1] * 6, 0, 105)
    for image in images:
        found = sorted(detector.detect(image), key=lambda d: d.box[0])
        middles = [d.keypoints[[11, 12, 23, 24], 0].mean() for d in found]
        assert len(found) == 2 and middles[0] < WIDTH < middles[1], middles
    assert abs((WIDTH - middles[0]) - (middles[1] - WIDTH)) < 6


def test_painting_spares_the_own_body(walker):
    points = np.zeros((33, 3))
    points[:, 2] = 1.0
    points[:, 1] = np.linspace(50, 250, 33)
    points[[11, 23], 0], points[[12, 24], 0] = 20, 40
    own, other = points.copy(), points.copy()
    own[:, 0] += 100
    other[:, 0] += 220
    image = np.full((300, 400, 3), 200, np.uint8)
    mine, theirs = (Detection(p, 1.0, box_of(p)) for p in (own, other))
    out = mediapipe_people.without(image, mine, [theirs])
    painted = (out != 200).any(axis=-1)
    inside = lambda p: painted[p[:, 1].astype(int), p[:, 0].astype(int)]  # noqa: E731
    assert inside(other[[11, 12, 23, 24]]).all() and not inside(own).any()
    assert (image == 200).all()


# choosing, on detections alone


def people_in(figure, times, *origins, height=300):
    """One list of detections per person."""
    out = []
    for x in origins:
        points = figure(times, height=height, origin=(x, 50), drift=(0, 0))
        picked = points[:, [J[n] for n in LAYOUTS["coco17"]]]
        out.append([Detection(k, 0.9, box_of(k)) for k in picked])
    return out


def test_the_seed_chooses_also_who_is_smaller_and_seen_for_less(figure):
    times = np.arange(60) / 30
    (large,) = people_in(figure, times, 150, height=420)
    (small,) = people_in(figure, times, 500, height=200)
    found = [[a, b] if i >= 20 else [a] for i, (a, b) in enumerate(zip(large, small))]
    assert follow_person(times, found, "coco17").tolist() == [0] * 60
    seed = PersonSeed(1.0, tuple(small[30].box))
    assert follow_person(times, found, "coco17", person=seed).tolist() == [-1] * 20 + [1] * 40
    shifted = PersonSeed(0.5, tuple(small[30].box + 10))  # a time at which only the other one is there
    assert follow_person(times, found, "coco17", person=shifted).tolist() == [-1] * 20 + [1] * 40


def meeting(figure, look_a, look_b):
    """Two people meet, stand close, and pass each other in one frame of a lens flare: by motion they turn back.

    Returns times, detections per frame (a first), and the seed of a.
    """
    times = np.arange(90) / 30
    x = np.interp(np.arange(90), [0, 30, 44, 45, 60, 89], [200, 390, 390, 410, 410, 600])
    people = []
    for middles, look in ((x, look_a), (800 - x, look_b)):
        points = figure(times, height=400, origin=(0, 40), drift=(0, 0))
        points[..., 0] += middles[:, None]
        picked = points[:, [J[n] for n in LAYOUTS["coco17"]]]
        people.append([Detection(k, 0.9, box_of(k), None, look) for k in picked])
    return times, [list(pair) for pair in zip(*people)], PersonSeed(0.2, tuple(people[0][6].box))


def plain(*bins):
    """An appearance whose parts all have the colour of one bin per channel."""
    look = np.zeros(SHAPE, np.uint8)
    look[:, np.arange(3), bins] = 255
    return look


def test_clothes_tell_who_passed_whom(figure):
    times, found, seed = meeting(figure, plain(3, 2, 5), plain(3, 6, 1))
    for person, expected in ((seed, 0), (PersonSeed(0.2, tuple(found[6][1].box)), 1)):
        chosen = follow_person(times, found, "coco17", person=person)
        seen = chosen >= 0
        assert (chosen[seen] == expected).all() and seen[:20].all() and seen[75:].all()
        assert not seen[40:50].any()  # not to be told while they stand in front of each other


def test_the_same_clothes_leave_it_to_motion(figure):
    times, found, seed = meeting(figure, plain(3, 2, 5), plain(3, 2, 5))
    chosen = follow_person(times, found, "coco17", person=seed)
    assert (chosen[:45] == 0).all() and (chosen[45:] == 1).all()


def test_a_seed_where_nobody_is(figure):
    times = np.arange(30) / 30
    (one,) = people_in(figure, times, 150)
    with pytest.raises(GentgError, match="0.50 s") as caught:
        follow_person(times, [[d] for d in one], "coco17", person=PersonSeed(0.5, (700.0, 0.0, 800.0, 300.0)))
    assert caught.value.code == "no_person" and "again" in caught.value.hint


@pytest.mark.parametrize(
    "person, says",
    [
        ("second", "second"),
        ({"time": 1.0}, "time"),
        ({"time": 1.0, "box": [5, 5, 2, 9]}, "box"),
        ({"time": float("nan"), "box": [1, 2, 3, 4]}, "nan"),
        ({"time": 9.0, "box": [1, 2, 3, 4]}, "outside"),
    ],
)
def test_settings_refuse_who_cannot_be_meant(person, says):
    with pytest.raises(GentgError, match=says) as caught:
        EstimateSettings.from_dict({"person": person, "start": 0.5, "end": 8.0})
    assert caught.value.code == "bad_request"


def test_settings_survive_json():
    import json

    seed = PersonSeed(1.25, (10.0, 20.0, 110.0, 320.0))
    settings = EstimateSettings.from_dict(json.loads(json.dumps({"person": seed.to_dict()})))
    assert settings.chosen_person == seed and EstimateSettings().chosen_person is None
    assert EstimateSettings.from_dict(settings.to_dict()) == settings
