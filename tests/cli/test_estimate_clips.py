"""Real clips through the real command line into capture files."""

from __future__ import annotations

import numpy as np
import pytest

from gentg_blender.core.contract import load_capture


def estimate(gentg, clip, out, *options, **more):
    """(capture, summary of the clip); the run must succeed."""
    ran = gentg("estimate", clip, "-o", out, "--json", *options, **more)
    assert ran.code == 0, ran.err
    (summary,) = ran.summary["clips"]
    return load_capture(out / f"{clip.stem}.npz"), summary


@pytest.fixture
def short_clip(tmp_path, make_person_clip, person_frames):
    return make_person_clip(tmp_path / "short.mp4", person_frames[:24])


def test_sample_clip_gives_a_sound_capture(gentg, tmp_path, sample_clip):
    capture, summary = estimate(gentg, sample_clip, tmp_path)
    assert len(capture) == 100 and capture.seen.all()
    assert capture.image_size.tolist() == [1080, 1920]
    np.testing.assert_allclose(np.diff(capture.timestamps), 1 / 60, atol=2e-3)
    # bones are rigid: every limb has its one length in all frames
    index = {n: i for i, n in enumerate(capture.names.tolist())}
    for name, length in zip(capture.limb_names, capture.limb_lengths, strict=True):
        a, b = (index[n] for n in str(name).split("-"))
        measured = np.linalg.norm(capture.xyz[:, a] - capture.xyz[:, b], axis=-1)
        np.testing.assert_allclose(measured, length, atol=1e-4)
    # camera and world agree, and the skeleton lies on the person
    np.testing.assert_allclose(capture.xyz @ capture.R.T + capture.t, capture.xyz_camera, atol=1e-4)
    pixel = capture.xyz_camera @ capture.K.T
    pixel = pixel[..., :2] / pixel[..., 2:]
    hips = [index["l_hip"], index["r_hip"], index["l_shoulder"], index["r_shoulder"]]
    off = np.linalg.norm(pixel - capture.keypoints[..., :2], axis=-1)[:, hips]
    assert np.median(off) < 0.03 * 1920
    assert 1.3 < np.ptp(capture.xyz[..., 2], axis=1).max() < 2.3  # metres from sole to crown or raised hand
    meta = capture.meta
    assert meta["camera"]["from"] == "image diagonal" and any("focal length" in w for w in meta["warnings"])
    assert set(meta["weights"]) == {"tgt", "gpc"} and all(len(h) == 64 for h in meta["weights"].values())
    assert {"detect", "clean", "lift", "solve"} <= set(meta["timings"])
    assert meta["settings"]["quality"] == "balanced" and meta["versions"]["torch"]
    assert summary["outputs"] == {"capture": str(tmp_path / "beam_walk.npz")}


def test_height_scales_the_person(gentg, short_clip, tmp_path):
    tall, _ = estimate(gentg, short_clip, tmp_path / "a", "--height", 2.0)
    small, _ = estimate(gentg, short_clip, tmp_path / "b", "--height", 1.0)
    ratio = np.linalg.norm(tall.rest_tail - tall.rest_head, axis=-1) / np.linalg.norm(
        small.rest_tail - small.rest_head, axis=-1
    )
    np.testing.assert_allclose(ratio, 2.0, rtol=0.15)  # the crown's allowance does not scale
    assert np.median(ratio) == pytest.approx(2.0, rel=0.05)


def test_lens_given_in_millimetres(gentg, short_clip, tmp_path):
    capture, _ = estimate(gentg, short_clip, tmp_path, "--focal-mm", 27)
    assert capture.K[0, 0] == pytest.approx(27 * 640 / 36) and capture.meta["camera"]["from"] == "given"


def test_second_run_reuses_and_other_settings_need_no_new_detection(gentg, short_clip, tmp_path):
    cache = tmp_path / "cache"
    first, s1 = estimate(gentg, short_clip, tmp_path / "a", cache=cache)
    again, s2 = estimate(gentg, short_clip, tmp_path / "b", cache=cache)
    smooth, s3 = estimate(gentg, short_clip, tmp_path / "c", "--smoothing", 0.5, cache=cache)
    best, s4 = estimate(gentg, short_clip, tmp_path / "d", "--quality", "best", cache=cache)
    assert [s["cached"] for s in (s1, s2, s3, s4)] == [[], ["detect", "lift"], ["detect", "lift"], ["detect"]]
    same = dict(rtol=0, atol=1e-6)  # sums may be rounded otherwise in memory that is aligned otherwise
    np.testing.assert_allclose(again.xyz, first.xyz, **same)
    assert np.abs(smooth.xyz - first.xyz).max() > 1e-4
    fresh, s5 = estimate(gentg, short_clip, tmp_path / "e", "--no-cache", cache=cache)
    assert s5["cached"] == []
    np.testing.assert_allclose(fresh.xyz, first.xyz, **same)  # deterministic under the seed
    for entry in cache.glob("entries/*/*.npz"):
        entry.write_bytes(entry.read_bytes()[:100])
    mended, s6 = estimate(gentg, short_clip, tmp_path / "f", cache=cache)
    assert s6["cached"] == []
    np.testing.assert_allclose(mended.xyz, first.xyz, **same)


def test_one_frame(gentg, tmp_path, make_person_clip, person_frames):
    clip = make_person_clip(tmp_path / "one.mp4", person_frames[50:51])
    capture, summary = estimate(gentg, clip, tmp_path / "out")
    assert len(capture) == 1 and capture.seen.all() and summary["duration"] == 0.0


def test_gaps_are_marked_not_invented(gentg, tmp_path, make_person_clip, person_frames):
    wall = np.full_like(person_frames[0], 90)
    clip = make_person_clip(tmp_path / "visit.mp4", [wall] * 30 + person_frames[:30] + [wall] * 30)
    capture, summary = estimate(gentg, clip, tmp_path / "out")
    assert len(capture) == 90
    assert not capture.seen[:26].any() and not capture.seen[64:].any()
    assert capture.seen[33:57].all()
    assert summary["seen"] == capture.seen.sum()


def test_range_in_seconds(gentg, short_clip, tmp_path):
    capture, _ = estimate(gentg, short_clip, tmp_path / "out", "--start", 0.2, "--end", 0.5)
    assert capture.frames.tolist() == list(range(6, 15))
    np.testing.assert_allclose(capture.timestamps, np.arange(6, 15) / 30, atol=1e-4)


def test_rotated_phone_clip_is_upright(gentg, tmp_path, make_person_clip, person_frames):
    upright, _ = estimate(gentg, make_person_clip(tmp_path / "up.mp4", person_frames[:16]), tmp_path / "a")
    lying = [np.rot90(f, 1) for f in person_frames[:16]]  # stored counter-clockwise ...
    clip = make_person_clip(tmp_path / "phone.mp4", lying, rotation=-90)  # ... to be shown turned back
    turned, _ = estimate(gentg, clip, tmp_path / "b")
    assert turned.image_size.tolist() == upright.image_size.tolist() == [360, 640]
    seen = (upright.keypoints[..., 2] > 0.5) & (turned.keypoints[..., 2] > 0.5)
    off = np.linalg.norm(upright.keypoints[..., :2] - turned.keypoints[..., :2], axis=-1)[seen]
    assert np.median(off) < 4.0


def test_variable_frame_rate_stays_in_sync(gentg, tmp_path, make_person_clip, person_frames):
    rng = np.random.default_rng(3)
    times = np.concatenate([[0.0], np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 12], 39))])
    capture, _ = estimate(
        gentg, make_person_clip(tmp_path / "vfr.mp4", person_frames[:40], times), tmp_path / "out"
    )
    assert len(capture) == 40
    np.testing.assert_allclose(capture.timestamps, times, atol=1e-3)


def test_truncated_clip_gives_what_is_there_and_says_so(gentg, tmp_path, make_person_clip, person_frames):
    clip = make_person_clip(tmp_path / "cut.mp4", person_frames[:60], faststart=True)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 2 // 3])
    capture, summary = estimate(gentg, clip, tmp_path / "out")
    assert 20 < len(capture) < 60
    assert any("incomplete" in w or "damaged" in w for w in summary["warnings"])


def test_image_sequence(gentg, tmp_path, person_frames):
    import cv2

    for i, frame in enumerate(person_frames[:8]):
        cv2.imwrite(str(tmp_path / f"shot_{i + 1:04d}.png"), frame[..., ::-1])
    ran = gentg("estimate", tmp_path / "shot_####.png", "--sequence-fps", 24, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    (path,) = (tmp_path / "out").iterdir()
    capture = load_capture(path)
    assert path.name == "shot.npz"
    np.testing.assert_allclose(capture.timestamps, np.arange(8) / 24)
    assert gentg("estimate", tmp_path / "shot_0001.png", "-o", tmp_path / "out2").code == 2


def test_preview_and_still(gentg, short_clip, tmp_path):
    import av
    import cv2

    estimate(gentg, short_clip, tmp_path / "out", "--preview", "--still")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["short.npz", "short.png", "short_preview.mp4"]
    with av.open(str(tmp_path / "out" / "short_preview.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24
    assert cv2.imread(str(tmp_path / "out" / "short.png")).ndim == 3


def test_before_and_after_move_one_armature_in_one_world(gentg, sample_clip, tmp_path):
    from gentg_blender.core.kinematics import forward_kinematics

    capture, _ = estimate(gentg, sample_clip, tmp_path)
    plain, _ = estimate(gentg, sample_clip, tmp_path / "plain", "--correction", 0)
    np.testing.assert_array_equal(plain.xyz, plain.xyz_tgt)
    bone = capture.bone_names.tolist().index("shin.L")
    ankle, knee = (capture.names.tolist().index(n) for n in ("l_ankle", "l_knee"))
    for rotation, root, xyz in (
        (capture.local_rotation, capture.root, capture.xyz), (capture.local_rotation_tgt, capture.root_tgt, capture.xyz_tgt),
    ):  # fmt: skip
        posed = forward_kinematics(
            capture.rest_head, capture.rest_tail, capture.rest_rotation, capture.bone_parents, rotation, root
        )
        np.testing.assert_allclose(posed.head[:, bone], xyz[:, knee], atol=1e-3)
        np.testing.assert_allclose(posed.tail[:, bone], xyz[:, ankle], atol=1e-3)
