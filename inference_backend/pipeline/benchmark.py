"""Figures of `gentg benchmark`: the stages as `estimate` runs them, and the detector alone."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import psutil

from gentg_blender.core.contract import EstimateSettings, GentgError

from .estimate import Estimator
from .outputs import Outputs
from .reporter import Reporter, peak_memory

_AFTER = ("clean", "lift", "correct", "solve", "write")
_MOST_FRAMES = 300  # frames held in memory for the detector alone


def measure(
    clip: Path,
    settings: EstimateSettings,
    runs: int,
    make_report: Callable[[], Reporter],
    began: Callable[[int], None],
) -> dict[str, Any]:
    """Run `estimate` `runs` times without cache after one run that warms up. Raises GentgError.

    CPU figures are milliseconds per frame of all threads; speeds are by the wall clock, frames a second.
    """
    estimator = Estimator()
    with tempfile.TemporaryDirectory(prefix="gentg-benchmark-") as folder:
        outputs = Outputs(Path(folder) / "capture.npz")

        def once(s: EstimateSettings) -> tuple[dict[str, Any], float]:
            start = time.perf_counter()
            result = estimator.estimate(clip, outputs, s, make_report(), use_cache=False)
            return result, time.perf_counter() - start

        warm, _ = once(settings)
        rounds = []
        for i in range(runs):
            began(i + 1)
            rounds.append(once(settings))
        memory = peak_memory()
    frames, size = warm["frames"], warm["image_size"]
    stages = list(rounds[0][0]["timings"])
    cpu = {
        s: statistics.median(r["timings"][s]["cpu"] for r, _ in rounds) * 1e3 / frames
        for s in stages
        if s != "load"
    }
    tgt, gpc, resampled = _networks(estimator, clip, settings, runs, make_report)
    alone, whole = (
        _detector_alone(estimator, clip, settings, runs, make_report),
        statistics.median(t for _, t in rounds),
    )
    return {
        "clip": clip.name, "frames": frames, "image_size": size, "runs": runs, "cores": os.cpu_count(),
        "cpu_ms_per_frame": cpu, "after_detection_ms": sum(v for s, v in cpu.items() if s in _AFTER),
        "tgt_ms": tgt, "gpc_ms": gpc, "resampled": resampled,
        "detector_fps": alone, "whole_fps": frames / whole, "ratio": frames / whole / alone,
        "load_s": warm["timings"].get("load", {}).get("wall", 0.0), "peak_memory": memory,
    }  # fmt: skip


def measure_memory(
    clip: Path,
    settings: EstimateSettings,
    minutes: float,
    listener: Callable | None,
    cancelled: threading.Event,
) -> dict[str, Any]:
    """Estimate the clip repeated to `minutes`; resident memory (bytes) at ten places of every stage. Raises GentgError.

    `growth` (bytes) is what memory gains while the clip is read, after its first tenth: of a clip of ten
    minutes, from minute 1 to 10.
    """
    if not 0.0 < minutes <= 600.0:
        raise GentgError("bad_request", "--minutes lies between 0 and 600")
    process, memory, logged = psutil.Process(), [], {}

    def listen(stage: str, done: int, total: int | None, fraction: float, eta: float | None) -> None:
        tenth = 10 * done // total if total else 0
        if logged.get(stage) != tenth:
            logged[stage] = tenth
            memory.append((minutes * tenth / 10, stage, process.memory_info().rss))
        if listener:
            listener(stage, done, total, fraction, eta)

    with tempfile.TemporaryDirectory(prefix="gentg-benchmark-") as folder:
        long = loop_clip(clip, Path(folder) / "long.mp4", 60.0 * minutes)
        start = time.perf_counter()
        report = Reporter(listen, cancelled)
        result = Estimator().estimate(
            long, Outputs(Path(folder) / "capture.npz"), settings, report, use_cache=False
        )
        seconds = time.perf_counter() - start
    return {"clip": clip.name, "frames": result["frames"], "image_size": result["image_size"], "seconds": seconds,
            "memory": memory, "growth": _growth(memory, "detect", minutes / 10), "peak_memory": peak_memory(),
            "timings": result["timings"]}  # fmt: skip


def _growth(memory: list[tuple[float, str, int]], stage: str, start: float) -> int:
    """The most by which a stage's memory exceeds what it was at minute `start`."""
    later = [size for minute, name, size in memory if name == stage and minute >= start - 1e-9]
    return max(later) - later[0] if later else 0


def loop_clip(clip: Path, out: Path, seconds: float) -> Path:
    """Repeat the images of a clip without encoding them again until `out` lasts `seconds`. Raises GentgError."""
    from inference_backend.video.source import open_video, video_stream

    with av.open(str(out), "w") as target:
        stream, offset = None, 0
        while True:
            with open_video(clip) as source:
                film = video_stream(source)
                assert film is not None  # open_video has checked
                stream = stream or target.add_stream_from_template(film)
                length = int(film.duration or seconds / film.time_base)
                for packet in source.demux(film):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    target.mux(packet)
                offset += length
                if offset * film.time_base >= seconds:
                    return out


def _networks(
    estimator: Estimator,
    clip: Path,
    settings: EstimateSettings,
    runs: int,
    make_report: Callable[[], Reporter],
) -> tuple[float, float, float]:
    """CPU ms per frame of TGT alone and of what GPC adds, and the share of joints it drew again."""
    track, camera = estimator.prepare(clip, settings, make_report())
    share = 0.0

    def lift(s: EstimateSettings) -> float:
        nonlocal share
        lifter = estimator.lifter(s)
        lifter.lift(track, camera.K, make_report())  # warms up
        times = []
        for _ in range(runs):
            start = time.process_time()
            share = lifter.lift(track, camera.K, make_report()).resampled
            times.append(time.process_time() - start)
        return statistics.median(times) * 1e3 / len(track)

    without = lift(replace(settings, correction=0.0))
    with_gpc = lift(replace(settings, correction=settings.correction or 1.0))
    return without, with_gpc - without, share


def _detector_alone(
    estimator: Estimator,
    clip: Path,
    settings: EstimateSettings,
    runs: int,
    make_report: Callable[[], Reporter],
) -> float:
    """Frames a second of the detector on frames that are decoded and scaled already, one after the other."""
    from inference_backend.video.decode import decode

    detector = estimator.detector(settings).clone()
    images = []
    for frame in decode(clip, max_size=detector.max_size):
        images.append(frame.image)
        if len(images) == _MOST_FRAMES:
            break
    speeds, report = [], make_report()
    try:
        detector.detect(images[0])  # warms up
        for _ in range(runs):
            start = time.perf_counter()
            for i, image in enumerate(images):
                report("detect", i, len(images))
                detector.detect(image)
            speeds.append(len(images) / (time.perf_counter() - start))
    finally:
        detector.close()
    return statistics.median(speeds)
