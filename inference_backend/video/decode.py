"""Frames of a clip with their own times: upright, RGB, scaled down while decoding."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from gentg_blender.core.contract import GentgError

from .index import PacketIndex
from .sequence import ImageSequence
from .source import Orientation, RgbConverter, limited, open_video, video_stream
from .timing import repair_times

_log = logging.getLogger(__name__)
_EPSILON = 1e-6  # seconds: frames that start exactly at the range's ends
_DAMAGE_LIMIT = 100  # unreadable stretches of a file before the rest is given up
_THREADS = min(4, os.cpu_count() or 1)  # frame threads cost one decoded image of memory each


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded image."""

    index: int  # number of the frame in the source, from 0 in the order of showing
    time: float  # seconds from the source's first frame, by the video's own clock
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright, square pixels


def decode(
    source: str | os.PathLike | ImageSequence,
    start: float | None = None,
    end: float | None = None,
    max_size: int | None = None,
    *,
    warn: Callable[[str], None] = _log.warning,
    index: PacketIndex | None = None,
) -> Iterator[Frame]:
    """Yield the frames shown at start <= time < end (seconds), all of them by default.

    Times are strictly increasing and begin with 0 at the source's first frame. Images whose
    shorter side exceeds `max_size` pixels are scaled down to it, never up. What a damaged file
    still holds is yielded; what is missing is said through `warn`, one sentence a call.
    With the clip's `index` (video.index.scan) decoding begins near `start` instead of at 0.

    Raises GentgError: no_such_file, not_a_video, empty_video (no frame decodes), bad_request (no
    frame in the range).
    """
    reader = (
        _sequence_frames(source, warn)
        if isinstance(source, ImageSequence)
        else _video_frames(Path(source), start, index, warn)
    )
    convert, target = RgbConverter(), None
    # Whether the file holds frames at all: behind its end an index leaves none to be met.
    any_frame = index is not None and start is not None and index.ends_before(start)
    path = source.files[0] if isinstance(source, ImageSequence) else Path(source)
    yielded = False
    try:
        for time, (number, frame, orientation) in reader:
            any_frame = True
            if end is not None and time >= end - _EPSILON:
                break
            if start is not None and time < start - _EPSILON:
                continue
            if target is None:  # later frames of another size are fitted to the first one's
                target = limited(orientation.square((frame.width, frame.height)), max_size)
            try:
                image = orientation.apply(convert(frame, target))
            except (av.FFmpegError, ValueError) as error:
                raise GentgError(
                    "not_a_video",
                    f"Images of the format {frame.format.name} cannot be read.",
                    file=path,
                    hint="Convert the clip to H.264 (mp4) first.",
                ) from error
            yielded = True
            yield Frame(number, time, image)
    finally:
        reader.close()
    if not any_frame:
        raise GentgError(
            "empty_video",
            "The video holds no frame that can be decoded.",
            file=path,
            hint="The file is damaged or incomplete: copy or export it again.",
        )
    if not yielded:
        raise GentgError(
            "bad_request",
            "The chosen range holds no frame of the clip.",
            file=path,
            hint="Check the start and end: they are seconds from the clip's first frame.",
        )


class _Upright:
    """The stream's orientation, read off its first frame.

    Not off every frame: PyAV's side data holds its frame in a reference cycle, so that hundreds of
    images would wait for the garbage collector (measured 0.7 GB on a 1080p clip).
    """

    def __init__(self, stream: av.VideoStream):
        self._stream, self._orientation = stream, None

    def __call__(self, frame: av.VideoFrame) -> Orientation:
        if self._orientation is None:
            self._orientation = Orientation.of(frame, self._stream)
        return self._orientation


_Image = tuple[int, av.VideoFrame, Orientation]


def _video_frames(
    path: Path, start: float | None, index: PacketIndex | None, warn: Callable[[str], None]
) -> Iterator[tuple[float, _Image]]:
    with open_video(path) as container:
        stream = video_stream(container)
        assert stream is not None  # open_video has checked
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = _THREADS
        if start and index is not None and index.countable:
            yield from _from_the_middle(container, stream, start, index, warn)
            return
        rate = stream.average_rate or stream.guessed_rate or 30
        expected = stream.frames
        raw = _decoded(container, stream, warn)
        upright = _Upright(stream)
        counted = (
            (None if f.pts is None else float(f.pts * f.time_base), (i, f, upright(f)))
            for i, f in enumerate(raw)
        )
        origin: float | None = None
        last = -1
        try:
            for time, image in repair_times(counted, 1.0 / float(rate), warn):
                origin = time if origin is None else origin
                last = image[0]
                yield time - origin, image
        finally:
            raw.close()
        if expected and last + 1 < expected - max(2, expected // 500):
            warn(f"The video is incomplete: {last + 1} of {expected} frames could be decoded.")


def _from_the_middle(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    start: float,
    index: PacketIndex,
    warn: Callable[[str], None],
) -> Iterator[tuple[float, _Image]]:
    """Frames from shortly before `start`, numbered by their timestamps' rank in the whole stream."""
    first = int(index.pts[0])
    target = first + int((start - _EPSILON) / index.time_base)
    try:
        container.seek(target, backward=True, any_frame=False, stream=stream)
    except av.FFmpegError:
        container.seek(first, backward=True, any_frame=False, stream=stream)
    last = -1
    upright = _Upright(stream)
    raw = _decoded(container, stream, warn)
    try:
        for frame in raw:
            if frame.pts is None:
                continue
            number = int(np.searchsorted(index.pts, frame.pts))
            # Images before the sought one may refer to others that were skipped: they are not shown.
            if number <= last or number >= len(index.pts) or frame.pts < target:
                continue
            last = number
            yield (frame.pts - first) * index.time_base, (number, frame, upright(frame))
    finally:
        raw.close()


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, warn: Callable[[str], None]
) -> Iterator[av.VideoFrame]:
    """All frames that decode; damaged packets are skipped and reported once, at the end."""
    damaged = 0
    packets = container.demux(stream)
    ended = False
    while not ended:
        try:
            packet = next(packets, None)  # the last packet is empty: it makes the decoder give what it holds
        except (av.FFmpegError, OSError):
            damaged += 1
            if damaged < _DAMAGE_LIMIT:
                packets = container.demux(stream)  # goes on behind the damage where the format allows it
                continue
            packet = None
        ended = packet is None
        try:
            frames = stream.codec_context.decode(None) if packet is None else packet.decode()
        except av.error.EOFError:
            continue
        except av.FFmpegError:
            damaged += 1
            continue
        yield from frames
    if damaged:
        warn(f"The video is damaged: {damaged} pieces could not be decoded; the rest was used.")


def _sequence_frames(sequence: ImageSequence, warn: Callable[[str], None]) -> Iterator[tuple[float, _Image]]:
    broken: list[str] = []
    for number, file in zip(sequence.numbers, sequence.files):
        try:
            with open_video(file) as container:
                stream = video_stream(container)
                assert stream is not None  # open_video has checked
                frame = next(iter(container.decode(stream)))
        except (GentgError, av.FFmpegError, StopIteration):
            broken.append(file.name)
            continue
        yield number / sequence.fps, (number, frame, Orientation.of(frame, stream))
    missing = sequence.numbers[-1] + 1 - len(sequence.numbers)
    if broken:
        warn(f"{len(broken)} images of the sequence could not be read, the first one {broken[0]}.")
    if missing:
        warn(f"{missing} images are missing in the sequence.")
