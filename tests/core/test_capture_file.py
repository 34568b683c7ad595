"""What a capture file may lack, and what it may not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError, load_capture, save_capture

sys.path.insert(0, str(Path(__file__).parents[1] / "blender"))
from walking import walking  # noqa: E402


def test_the_motion_before_the_foot_lock_comes_back_as_it_went(tmp_path):
    capture = walking(0.5)
    capture.local_rotation_free = capture.local_rotation.astype(np.float32)
    capture.root_free = (capture.root + 0.01).astype(np.float32)
    loaded = load_capture(save_capture(tmp_path / "walk.npz", capture))
    assert loaded.root_free.dtype == np.float32
    assert np.array_equal(loaded.root_free, capture.root_free)
    assert np.array_equal(loaded.local_rotation_free, capture.local_rotation_free)


def test_a_capture_without_it_holds_no_array_of_it(tmp_path):
    path = save_capture(tmp_path / "walk.npz", walking(0.5))
    with np.load(path, allow_pickle=False) as arrays:
        assert not [name for name in arrays.files if name.endswith("_free")]
    assert load_capture(path).local_rotation_free is None


def test_half_of_it_and_other_lengths_are_refused(tmp_path):
    capture = walking(0.5)
    capture.root_free = capture.root.copy()
    with pytest.raises(GentgError, match="one is missing"):
        save_capture(tmp_path / "walk.npz", capture)
    capture.local_rotation_free = capture.local_rotation[1:]
    with pytest.raises(GentgError, match="'local_rotation_free' has shape"):
        save_capture(tmp_path / "walk.npz", capture)
    capture.root = None
    with pytest.raises(GentgError):
        save_capture(tmp_path / "walk.npz", capture)
    assert not list(tmp_path.iterdir())
