import struct

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.video.decode import decode
from inference_backend.video.index import scan
from inference_backend.video.sequence import ImageSequence
from inference_backend.video.write import VideoWriter

RED, GREEN = np.array([200, 0, 0]), np.array([0, 200, 0])


def close(pixel, colour, tolerance=8):
    return np.abs(pixel.astype(int) - colour).max() <= tolerance


def test_every_frame_with_its_time(regular_clip, frame_number):
    frames = list(decode(regular_clip))
    assert [f.index for f in frames] == list(range(20))
    assert [frame_number(f.image) for f in frames] == list(range(20))
    assert np.allclose([f.time for f in frames], np.arange(20) / 30, atol=1e-4)
    assert frames[0].image.dtype == np.uint8 and frames[0].image.shape == (64, 96, 3)


def test_variable_frame_rate_stays_in_sync_to_the_end(tmp_path, make_clip):
    rng = np.random.default_rng(3)
    times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.01, 0.2, 60))])
    clip = make_clip(tmp_path / "vfr.mp4", list(times))
    assert np.allclose([f.time for f in decode(clip)], times, atol=2e-5)
    assert scan(clip).is_vfr is True


def test_clip_whose_clock_starts_late_begins_at_zero(tmp_path, make_clip):
    clip = make_clip(tmp_path / "late.ts", [10 + i / 25 for i in range(12)])
    times = [f.time for f in decode(clip)]
    assert np.allclose(times, np.arange(12) / 25, atol=1e-4)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_range_behind_the_end_is_no_damage(regular_clip, indexed):
    """With an index, decoding begins at the range and meets no frame at all; the file is whole all the same."""
    index = scan(regular_clip) if indexed else None
    with pytest.raises(GentgError, match="range holds no frame") as caught:
        list(decode(regular_clip, 99.0, index=index))
    assert caught.value.code == "bad_request"


def test_range_is_half_open(regular_clip):
    frames = list(decode(regular_clip, start=5 / 30, end=9 / 30))
    assert [f.index for f in frames] == [5, 6, 7, 8]
    with pytest.raises(GentgError) as caught:
        list(decode(regular_clip, start=100.0))
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9", "libvpx"])
def test_starting_in_the_middle_gives_the_same_frames(tmp_path, make_clip, codec):
    times = [i / 30 + (0.011 if i % 3 else 0.0) for i in range(60)]
    clip = make_clip(tmp_path / "middle.mkv", times, codec=codec, gop=7)
    every = {f.index: f for f in decode(clip)}
    index = scan(clip)
    assert index.countable == (codec != "libvpx")
    for start in (0.2, 0.9, 1.7):
        some = list(decode(clip, start=start, end=start + 0.2, index=index))
        expected = [i for i, f in every.items() if start - 1e-6 <= f.time < start + 0.2 - 1e-6]
        assert [f.index for f in some] == expected
        for f in some:
            assert f.time == pytest.approx(every[f.index].time, abs=1e-9)
            assert np.array_equal(f.image, every[f.index].image)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_tag_as_the_standard_defines_it(tmp_path, make_clip, rotation):
    clip = make_clip(tmp_path / "phone.mp4", [0.0, 0.1], rotation=rotation)
    raw = clip.read_bytes()
    at = raw.index(b"tkhd") + 4
    a, b, _, c, d = (v / 65536 for v in struct.unpack(">5i", raw[at + 40 : at + 60]))
    assert (a, d) != (1.0, 1.0), "the file carries no rotation"
    image = next(decode(clip)).image
    height, width = 64, 96
    corners = {"red top": (8, 4), "green top": (88, 4), "red bottom": (8, 60), "green bottom": (88, 60)}
    shift = np.array(
        [
            min(0, a * width + c * height, a * width, c * height),
            min(0, b * width + d * height, b * width, d * height),
        ]
    )
    for name, (x, y) in corners.items():
        u, v = np.array([a * x + c * y, b * x + d * y]) - shift  # ISO/IEC 14496-12
        pixel = image[int(v), int(u)]
        assert close(pixel[:2], (RED if name.startswith("red") else GREEN)[:2]), (name, pixel)
        assert (pixel[2] > 180) == name.endswith("top"), (name, pixel)


@pytest.mark.parametrize("codec, pixel_format, suffix", [
    ("libx265", "yuv420p10le", "mp4"), ("libx264", "yuv444p", "mp4"), ("libx264", "yuv422p10le", "mov"),
    ("prores_ks", "yuv422p10le", "mov"), ("ffv1", "gbrp10le", "mkv"), ("mjpeg", "yuvj420p", "avi"),
    ("ffv1", "gray", "mkv"),
])  # fmt: skip
def test_pixel_formats(tmp_path, make_clip, codec, pixel_format, suffix):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    clip = make_clip(
        tmp_path / f"odd.{suffix}",
        [i / 30 for i in range(6)],
        codec=codec,
        pixel_format=pixel_format,
        options=options,
    )
    for max_size, size in ((None, (64, 96)), (32, (32, 48)), (500, (64, 96))):
        frames = list(decode(clip, max_size=max_size))
        assert len(frames) == 6 and frames[0].image.shape[:2] == size
        h, w = size
        left, right = frames[0].image[int(h * 0.7), int(w * 0.2)], frames[0].image[int(h * 0.7), int(w * 0.8)]
        if pixel_format == "gray":
            assert abs(int(right[0]) - 0.587 * 200) < 8 and abs(int(left[0]) - 0.299 * 200) < 8
        else:
            assert close(left, RED) and close(right, GREEN), (left, right)


def test_pixels_that_are_not_square_are_made_square(tmp_path, make_clip):
    from fractions import Fraction

    clip = make_clip(tmp_path / "wide.mkv", [0.0, 0.04], aspect=Fraction(4, 3))
    assert next(decode(clip)).image.shape == (64, 128, 3)


def test_audio_is_ignored(tmp_path, make_clip):
    clip = make_clip(tmp_path / "sound.mp4", [i / 30 for i in range(5)], audio=True)
    assert len(list(decode(clip))) == 5


def test_truncated_file_gives_what_is_left_and_says_so(tmp_path, make_clip):
    whole = make_clip(
        tmp_path / "whole.mp4",
        [i / 30 for i in range(60)],
        options={"crf": "1"},
        container_options={"movflags": "+faststart"},
        width=320,
        height=240,
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    warnings: list[str] = []
    frames = list(decode(cut, warn=warnings.append))
    assert 10 < len(frames) < 58
    assert any("of 60 frames" in w for w in warnings), warnings
    warnings.clear()
    list(decode(whole, warn=warnings.append))
    assert warnings == []


def test_damage_in_the_middle_is_survived(tmp_path, make_clip):
    whole = make_clip(
        tmp_path / "whole.mp4", [i / 30 for i in range(60)], options={"crf": "1"}, width=320, height=240
    )
    raw = bytearray(whole.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 6000] = bytes(6000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(raw)
    frames = list(decode(damaged, warn=lambda text: None))
    assert 30 < len(frames) <= 60
    assert np.all(np.diff([f.time for f in frames]) > 0)


def test_image_sequence(tmp_path, make_clip, regular_clip, frame_number):
    import av

    for i, f in enumerate(list(decode(regular_clip))[:6]):
        if i == 3:
            continue  # a missing image
        av.VideoFrame.from_ndarray(f.image, format="rgb24").save(str(tmp_path / f"shot_{i + 11:04d}.png"))
    (tmp_path / "notes.txt").write_text("not an image")
    warnings: list[str] = []
    for where in (
        tmp_path / "shot_0012.png",
        tmp_path / "shot_####.png",
        tmp_path / "shot_%04d.png",
        tmp_path,
    ):
        sequence = ImageSequence.find(where, fps=25)
        frames = list(decode(sequence, max_size=32, warn=warnings.append))
        assert [f.index for f in frames] == [0, 1, 2, 4, 5]
        assert np.allclose([f.time for f in frames], np.array([0, 1, 2, 4, 5]) / 25)
        assert [frame_number(f.image) for f in frames] == [0, 1, 2, 4, 5]
        assert frames[0].image.shape == (32, 48, 3)
    assert "1 images are missing" in warnings[0]
    for where, code in (
        (tmp_path / "none_####.png", "empty_video"),
        (tmp_path / "no" / "x_1.png", "no_such_file"),
    ):
        with pytest.raises(GentgError) as caught:
            ImageSequence.find(where, fps=25)
        assert caught.value.code == code


def test_writer_keeps_the_times(tmp_path):
    times = [0.0, 0.05, 0.2, 0.21, 0.5]
    path = tmp_path / "preview.mp4"
    with VideoWriter(path, (97, 65)) as writer:
        for i, t in enumerate(times):
            writer.add(np.full((65, 97, 3), 40 * i, np.uint8), t)
        assert not path.exists()  # nothing half-written under the final name
    frames = list(decode(path))
    assert np.allclose([f.time for f in frames], times, atol=2e-5)
    assert frames[0].image.shape == (64, 96, 3)
    assert [int(round(f.image.mean() / 40)) for f in frames] == list(range(5))
    with (
        pytest.raises(ValueError, match="does not come after"),
        VideoWriter(tmp_path / "b.mp4", (64, 64)) as writer,
    ):
        writer.add(np.zeros((64, 64, 3), np.uint8), 0.1)
        writer.add(np.zeros((64, 64, 3), np.uint8), 0.1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["preview.mp4"]


def test_memory_stays_flat(tmp_path, make_clip):
    """No image outlives its turn: frames kept in reference cycles would pile up until a collection."""
    import gc

    import psutil

    clip = make_clip(
        tmp_path / "long.mp4",
        [i / 30 for i in range(240)],
        options={"preset": "ultrafast"},
        width=1280,
        height=720,
    )
    process = psutil.Process()
    gc.collect()
    gc.disable()
    try:
        sizes = [process.memory_info().rss for _ in decode(clip, max_size=360)]
    finally:
        gc.enable()
    assert max(sizes[60:]) - sizes[40] < 40e6  # 200 images of 1.4 MB would be 280e6
