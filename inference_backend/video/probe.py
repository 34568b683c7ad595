"""What a clip is, without decoding more than its first frame."""

from __future__ import annotations

import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import av

from gentg_blender.core.contract import GentgError

from .index import scan
from .sequence import ImageSequence
from .source import Orientation, open_video, video_stream

# Tags that hold the focal length as 35 mm equivalent. Apple writes it per file or per track.
_FOCAL_TAGS = (
    "com.apple.quicktime.camera.focal_length.35mm_equivalent",
    "focallengthin35mmformat",
    "focal_length_35mm",
)
_FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a clip; sizes are of the upright image with square pixels, as `decode` yields it unscaled."""

    path: Path
    codec: str
    pixel_format: str
    size: tuple[int, int]  # width, height in pixels
    rotation: int  # degrees clockwise that the stored image is turned by: 0, 90, 180, 270
    fps: float  # average rate, frames per second; for people, time comes from the timestamps
    duration: float  # seconds
    frame_count: int  # estimate: containers err
    has_audio: bool
    is_vfr: bool | None  # None: not knowable without decoding
    focal_35mm: float | None  # 35 mm equivalent focal length by the image diagonal, mm; None if not stored

    @property
    def focal_px(self) -> float | None:
        """Focal length in pixels of the unscaled image, or None.

        Phones define the equivalent over the diagonal (CIPA DCG-001): f_px = f_35 * diagonal / 43.27 mm.
        Electronic stabilisation crops by some percent more, which no tag tells.
        """
        if self.focal_35mm is None:
            return None
        return self.focal_35mm * math.hypot(*self.size) / _FULL_FRAME_DIAGONAL


def probe(source: str | os.PathLike | ImageSequence) -> VideoInfo:
    """Describe a clip or image sequence.

    Raises GentgError: no_such_file, not_a_video, empty_video (no bytes or no frame that decodes).
    """
    if isinstance(source, ImageSequence):
        return _probe_sequence(source)
    path = Path(source)
    with open_video(path) as container:
        stream = video_stream(container)
        assert stream is not None  # open_video has checked
        frame = _first_frame(container, stream, path)
        orientation = Orientation.of(frame, stream)
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        duration = _duration(container, stream)
        count = stream.frames or (round(duration * rate) if rate else 0)
        if not duration and count and rate:
            duration = count / float(rate)
        info = dict(
            path=path,
            codec=stream.codec_context.name,
            pixel_format=frame.format.name,
            size=orientation.size((frame.width, frame.height)),
            rotation=90 * orientation.turns,
            has_audio=bool(container.streams.audio),
            focal_35mm=_focal({**container.metadata, **stream.metadata}),
        )
    index = scan(path, limit=600)
    if not rate and len(index.times) > 1:
        rate = (len(index.times) - 1) / index.times[-1]
    fps = float(rate or 30.0)
    return VideoInfo(
        fps=fps,
        duration=duration or max(count, 1) / fps,
        frame_count=max(int(count), 1),
        is_vfr=index.is_vfr,
        **info,
    )


def content_key(path: str | os.PathLike) -> str:
    """Hex sha256 that names the file's content for caches.

    Whole up to 64 MB; of larger files the size, both ends and 30 pieces between (1 MB each), since a
    cache must not take longer than the work it saves. Raises GentgError("no_such_file").
    """
    piece, whole = 1 << 20, 64 << 20
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest.update(size.to_bytes(8, "little"))
            if size <= whole:
                while block := stream.read(piece):
                    digest.update(block)
            else:
                for i in range(32):
                    stream.seek((size - piece) * i // 31)
                    digest.update(stream.read(piece))
    except OSError as error:
        raise GentgError("no_such_file", f"The file cannot be read: {error.strerror}", file=path) from error
    return digest.hexdigest()


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream, path: Path) -> av.VideoFrame:
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    return frame
            except av.FFmpegError:
                continue  # a damaged packet: a later one may decode
    except (av.FFmpegError, OSError):
        pass
    raise GentgError(
        "empty_video",
        "The video holds no frame that can be decoded.",
        file=path,
        hint="The file is damaged or incomplete: copy or export it again.",
    )


def _duration(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration and container.duration > 0 else 0.0


def _focal(tags: dict[str, str]) -> float | None:
    lower = {key.lower(): value for key, value in tags.items()}
    for tag in _FOCAL_TAGS:
        number = re.match(r"\s*(\d+(?:\.\d+)?)", str(lower.get(tag, "")))
        if number and 5.0 <= float(number[1]) <= 2000.0:
            return float(number[1])
    return None


def _probe_sequence(sequence: ImageSequence) -> VideoInfo:
    with open_video(sequence.files[0]) as container:
        stream = video_stream(container)
        assert stream is not None  # open_video has checked
        frame = _first_frame(container, stream, sequence.files[0])
        orientation = Orientation.of(frame, stream)
        return VideoInfo(
            path=sequence.files[0],
            codec=stream.codec_context.name,
            pixel_format=frame.format.name,
            size=orientation.size((frame.width, frame.height)),
            rotation=90 * orientation.turns,
            fps=sequence.fps,
            duration=(sequence.numbers[-1] + 1) / sequence.fps,
            frame_count=len(sequence.files),
            has_audio=False,
            is_vfr=False,
            focal_35mm=None,
        )
