"""Small clips made on the spot, each with one property that real files have."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT = 96, 64


def image(i: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Red left half, green right half, a blue top band, and a brightness that tells the frame's number."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 200
    image[:, width // 2 :, 1] = 200
    image[: height // 4, :, 2] = 220
    image[height // 2 :, :, 2] = (i * 8) % 160
    return image


def _frame_number(image: np.ndarray) -> int:
    h, w = image.shape[:2]
    return int(round(np.median(image[int(h * 0.6) : int(h * 0.95), int(w * 0.1) : int(w * 0.4), 2]) / 8))


def _make_clip(
    path: Path,
    times: list[float],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    options: dict | None = None,
    audio: bool = False,
    container_options: dict | None = None,
    gop: int = 10,
    metadata: dict | None = None,
    aspect: Fraction | None = None,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Path:
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = Fraction(1, 90_000)
        stream.codec_context.gop_size = gop
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=48_000, layout="mono") if audio else None
        if sound:
            samples = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            samples.sample_rate, samples.pts, samples.time_base = 48_000, 0, Fraction(1, 48_000)
            container.mux(sound.encode(samples))
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(image(i, width, height), format="rgb24").reformat(
                format=pixel_format
            )
            frame.pts, frame.time_base = round(time * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            container.mux(sound.encode(None))
    return path


@pytest.fixture
def make_clip():
    return _make_clip


@pytest.fixture
def frame_number():
    return _frame_number


@pytest.fixture
def regular_clip(tmp_path) -> Path:
    return _make_clip(tmp_path / "regular.mp4", [i / 30 for i in range(20)])
