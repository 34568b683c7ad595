"""What `gentg benchmark --minutes` measures: the looped clip, and the memory told along the way."""

import threading
from pathlib import Path

import av
import numpy as np
import pytest

from gentg_blender.core.contract import EstimateSettings, GentgError
from inference_backend.pipeline import benchmark, reporter

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "beam_walk.mp4"


def test_looped_clip_is_the_clip_again_and_again(tmp_path):
    long = benchmark.loop_clip(SAMPLE, tmp_path / "long.mp4", 4.0)
    with av.open(str(SAMPLE)) as one, av.open(str(long)) as many:
        stream = many.streams.video[0]
        assert (stream.width, stream.height) == (1080, 1920)
        first = [float(f.time) for f in one.decode(video=0)]
        times, shown = [], {}
        for i, frame in enumerate(many.decode(video=0)):
            times.append(float(frame.time))
            if i % len(first) == 40:  # the same image of each turn, of which the bits are the same
                shown[i] = frame.to_ndarray(format="gray").astype(int)
    assert len(times) == 3 * len(first)
    np.testing.assert_allclose(np.diff(times), np.median(np.diff(first)), atol=2e-3)
    assert len(shown) == 3 and all(np.array_equal(image, shown[40]) for image in shown.values())


class Meter:
    """Stands in for psutil.Process: the tests' own process also frees what other tests took, at any moment."""

    rss = 300_000_000

    def memory_info(self):
        return self


def test_memory_is_told_at_ten_places_and_its_growth_from_the_first_tenth(monkeypatch, tmp_path):
    meter = Meter()

    class Estimator:
        def estimate(self, clip, outputs, settings, report, use_cache):
            assert not use_cache and clip.is_file()
            for i in range(200):
                meter.rss += {5: 50_000_000, 100: 64_000_000, 150: -10_000_000}.get(i, 0)
                report("detect", i, 200)
            meter.rss += 500_000_000
            report("solve", 0, 1)
            return {"frames": 200, "image_size": [1, 1], "timings": {}}

    monkeypatch.setattr(benchmark, "Estimator", Estimator)
    monkeypatch.setattr(benchmark.psutil, "Process", lambda: meter)
    monkeypatch.setattr(reporter, "INTERVAL", 0.0)  # a real clip takes longer than this one
    figures = benchmark.measure_memory(SAMPLE, EstimateSettings(), 0.05, None, threading.Event())
    minutes = [m for m, stage, _ in figures["memory"] if stage == "detect"]
    np.testing.assert_allclose(minutes, 0.05 * np.arange(10) / 10, atol=1e-9)
    assert [size for _, stage, size in figures["memory"] if stage == "solve"] == [904_000_000]
    assert figures["growth"] == 64_000_000  # neither the first tenth's 50 MB nor the next stage's 500
    with pytest.raises(GentgError, match="between 0 and 600"):
        benchmark.measure_memory(SAMPLE, EstimateSettings(), 0.0, None, threading.Event())
