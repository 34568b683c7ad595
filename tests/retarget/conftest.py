"""Shared by the retargeting tests: made-up walks as source motions."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "blender")]

from gentg_blender.core.retarget.body import Body, SourceMotion  # noqa: E402
from gentg_blender.core.rotations import matrix_to_quat  # noqa: E402
from gentg_blender.core.skeleton import BONES  # noqa: E402


def source_motion(seconds: float = 2.0, seed: int = 3, stride: bool = False) -> SourceMotion:
    from striding import striding
    from walking import forward, walking

    c = striding(seconds, seed=seed) if stride else walking(seconds, seed=seed)
    heads, _, matrices = forward(c.rest_head, c.rest_tail, c.rest_rotation, c.local_rotation, c.root)
    body = Body(
        {b: (i,) for i, b in enumerate(BONES)}, c.rest_head, c.rest_tail, c.rest_rotation, np.zeros(3)
    )
    return SourceMotion(
        body, heads, matrix_to_quat(matrices), np.asarray(c.timestamps), np.asarray(c.contacts)
    )


@pytest.fixture(scope="session")
def walk() -> SourceMotion:
    return source_motion()


@pytest.fixture(scope="session")
def stride() -> SourceMotion:
    return source_motion(4.0, stride=True)
