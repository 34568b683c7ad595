"""Shared by tests of the pipeline and the command line: clips of a real person, and the real `gentg`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "samples" / "beam_walk.mp4"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny networks run several times faster on one thread than on two that wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    return SAMPLE


@pytest.fixture(scope="session")
def person_frames() -> list[np.ndarray]:
    """The sample's frames, upright (640, 360, 3) uint8 RGB."""
    import av

    with av.open(str(SAMPLE)) as container:
        return [f.reformat(360, 640, format="rgb24").to_ndarray() for f in container.decode(video=0)]


def write_clip(
    path: Path, frames: Sequence[np.ndarray], times: Sequence[float] | None = None, *, rotation: int = 0,
    faststart: bool = False,
) -> Path:  # fmt: skip
    """H.264 of `frames` shown at `times` seconds (default: 30 a second); `rotation` sets the display matrix only."""
    import av

    times = [i / 30 for i in range(len(frames))] if times is None else times
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        if rotation:
            stream.set_display_rotation(rotation)
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round(time * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def make_person_clip() -> Callable[..., Path]:
    return write_clip


@dataclass
class Ran:
    """What a run of `gentg` left behind."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    """One cache for tests that only need a result."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def gentg(tmp_path, shared_cache) -> Callable[..., Ran]:
    """Run the command line as a process; `cache` and `cwd` may differ from the shared ones."""

    def run(
        *arguments: Any, cache: Path | None = None, cwd: Path = ROOT, env: dict[str, str] | None = None
    ) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "inference_backend", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
            env=os.environ | {"GENTG_CACHE": str(cache or shared_cache)} | (env or {}), timeout=600,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
