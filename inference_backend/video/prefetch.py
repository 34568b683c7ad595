"""Run an iterator ahead in a thread, so that decoding overlaps with what is done to the frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class prefetch(Iterator[Item]):
    """Iterate over `iterable` with at most `depth` items (plus one in the making) ready in memory.

    Errors of the iterable are raised here, in order. `close()`, the end of a `with` block, or
    garbage collection stops the thread and closes the iterable there; it waits for the item in the
    making, never longer.
    """

    _END = object()

    def __init__(self, iterable: Iterable[Item], depth: int = 8):
        if depth < 1:
            raise ValueError("depth must be at least 1")
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._done = False
        # The thread must not refer to self, or an abandoned iterator would never be collected.
        self._thread = threading.Thread(
            target=_fill,
            args=(iter(iterable), self._queue, self._stop, self._END),
            name="gentg-prefetch",
            daemon=True,
        )
        self._thread.start()

    def __iter__(self) -> prefetch[Item]:
        return self

    def __next__(self) -> Item:
        if self._done:
            raise StopIteration
        item, error = self._queue.get()
        if item is self._END:
            self._done = True
            self._thread.join()
            if error is not None:
                raise error
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop the thread and wait for it; safe to call twice."""
        self._done = True
        self._stop.set()
        while self._thread.is_alive():
            try:  # make room: the thread may be waiting to put
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def __enter__(self) -> prefetch[Item]:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self) -> None:
        self._stop.set()


def _fill(iterator: Iterator, target: queue.Queue, stop: threading.Event, end: object) -> None:
    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                target.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    error: BaseException | None = None
    try:
        for item in iterator:
            if not put((item, None)):
                break
            del item  # a frame is large: do not keep it while the next one is made
    except BaseException as caught:  # handed to the consumer, whatever it is
        error = caught
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
    put((end, error))
