import math

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.video.decode import decode
from inference_backend.video.index import scan
from inference_backend.video.probe import content_key, probe


def test_facts(tmp_path, make_clip):
    clip = make_clip(tmp_path / "a.mp4", [i / 30 for i in range(45)], audio=True, rotation=-90)
    info = probe(clip)
    assert (info.codec, info.size, info.rotation, info.has_audio) == ("h264", (64, 96), 90, True)
    assert info.fps == pytest.approx(30, rel=0.01) and info.duration == pytest.approx(1.5, abs=0.04)
    assert info.frame_count == 45 and info.is_vfr is False and info.focal_px is None


def test_variable_rate_is_known(tmp_path, make_clip):
    clip = make_clip(tmp_path / "v.mp4", list(np.cumsum(np.tile([0.02, 0.05], 20))))
    assert probe(clip).is_vfr is True
    assert probe(clip).fps == pytest.approx(1 / 0.035, rel=0.05)


def test_focal_length_from_apples_tag(tmp_path, make_clip):
    clip = make_clip(
        tmp_path / "phone.mov",
        [0.0, 0.1],
        container_options={"movflags": "use_metadata_tags"},
        metadata={"com.apple.quicktime.camera.focal_length.35mm_equivalent": "26"},
    )
    info = probe(clip)
    assert info.focal_35mm == 26.0
    # the diagonal field of view is what "equivalent" preserves
    assert math.atan(math.hypot(96, 64) / 2 / info.focal_px) == pytest.approx(
        math.atan(math.hypot(36, 24) / 2 / 26)
    )


def make_bad(tmp_path, kind, make_clip):
    path = tmp_path / "bad.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "zero bytes":
        path.touch()
    elif kind == "no index":
        whole = make_clip(tmp_path / "whole.mp4", [i / 30 for i in range(30)])
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    elif kind == "playlist":
        path = tmp_path / "list.m3u8"
        path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://example.invalid/a.ts\n#EXT-X-ENDLIST\n")
    elif kind == "ansi art":
        path = tmp_path / "text.nfo"
        path.write_text("hello\n" * 100)
    elif kind == "sound only":
        import av

        path = tmp_path / "sound.m4a"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=48_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind, code, word", [
    ("missing", "no_such_file", "does not exist"), ("folder", "not_a_video", "folder"),
    ("text", "not_a_video", "not a video"), ("zero bytes", "empty_video", "zero bytes"),
    ("no index", "not_a_video", "index is missing"), ("playlist", "not_a_video", "not a video"),
    ("ansi art", "not_a_video", "not a video"), ("sound only", "not_a_video", "sound"),
])  # fmt: skip
def test_bad_files_are_named_for_what_they_are(tmp_path, make_clip, kind, code, word):
    path = make_bad(tmp_path, kind, make_clip)
    for read in (probe, lambda p: list(decode(p)), scan):
        with pytest.raises(GentgError) as caught:
            read(path)
        assert caught.value.code == code
        assert word in caught.value.message
        assert caught.value.file == str(path) and caught.value.hint


def test_content_key_follows_content_not_name(tmp_path):
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    a.write_bytes(b"x" * 1000)
    b.write_bytes(b"x" * 1000)
    c.write_bytes(b"x" * 999 + b"y")
    assert content_key(a) == content_key(b) != content_key(c)
    with pytest.raises(GentgError):
        content_key(tmp_path / "none")


def test_content_key_of_a_large_file_sees_both_ends_and_the_length(tmp_path):
    keys = set()
    for change in (None, 0, (80 << 20) - 1, "longer"):
        path = tmp_path / "large"
        with open(path, "wb") as stream:
            stream.truncate((80 << 20) + (change == "longer"))
            if isinstance(change, int):
                stream.seek(change)
                stream.write(b"z")
        keys.add(content_key(path))
    assert len(keys) == 4
