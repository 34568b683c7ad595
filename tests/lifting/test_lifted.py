"""The arrays that networks hand to the solver."""

import numpy as np
import pytest

from inference_backend.lifting.lifted import Lifted


def lifted_arrays(frames=3):
    return {
        "joints": np.zeros((frames, 35, 3)), "root": np.ones((frames, 3)), "sigma": np.ones((frames, 35)),
        "sigma_xyz": np.ones((frames, 35, 3)), "edge_lengths": np.ones(35),
        "contacts": np.zeros((frames, 4)), "gravity": np.array([0.0, 1.0, 0.0]),
    }  # fmt: skip


def test_lifted_accepts_what_it_describes_and_refuses_the_rest():
    assert len(Lifted(**lifted_arrays())) == 3
    for name, bad in (
        ("joints", np.zeros((3, 34, 3))), ("root", np.ones((2, 3))), ("contacts", np.full((3, 4), np.nan)),
        ("gravity", np.array([0.0, 2.0, 0.0])),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            Lifted(**{**lifted_arrays(), name: bad})
    with pytest.raises(ValueError, match="no frame"):
        Lifted(**lifted_arrays(0))
