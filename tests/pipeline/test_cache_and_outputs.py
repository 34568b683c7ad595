"""Cache entries survive nothing but their own content; outputs are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.pipeline import cache as cache_module
from inference_backend.pipeline.cache import Cache, key_of
from inference_backend.pipeline.outputs import Outputs, staged


def save(values):
    def write(path: Path) -> None:
        with open(path, "wb") as stream:
            np.savez(stream, values=values)

    return write


def load(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as z:
        return z["values"]


def test_entries_come_back_by_key(tmp_path):
    cache = Cache(tmp_path)
    cache.store("lift", "k1", save(np.arange(3.0)))
    assert cache.fetch("lift", "k1", load).tolist() == [0, 1, 2]
    assert cache.fetch("lift", "k2", load) is None
    assert cache.fetch("detect", "k1", load) is None


def test_key_changes_with_every_part():
    a = dict(x=np.arange(4.0), s={"seed": 1}, n=None)
    keys = {
        key_of(**a), key_of(**{**a, "x": np.arange(4.0) + 1e-12}), key_of(**{**a, "x": np.arange(4.0).reshape(2, 2)}),
        key_of(**{**a, "x": np.arange(4)}), key_of(**{**a, "s": {"seed": 2}}), key_of(**{**a, "n": 0}),
    }  # fmt: skip
    assert len(keys) == 6
    assert key_of(**a) == key_of(**dict(reversed(a.items())))


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:60] + b"\xff" * 20 + b[80:]]
)
def test_damaged_entry_is_removed_not_used(tmp_path, damage):
    cache = Cache(tmp_path)
    cache.store("lift", "k", save(np.arange(100.0)))
    (path,) = tmp_path.glob("lift/*.npz")
    path.write_bytes(damage(path.read_bytes()))
    assert cache.fetch("lift", "k", load) is None
    assert not path.exists()


def test_cache_that_cannot_be_written_does_not_stop_the_run(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = Cache(blocked)
    cache.store("lift", "k", save(np.zeros(2)))
    assert cache.fetch("lift", "k", load) is None


def test_oldest_entries_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "LIMIT", 3000)
    cache = Cache(tmp_path)
    for i in range(4):
        cache.store("lift", f"k{i}", save(np.zeros(100)))  # about 1 kB each
        for path in tmp_path.glob(f"lift/k{i}.npz"):
            os.utime(path, (i, i))
    left = sorted(p.stem for p in tmp_path.glob("lift/*.npz"))
    assert left == ["k2", "k3"]
    assert cache.size() <= 3000


def outputs(folder: Path, **more) -> Outputs:
    return Outputs(capture=folder / "a.npz", **more)


def test_files_appear_together_and_keep_normal_permissions(tmp_path):
    files = outputs(tmp_path / "new" / "deep", fbx=tmp_path / "b.fbx").wanted()
    with staged(files) as temporary:
        for path in temporary.values():
            path.write_text("x")
        assert not any(p.exists() for p in files.values())
    assert all(p.read_text() == "x" for p in files.values())
    umask = os.umask(0)
    os.umask(umask)
    assert files["fbx"].stat().st_mode & 0o777 == 0o666 & ~umask
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.fbx", "new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GentgError("cancelled", "Cancelled.")])
def test_nothing_is_left_after_an_error(tmp_path, error):
    with pytest.raises(error if isinstance(error, type) else GentgError):
        with staged(outputs(tmp_path / "new" / "deep", fbx=tmp_path / "b.fbx").wanted()) as temporary:
            temporary["capture"].write_text("half")
            raise error
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_stays_when_the_new_run_fails(tmp_path):
    (tmp_path / "a.npz").write_text("earlier")
    with pytest.raises(RuntimeError), staged(outputs(tmp_path).wanted()) as temporary:
        temporary["capture"].write_text("new")
        raise RuntimeError
    assert (tmp_path / "a.npz").read_text() == "earlier"


def test_an_output_that_was_not_made_is_an_error(tmp_path):
    with pytest.raises(GentgError, match="fbx output was not made"):
        with staged(outputs(tmp_path, fbx=tmp_path / "b.fbx").wanted()) as temporary:
            temporary["capture"].write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GentgError) as caught:
        with staged(outputs(tmp_path / "file" / "sub").wanted()):
            pytest.fail("entered")
    assert caught.value.code == "not_writable" and "a.npz" in caught.value.file


def test_full_disk_is_told_as_such(tmp_path):
    with pytest.raises(GentgError) as caught, staged(outputs(tmp_path).wanted()):
        with (
            open("/dev/full", "wb", buffering=0)
            if os.path.exists("/dev/full")
            else pytest.skip("no /dev/full") as full
        ):
            full.write(b"x")
    assert caught.value.code == "no_space"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"fbx": "b.blend"}, "must end with .fbx"),
        ({"preview": "clip.mp4"}, "overwrite the input"),
        ({"still": "folder.png"}, "is a folder"),
    ],
)
def test_wrong_outputs_are_refused(tmp_path, more, says):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "clip.mp4").write_text("")
    with pytest.raises(GentgError, match=says) as caught:
        outputs(tmp_path, **{k: tmp_path / v for k, v in more.items()}).check(tmp_path / "clip.mp4")
    assert caught.value.code == "bad_request"


def test_a_link_to_the_clip_is_the_clip(tmp_path):
    (tmp_path / "clip.mp4").write_text("")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    with pytest.raises(GentgError, match="overwrite"):
        outputs(tmp_path, preview=tmp_path / "link.mp4").check(tmp_path / "clip.mp4")
