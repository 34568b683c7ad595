"""Windows and segments: every frame is covered, and gaps split where they must."""

import numpy as np
import pytest

from inference_backend.lifting.windows import segments, windows


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 100, 128, 500, 1001])
@pytest.mark.parametrize("size, hop", [(64, 48), (64, 32), (64, 16)])
def test_windows_cover_every_frame_with_positive_weights(length, size, hop):
    total, covered = np.zeros(length), np.zeros(length)
    found = windows(length, size, hop)
    for w in found:
        assert 0 <= w.start < w.stop <= length and w.stop - w.start == min(size, length) == len(w.weight)
        assert (w.weight > 0).all()
        total[w.start : w.stop] += w.weight
        covered[w.start : w.stop] += 1
    assert (covered >= 1).all()
    assert all(b.start - a.start <= hop for a, b in zip(found, found[1:]))
    # A quantity that all windows agree on comes out as it is, after division by the summed weights.
    truth, blended = np.sin(np.arange(length) / 7), np.zeros(length)
    for w in found:
        blended[w.start : w.stop] += w.weight * truth[w.start : w.stop] / total[w.start : w.stop]
    np.testing.assert_allclose(blended, truth, atol=1e-12)


def test_a_windows_edge_hardly_counts_where_another_window_knows_better():
    found = windows(200, 64, 32)
    total = np.zeros(200)
    for w in found:
        total[w.start : w.stop] += w.weight
    for w in found[1:]:
        assert w.weight[0] / total[w.start] < 0.01
    for w in found[:-1]:
        assert w.weight[-1] / total[w.stop - 1] < 0.01
    assert found[0].weight[0] == 1.0 and found[-1].weight[-1] == 1.0


def clock(n: int, rate: float = 30.0) -> np.ndarray:
    return np.arange(n) / rate


def test_gaps_split_when_they_last_longer_than_the_bridge():
    seen = np.ones(100, bool)
    seen[20:25] = False  # 0.2 s from frame 19 to 25
    seen[50:70] = False  # 0.7 s
    assert segments(seen, clock(100), 0.4) == [slice(0, 50), slice(70, 100)]
    assert segments(seen, clock(100), 0.1) == [slice(0, 20), slice(25, 50), slice(70, 100)]


def test_unseen_ends_belong_to_no_segment_and_nobody_gives_none():
    seen = np.zeros(40, bool)
    assert segments(seen, clock(40), 0.4) == []
    seen[10:30] = True
    assert segments(seen, clock(40), 0.4) == [slice(10, 30)]
    seen[:] = False
    seen[7] = True
    assert segments(seen, clock(40), 0.4) == [slice(7, 8)]
    assert segments(np.ones(1, bool), np.zeros(1), 0.4) == [slice(0, 1)]


def test_a_slow_clip_is_not_torn_apart_by_its_own_frame_rate():
    assert segments(np.ones(10, bool), clock(10, rate=1.0), 0.4) == [slice(0, 10)]
