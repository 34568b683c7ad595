"""The timestamps of all frames without decoding any: lets a decoder start in the middle of a clip."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from .source import open_video, video_stream

# VP8 stores invisible reference images as packets of their own, so packets cannot be counted.
_UNCOUNTABLE = frozenset({"vp8"})


@dataclass(frozen=True)
class PacketIndex:
    """Presentation times of a stream's frames.

    `pts` (N,) sorted, in units of `time_base` seconds. `countable` says that every packet gives one
    frame with a timestamp of its own, so that frame number i is shown at `pts[i]`.
    """

    pts: np.ndarray
    keyframes: np.ndarray  # (M,) pts of the frames at which decoding can start
    time_base: float
    countable: bool

    @property
    def times(self) -> np.ndarray:
        """(N,) seconds from the first frame."""
        return (self.pts - self.pts[0]) * self.time_base if len(self.pts) else np.zeros(0)

    @property
    def keyframe_times(self) -> np.ndarray:
        """(M,) seconds from the first frame."""
        return (self.keyframes - self.pts[0]) * self.time_base if len(self.pts) else np.zeros(0)

    def ends_before(self, seconds: float) -> bool:
        """Whether no frame is shown at `seconds` from the first one or later; False if unknown."""
        return self.countable and len(self.pts) > 0 and bool(self.times[-1] < seconds)

    @property
    def is_vfr(self) -> bool | None:
        """Whether frames last differently long, by more than the rounding of the clock; None if unknown."""
        if not self.countable or len(self.pts) < 3:
            return None
        steps = np.diff(self.times)
        return bool(steps.max() - steps.min() > max(2.1 * self.time_base, 0.02 * np.median(steps)))


def scan(path: str | os.PathLike, limit: int | None = None) -> PacketIndex:
    """Read the packets' timestamps (about a second per hour of video, as fast as the disk).

    `limit` stops after that many packets. Raises what `open_video` raises.
    """
    with open_video(path) as container:
        stream = video_stream(container)
        assert stream is not None  # open_video has checked
        countable = stream.codec_context.name not in _UNCOUNTABLE
        pts: list[int] = []
        keyframes: list[int] = []
        try:
            for packet in container.demux(stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.pts is None:
                    countable = False
                    continue
                pts.append(packet.pts)
                if packet.is_keyframe:
                    keyframes.append(packet.pts)
                if limit is not None and len(pts) >= limit:
                    break
        except (OSError, ValueError):  # a damaged tail; FFmpegError is one of the two
            countable = False
        values = np.sort(np.array(pts, dtype=np.int64))
        if limit is not None and len(pts) >= limit:  # the last few may miss neighbours that come later
            values = values[: max(0, len(values) - 16)]
        countable = countable and len(values) > 0 and bool(np.all(np.diff(values) > 0))
        return PacketIndex(
            values, np.array(keyframes, dtype=np.int64), float(stream.time_base or 0), countable
        )
