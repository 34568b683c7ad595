"""Where time goes, how a run is stopped, and which camera is assumed."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from gentg_blender.core.contract import EstimateSettings, GentgError
from inference_backend.pipeline.camera import focal_px_from_mm, intrinsics
from inference_backend.pipeline.reporter import Reporter
from inference_backend.pipeline.time_left import TimeLeft


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_belongs_to_the_stage_that_runs():
    report = Reporter()
    report("detect", 0, 2)
    burn(0.2)
    report("solve", 0, 2)
    time.sleep(0.1)
    with report.loading():
        burn(0.2)
    report("solve", 2, 2)
    times = report.finish()
    assert times["detect"]["cpu"] == pytest.approx(0.2, abs=0.1)
    assert times["solve"]["wall"] >= 0.1 and times["solve"]["cpu"] < 0.1
    assert times["load"]["cpu"] == pytest.approx(0.2, abs=0.1)


def test_work_of_other_threads_counts_as_cpu_time():
    report = Reporter()
    report("detect", 0, 1)
    threads = [threading.Thread(target=lambda: sum(i * i for i in range(400_000))) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert report.finish()["detect"]["cpu"] > 0.01


def test_listener_hears_first_and_last_and_not_everything():
    heard = []
    report = Reporter(lambda *a: heard.append(a))
    for i in range(1001):
        report("detect", i, 1000)
    assert heard[0][:3] == ("detect", 0, 1000) and heard[-1][:3] == ("detect", 1000, 1000)
    assert len(heard) < 100


def test_time_left_is_measured_and_covers_the_stages_to_come():
    clock = [0.0]
    left = TimeLeft(lambda: clock[0])
    left.plan(("detect", "preview"), 1_000_000)  # both cost the same a frame
    left.update("detect", 0, 1000)
    clock[0] = 90.0  # starting up is no sign of slowness
    left.update("detect", 1, 1000)
    assert left.eta is None and left.fraction < 0.01
    clock[0] = 100.0
    left.update("detect", 500, 1000)
    assert left.fraction == pytest.approx(0.25, abs=0.01) and left.eta == pytest.approx(30.0, rel=0.01)
    clock[0] = 110.0
    left.update("detect", 1000, 1000)
    left.update("preview", 0, 1000)
    assert left.fraction == pytest.approx(0.5, abs=0.01) and left.eta == pytest.approx(20.0, rel=0.01)


def test_a_cached_stage_does_not_count_as_speed():
    clock = [0.0]
    left = TimeLeft(lambda: clock[0])
    left.plan(("probe", "detect", "preview"), 1_000_000)
    left.update("preview", 1, 100)  # detection came from the cache
    clock[0] = 10.0
    left.update("preview", 50, 100)
    assert left.fraction == pytest.approx(0.75, abs=0.01) and left.eta == pytest.approx(10.0, rel=0.05)


def test_cancelled_is_raised_by_the_next_report():
    event = threading.Event()
    report = Reporter(cancelled=event)
    report("detect", 0, 1)
    event.set()
    with pytest.raises(GentgError) as caught:
        report("detect", 1, 1)
    assert caught.value.code == "cancelled"


def test_unknown_stage_is_a_bug():
    with pytest.raises(ValueError, match="unknown stage"):
        Reporter()("dectect", 0, 1)


def test_peak_memory_grows_with_use_and_keeps_what_was_given_back():
    """In a process of its own: this one may give back what other tests took."""
    code = """
import numpy as np
from inference_backend.pipeline.reporter import peak_memory
before = peak_memory()
block = np.ones(60_000_000 // 8)
full = peak_memory()
del block
print(before, full, peak_memory())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, full, after = map(int, done.stdout.split())
    assert before > 10_000_000 and 40_000_000 < full - before < 80_000_000
    assert after > full - 5_000_000  # Linux counts pages in batches


def test_peak_memory_is_this_processs_own():
    """A small process started by a large one: getrusage gives it the large one's peak on Linux."""
    block = np.ones(400_000_000 // 8)
    code = "from inference_backend.pipeline.reporter import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10_000_000 < int(done.stdout) < block.nbytes


SIZE = (1080, 1920)


@pytest.mark.parametrize(
    ("settings", "stored", "focal", "origin"),
    [
        ({"focal_px": 1500.0}, 1300.0, 1500.0, "given"),
        ({"fov": math.radians(60)}, 1300.0, 540 / math.tan(math.radians(30)), "field of view"),
        ({}, 1300.0, 1300.0, "metadata"),
        ({}, None, math.hypot(*SIZE), "image diagonal"),
    ],
)
def test_the_best_known_focal_length_is_used(settings, stored, focal, origin):
    camera = intrinsics(EstimateSettings(**settings), SIZE, stored)
    assert camera.focal_px == pytest.approx(focal) and camera.origin == origin
    assert camera.K[:2, 2].tolist() == [540, 960]
    assert bool(camera.warning) == (origin == "image diagonal")


def test_field_of_view_spans_the_width():
    camera = intrinsics(EstimateSettings(fov=1.2), SIZE, None)
    left = np.linalg.inv(camera.K) @ [0, 960, 1]
    right = np.linalg.inv(camera.K) @ [1080, 960, 1]
    angle = math.acos(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    assert angle == pytest.approx(1.2)


def test_lens_in_mm_is_blenders():
    assert focal_px_from_mm(50, SIZE) == pytest.approx(50 * 1920 / 36)
    assert focal_px_from_mm(50, SIZE[::-1]) == focal_px_from_mm(50, SIZE)
