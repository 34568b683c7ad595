"""What the tests of the pipeline share."""

from __future__ import annotations

import numpy as np
import psutil
import pytest

from inference_backend.pipeline.reporter import peak_memory


@pytest.fixture
def at_its_peak():
    """Memory that brings this process to its peak again, so that what a test takes next shows in it: other tests of
    the same process may have used more."""
    free = max(peak_memory() - psutil.Process().memory_info().rss, 0)
    return np.ones((free + 8_000_000) // 8)
