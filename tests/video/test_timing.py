import numpy as np
import pytest

from inference_backend.video.timing import repair_times


def run(times, step=0.1):
    warnings = []
    out = list(repair_times(((t, i) for i, t in enumerate(times)), step, warnings.append))
    assert [item for _, item in out] == list(range(len(times)))
    assert np.all(np.diff([t for t, _ in out]) > 0)
    return [t for t, _ in out], warnings


def test_good_times_pass_unchanged():
    times = [0.0, 0.04, 0.5, 0.51, 3.0]
    out, warnings = run(times)
    assert out == times and warnings == []


@pytest.mark.parametrize("times, expected", [
    ([0.0, 0.1, None, 0.3], [0.0, 0.1, 0.2, 0.3]),  # missing
    ([0.0, 0.1, 0.1, 0.3], [0.0, 0.1, 0.2, 0.3]),  # repeated
    ([0.0, 0.1, 0.05, 0.3], [0.0, 0.1, 0.2, 0.3]),  # backwards
    ([0.0, 0.1, None, None, 0.16], [0.0, 0.1, 0.12, 0.14, 0.16]),  # squeezed in
    ([0.0, 0.1, None, 5.0], [0.0, 0.1, 0.2, 5.0]),  # a long pause stays where it is
    ([None, None, 7.0, 7.1], [6.8, 6.9, 7.0, 7.1]),  # at the start
    ([0.0, 0.1, None, None], [0.0, 0.1, 0.2, 0.3]),  # at the end
])  # fmt: skip
def test_bad_times_are_placed_between_good_ones(times, expected):
    out, warnings = run(times)
    assert np.allclose(out, expected)
    assert len(warnings) == 1 and "timestamp" in warnings[0]


def test_no_times_at_all():
    out, _ = run([None] * 30)
    assert np.allclose(out, np.arange(30) * 0.1)


def test_late_first_time_continues_the_count():
    out, _ = run([None] * 20 + [100.0, 100.1])
    assert np.allclose(out, np.arange(22) * 0.1)


def test_a_restarted_clock_goes_on():
    out, warnings = run([5.0, 5.1, 5.2, 0.0, 0.1, 0.3])
    assert np.allclose(out, [5.0, 5.1, 5.2, 5.3, 5.4, 5.6])
    assert "restarts" in warnings[0]


def test_memory_is_bounded_while_waiting():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield None, taken

    source = repair_times(endless(), 0.1, print)
    next(source)
    assert taken <= 8
