"""The loop: newest image, detect, lift, hand out; and what it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from inference_backend.keypoints.detector import Detector
from inference_backend.keypoints.following import Following
from inference_backend.keypoints.layouts import to_canonical

from .lifter import LiveLifter, LivePose
from .sources import SourceFrame


@dataclass(frozen=True)
class LiveFrame:
    """What is handed out of one image."""

    index: int  # number of the image in the source
    time: float  # seconds from the source's first image
    latency: float  # seconds from the image's arrival to this frame
    pose: LivePose | None  # None: nobody was seen
    keypoints: np.ndarray | None  # (K, 3) x, y pixels of the unscaled image and confidence, detector's layout


class Sink(Protocol):
    """Takes frames; `end` makes what was taken so far complete, whatever ended the stream."""

    def add(self, frame: LiveFrame, source_frame: SourceFrame) -> None: ...

    def end(self, summary: Summary) -> None: ...


@dataclass
class Summary:
    """Counts of images and seconds of latency."""

    frames: int = 0  # handed out
    seen: int = 0  # with a person
    dropped: int = 0  # came while the machine was busy and were never looked at
    thinned: int = 0  # closer in time than the network knows: passed over
    duration: float = 0.0  # seconds of the source
    wall: float = 0.0  # seconds of the clock
    latencies: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: latencies as median, 95th percentile and largest; None where no frame came."""
        quantiles = np.quantile(self.latencies, [0.5, 0.95, 1.0]).tolist() if self.latencies else [None] * 3
        names = ("latency_median", "latency_p95", "latency_max")
        counts = {n: getattr(self, n) for n in ("frames", "seen", "dropped", "thinned", "duration", "wall")}
        return counts | dict(zip(names, quantiles))


_LATENCIES = 100_000  # the newest ones count: an hour at 28 frames a second, in bounded memory


def run_live(
    images: Iterable[SourceFrame],
    size: tuple[int, int],
    detector: Detector,
    lifter: LiveLifter,
    sinks: list[Sink],
    stopped: threading.Event,
    *,
    seconds: float | None = None,
    dropped: Callable[[], int] = lambda: 0,
) -> Summary:
    """Lift `images` of a source of `size` (width, height) until they end, `stopped`, or `seconds` of them.

    Every sink gets all frames and is ended in any case, also before an error of the source is passed on.
    """
    following, summary, began = Following(detector.layout), Summary(), time.monotonic()
    try:
        for source_frame in images:
            if stopped.is_set() or seconds is not None and source_frame.time >= seconds:
                break
            if not lifter.is_due(source_frame.time):
                summary.thinned += 1
                continue
            frame = _frame(source_frame, size, detector, following, lifter)
            summary.frames += 1
            summary.seen += frame.pose is not None
            summary.duration = frame.time
            summary.latencies.append(frame.latency)
            del summary.latencies[:-_LATENCIES]
            for sink in sinks:
                sink.add(frame, source_frame)
    finally:
        stopped.set()
        summary.dropped, summary.wall = dropped(), time.monotonic() - began
        for sink in sinks:
            sink.end(summary)
    return summary


def _frame(
    source_frame: SourceFrame,
    size: tuple[int, int],
    detector: Detector,
    following: Following,
    lifter: LiveLifter,
) -> LiveFrame:
    found = following.choose(source_frame.time, detector.detect(source_frame.image))
    pose = keypoints = None
    if found is not None:
        height, width = source_frame.image.shape[:2]
        keypoints = found.keypoints * [size[0] / width, size[1] / height, 1.0]
        pose = lifter.step(to_canonical(keypoints, detector.layout), source_frame.time)
    return LiveFrame(
        source_frame.index, source_frame.time, time.monotonic() - source_frame.arrived, pose, keypoints
    )
