"""From a clip to one person's raw 2D track: decode, detect, follow; all cores, flat memory."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable

import numpy as np

from gentg_blender.core.contract import GentgError, PersonSeed
from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.video.decode import decode
from inference_backend.video.index import PacketIndex, scan
from inference_backend.video.prefetch import prefetch
from inference_backend.video.probe import VideoInfo, probe
from inference_backend.video.sequence import ImageSequence

from .appearance import describe
from .detector import Detection, Detector, MultiPersonHint
from .footage import FootageMeter, summarise
from .layouts import to_canonical
from .segment import Segment
from .track import KeypointTrack
from .tracking import TrackingConfig, follow_person

_log = logging.getLogger(__name__)
Report = Callable[[str, int, int | None], None]

_AHEAD = 4  # decoded images ready per segment: bounds memory
_SHORT = 1.0  # seconds; shorter clips are one segment
_SEGMENT = 20.0  # seconds of clip that one detector works through at most
# Seconds before a segment in which a detector that follows finds its person, and as a share of a clip that is short.
# A fresh start moves BlazePose's points by 0.6 % of the body's height; after 0.17 s it is 0.4, after 0.5 s 0.25 %, and
# from image to image they tremble by 1 % (measured).
_WARM_UP, _WARM_UP_SHARE = 0.5, 0.1
_LOOK = 0.1  # seconds between looks at what a person wears: enough for an average, nearly free
_MEASURE = 1.5  # seconds between looks at the footage itself, but ...
_MEASURES = (4, 40)  # ... about as many as this at least, and at most
_OTHERS = 8.0  # seconds between looks for other people, which cost ten times as much
_POLL = 0.1  # seconds between progress reports


def detect_video(
    source: str | os.PathLike | ImageSequence,
    detector: Detector,
    start: float | None = None,
    end: float | None = None,
    report: Report = lambda stage, done, total: None,
    *,
    warn: Callable[[str], None] = _log.warning,
    workers: int | None = None,
    tracking: TrackingConfig = TrackingConfig(),
    person: PersonSeed | None = None,
    worker_detectors: list[Detector] | None = None,
) -> KeypointTrack:
    """Find one person, by default the most prominent, in every frame shown at start <= time < end (seconds).

    To follow a chosen `person` among others the detector must find all of them. Further threads use the `worker_detectors`,
    detectors of the same kind; what is lacking is cloned into that list and stays there for the next clip. Without
    it the cloned ones are closed.

    The clip is cut into segments at places that depend on the clip alone, so that the result does
    not depend on the number of `workers` (threads; by default one per core, at most 4). `report`
    gets ("detect", frames done, about how many) and may raise to stop everything.
    Raises GentgError: what video.decode raises, no_person, cancelled (through `report`).
    """
    info = probe(source)
    index = None if isinstance(source, ImageSequence) else _index(source, info)
    last = info.duration if end is None else min(end, info.duration)
    segments = plan_segments(start or 0.0, last, detector.follows, index)
    segments[0].begin, segments[-1].end = start, end  # the file's own limits, where none is given
    total = max(1, round((last - (start or 0.0)) * info.fps))
    length = last - (start or 0.0)
    measure = max(min(_MEASURE, length / _MEASURES[0]), length / _MEASURES[1])
    job = _Job(source, detector, index, segments, warn, measure)
    kept = [] if worker_detectors is None else worker_detectors
    try:
        job.run(
            min(len(segments), workers or min(os.cpu_count() or 1, 4)),
            kept,
            lambda done: report("detect", min(done, total), total),
        )
    finally:
        if worker_detectors is None:
            for worker_detector in kept:
                worker_detector.close()
    return _assemble(segments, info, detector, tracking, person)


def plan_segments(start: float, end: float, follows: bool, index: PacketIndex | None) -> list[Segment]:
    """Cut [start, end) seconds into an even number of segments that begin near keyframes, or leave it whole."""
    length = end - start
    if index is None or length < _SHORT:
        return [Segment(start, start, end)]
    count = 2 * math.ceil(length / (2 * _SEGMENT))
    warm = min(_WARM_UP, _WARM_UP_SHARE * length) if follows else 0.0
    entries = index.keyframe_times + warm  # beginnings that cost no decoding in vain
    cuts = [start]
    for i in range(1, count):
        ideal = start + warm + (length - warm) * i / count  # the first segment has nothing to warm up on
        near = entries[np.abs(entries - ideal) < 0.2 * length / count]
        cuts.append(float(near[np.abs(near - ideal).argmin()]) if len(near) else ideal)
    cuts.append(end)
    return [
        Segment(max(start, a - (warm if i else 0.0)), a, b) for i, (a, b) in enumerate(zip(cuts, cuts[1:]))
    ]


def _index(source: str | os.PathLike, info: VideoInfo) -> PacketIndex | None:
    index = scan(source) if info.duration >= _SHORT else None
    return index if index is not None and index.countable else None


class _Job:
    """Worker threads that take segments in turn; the first error stops all of them."""

    def __init__(
        self,
        source,
        detector: Detector,
        index: PacketIndex | None,
        segments: list[Segment],
        warn,
        measure: float,
    ):
        self._source, self._detector, self._index, self._warn = source, detector, index, warn
        self._measure = measure  # seconds between looks at the footage
        self._waiting = list(reversed(segments))
        self._lock, self._spawning, self._stop = threading.Lock(), threading.Lock(), threading.Event()
        self._done, self._error, self._said = 0, None, set()

    def run(self, workers: int, worker_detectors: list[Detector], report: Callable[[int], None]) -> None:
        """`worker_detectors` are for all threads but the first; what is lacking is cloned into it."""
        threads = [
            threading.Thread(
                target=self._work, args=(worker_detectors, i), name=f"gentg-detect-{i}", daemon=True
            )
            for i in range(workers)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    report(self._done)
                    thread.join(_POLL)
            report(self._done)
        finally:  # also on Ctrl-C and on cancelling through `report`
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error
        for text in sorted(self._said):
            self._warn(text)

    def _work(self, worker_detectors: list[Detector], number: int) -> None:
        try:
            detector = self._detector
            if number:
                with self._spawning:  # one after the other: the list tells who is next
                    while len(worker_detectors) < number and not self._stop.is_set():
                        worker_detectors.append(self._detector.clone())
                    if self._stop.is_set():
                        return
                detector = worker_detectors[number - 1]
            while not self._stop.is_set():
                with self._lock:
                    if not self._waiting:
                        return
                    segment = self._waiting.pop()
                detector.reset()
                self._detect(segment, detector)
        except BaseException as error:  # re-raised in the thread that waits
            with self._lock:
                self._error = self._error or error
            self._stop.set()

    def _detect(self, segment: Segment, detector: Detector) -> None:
        start = segment.warm_up if segment.begin is not None else None
        next_look = -math.inf
        others = detector.sees_several if isinstance(detector, MultiPersonHint) else None
        meter = FootageMeter(self._measure, detector.layout, others, max(_OTHERS, 4 * self._measure))
        frames = decode(
            self._source,
            start,
            segment.end,
            detector.max_size,
            warn=self._said.add,
            index=self._index,
        )
        with prefetch(frames, _AHEAD) as ready:
            for frame in ready:
                if self._stop.is_set():
                    return
                found = detector.detect(frame.image)
                if segment.begin is not None and frame.time < segment.begin - 1e-6:
                    continue  # the person is only being found again
                meter.see(frame.time, frame.image, found)
                height, width = frame.image.shape[:2]
                looks: list[np.ndarray | None] = [None] * len(found)
                if frame.time >= next_look - 1e-6:
                    next_look = frame.time + _LOOK
                    looks = [describe(frame.image, to_canonical(d.keypoints, detector.layout)) for d in found]
                segment.add(frame.index, frame.time, found, looks, (width, height))
                with self._lock:
                    self._done += 1
        segment.looks = meter.looks


def _assemble(
    segments: list[Segment],
    info: VideoInfo,
    detector: Detector,
    tracking: TrackingConfig,
    person: PersonSeed | None,
) -> KeypointTrack:
    frames = np.array([f for s in segments for f in s.frames], dtype=np.int64)
    times = np.array([t for s in segments for t in s.times], dtype=float)
    found = [people for s in segments for people in s.detections(info.size)]
    if person is not None and not any(found):
        person = None  # nobody at all: said below
    chosen = follow_person(times, found, detector.layout, tracking, person)
    seen = chosen >= 0
    if not seen.any():
        raise GentgError(
            "no_person",
            "No person was found in the clip.",
            file=info.path,
            hint="The person should be at least a fifth of the image's height, lit, and mostly in the image.",
        )
    keypoints = np.zeros((len(times), NUM_JOINTS, 3))
    world = None
    for row in np.flatnonzero(seen):
        detection = found[row][chosen[row]]
        keypoints[row] = to_canonical(detection.keypoints, detector.layout)
        if detection.world is not None:
            if world is None:
                world = np.full((len(times), NUM_JOINTS, 3), np.nan, np.float32)
            world[row] = _world(detection, detector.layout)
    track = KeypointTrack(
        keypoints=keypoints, layout=detector.layout, timestamps=times, frames=frames, seen=seen,
        image_size=info.size, fps=info.fps, world=world,
        footage=summarise([look for s in segments for look in s.looks]),
    )  # fmt: skip
    track.check(info.path)
    return track


def _world(detection: Detection, layout: str) -> np.ndarray:
    """(35, 3) metres, NaN where the layout has no such joint."""
    present = np.ones((len(detection.world), 1))
    canonical = to_canonical(np.concatenate([detection.world, present], axis=1), layout)
    return np.where(canonical[:, 3:] > 0, canonical[:, :3], np.nan)
