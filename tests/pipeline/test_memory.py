"""Memory that one stage leaves for the next."""

import threading

import numpy as np
import psutil
import pytest

from gentg_blender.core.contract import EstimateSettings
from inference_backend.keypoints import detect
from inference_backend.keypoints.track import KeypointTrack
from inference_backend.pipeline import estimate, inputs
from inference_backend.pipeline.cache import Cache
from inference_backend.pipeline.memory import release_memory
from inference_backend.pipeline.reporter import Reporter


@pytest.mark.skipif(
    not hasattr(psutil, "LINUX") or not psutil.LINUX, reason="other systems give back by themselves"
)
def test_freed_memory_goes_back_to_the_system():
    """Small pieces in another thread's heap, with some left between them: the C library keeps all by itself."""
    process, kept = psutil.Process(), []

    def scatter():
        pieces = [np.ones(4000, np.uint8) for _ in range(50_000)]  # 200 MB
        kept.extend(pieces[::50])

    before = process.memory_info().rss
    thread = threading.Thread(target=scatter)
    thread.start()
    thread.join()
    release_memory()
    assert process.memory_info().rss - before < 60e6


class CountingDetector:
    name, version, hashes, layout = "counting", "1", {}, "coco17"
    closed = 0

    def close(self):
        CountingDetector.closed += 1


@pytest.mark.parametrize(("frames", "closed"), [(100, 0), (7000, 2)])
def test_a_long_clip_does_not_keep_the_detector(monkeypatch, tmp_path, frames, closed):
    """The detectors of both threads are freed before the networks load; short clips leave them to the next one."""

    def found(source, detector, *_, worker_detectors, **__):
        assert isinstance(detector, CountingDetector)
        if not worker_detectors:
            worker_detectors.append(CountingDetector())
        return KeypointTrack(np.zeros((frames, 35, 3)), "coco17", np.arange(frames) / 60, np.arange(frames),
                             np.ones(frames, bool), (10, 10), 60.0)  # fmt: skip

    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    monkeypatch.setattr(detect, "detect_video", found)
    monkeypatch.setattr(estimate, "open_detector", lambda *key: CountingDetector())
    monkeypatch.setattr(inputs, "identity", lambda detector: {})
    CountingDetector.closed = 0
    estimator = estimate.Estimator()
    run = estimate._Run(estimator, EstimateSettings(), Reporter(), Cache(None))
    assert len(run.detect(clip)) == frames
    assert CountingDetector.closed == closed
    assert len(run.detect(clip)) == frames  # and it is loaded again where it is needed
    estimator.close_detector()
    assert CountingDetector.closed == closed + 2 and estimator.worker_detectors == []
