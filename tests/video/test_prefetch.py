import gc
import threading
import time

import pytest

from inference_backend.video.prefetch import prefetch


def threads():
    return [t for t in threading.enumerate() if t.name == "gentg-prefetch"]


def wait_until(condition, seconds=3.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_order_and_end():
    with prefetch(range(100), depth=3) as items:
        assert list(items) == list(range(100))
        assert list(items) == []
    assert not threads()


def test_runs_ahead_but_never_further_than_depth():
    made = []

    def source():
        for i in range(1000):
            made.append(i)
            yield i

    with prefetch(source(), depth=4) as items:
        assert wait_until(lambda: len(made) >= 5)
        time.sleep(0.15)
        assert len(made) == 5  # four ready, one in hand
        assert next(items) == 0
        assert wait_until(lambda: len(made) == 6)


def test_errors_arrive_after_the_good_items():
    def source():
        yield 1
        raise OSError("disk on fire")

    items = prefetch(source())
    assert next(items) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


@pytest.mark.parametrize("how", ["close", "error", "forget"])
def test_stopping_early_closes_the_source_in_its_thread(how):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield bytes(10)
        finally:
            closed.set()

    items = prefetch(source(), depth=2)
    next(items)
    if how == "close":
        items.close()
        assert closed.is_set()
    elif how == "error":
        with pytest.raises(KeyboardInterrupt), items:
            raise KeyboardInterrupt
        assert closed.is_set()
    else:
        del items
        gc.collect()
        assert closed.wait(3)
    assert wait_until(lambda: not threads())


def test_decoding_overlaps_with_work():
    def slow():
        for i in range(10):
            time.sleep(0.03)
            yield i

    begun = time.perf_counter()
    with prefetch(slow(), depth=4) as items:
        for _ in items:
            time.sleep(0.03)
    assert time.perf_counter() - begun < 0.5  # 0.6 s one after the other
