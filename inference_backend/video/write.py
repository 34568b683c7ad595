"""Writing previews: H.264 in mp4, every frame at its own time."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from gentg_blender.core.contract import GentgError, atomic_file, os_error

_CLOCK = 90_000  # ticks per second: divides all usual frame rates


class VideoWriter:
    """Context manager that writes RGB images as an mp4; the file appears only when all went well.

    `size` is (width, height) in pixels; odd sides lose their last line, as H.264 4:2:0 needs even
    ones. `crf` is x264's quality (lower is better). Raises GentgError: not_writable, no_space.
    """

    def __init__(self, path: str | os.PathLike, size: tuple[int, int], *, crf: int = 20):
        self.path = Path(path)
        self.size = (size[0] - size[0] % 2, size[1] - size[1] % 2)
        if min(self.size) < 2:
            raise ValueError(f"a video cannot be {size[0]}x{size[1]} pixels")
        self._crf, self._ticks, self._step = crf, -1, _CLOCK // 30
        self._atomic = atomic_file(self.path)
        self._container: av.container.OutputContainer | None = None

    def __enter__(self) -> VideoWriter:
        temporary = self._atomic.__enter__()
        try:
            self._container = av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
            stream = self._container.add_stream(
                "libx264", rate=30, options={"crf": str(self._crf), "preset": "veryfast"}
            )
            stream.width, stream.height = self.size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _CLOCK)
            self._stream = stream
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def add(self, image: np.ndarray, time: float) -> None:
        """Append an (H, W, 3) uint8 RGB image shown from `time` seconds on; times must increase."""
        if self._container is None:
            raise RuntimeError("the writer is used outside its with block")
        width, height = self.size
        if (
            image.dtype != np.uint8
            or image.ndim != 3
            or image.shape[0] - height not in (0, 1)
            or image.shape[1] - width not in (0, 1)
            or image.shape[2] != 3
        ):
            raise ValueError(
                f"an image of {image.shape} {image.dtype} does not fit a video of {width}x{height}"
            )
        ticks = round(time * _CLOCK)
        if ticks <= self._ticks:
            raise ValueError(f"the time {time} does not come after the frame before")
        if self._ticks >= 0:
            self._step = ticks - self._ticks
        self._ticks = ticks
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
        frame.pts, frame.time_base = ticks, Fraction(1, _CLOCK)
        self._mux(frame)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                if not packet.duration:  # else mp4 would end with a frame that is never shown
                    packet.duration = self._step
                self._container.mux(packet)
        except av.FFmpegError as error:
            raise _readable(error, self.path) from error

    def __exit__(self, kind, error, trace) -> bool:
        failure = error
        if self._container is not None:
            container = self._container
            try:
                if error is None:
                    if self._ticks < 0:
                        raise GentgError(
                            "internal", "A video without a frame was to be written.", file=self.path
                        )
                    self._mux(None)
                container.close()
            except BaseException as caught:
                container.close()
                failure = failure or (
                    _readable(caught, self.path) if isinstance(caught, av.FFmpegError) else caught
                )
            self._container = None
        self._atomic.__exit__(None if failure is None else type(failure), failure, trace)
        if failure is not None and error is None:
            raise failure
        return False


def _readable(error: av.FFmpegError, path: Path) -> GentgError:
    if isinstance(error, OSError):
        return os_error(error, path)
    return GentgError("internal", f"The video could not be encoded: {error}", file=path)
