"""Making a clip's timestamps usable: strictly increasing, without holes where the file is at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_PATIENCE = 8  # frames held back while waiting for a good timestamp: bounds memory
_RESTART = 1.0  # seconds: a clock that falls back by more has restarted


def repair_times(
    frames: Iterable[tuple[float | None, Item]], step: float, warn: Callable[[str], None]
) -> Iterator[tuple[float, Item]]:
    """Pass (time or None, item) on with strictly increasing times in seconds.

    Good timestamps are never altered. Frames whose timestamp is missing, repeated or runs backwards
    are spread evenly between their good neighbours, or follow at `step` seconds (the nominal frame
    duration) where no good one comes within eight frames. A clock that restarts (joined recordings)
    is continued. `warn` is called once per kind of fault, at the end.
    """
    last: float | None = None  # time of the last frame passed on
    offset = 0.0  # added to the file's clock after restarts
    waiting: list[Item] = []
    anchored = False  # a timestamp of the file has been used
    repaired = restarts = 0

    def spread(until: float | None) -> Iterator[tuple[float, Item]]:
        nonlocal last
        gap = step if until is None or last is None else min(step, (until - last) / (len(waiting) + 1))
        for item in waiting:
            if last is None:
                last = 0.0 if until is None else until - step * len(waiting)
            else:
                last += gap
            yield last, item
        waiting.clear()

    for time, item in frames:
        good = time is not None
        if good and anchored and last is not None:
            moment = time + offset
            if moment <= last - _RESTART:
                restarts += 1
                yield from spread(None)
                offset = last + step - time
            elif moment <= last:
                good = False
        if not good:
            repaired += 1
            waiting.append(item)
            if len(waiting) >= _PATIENCE:
                yield from spread(None)
            continue
        if not anchored and last is not None:  # frames without any timestamp have been passed on from 0
            offset = last + step * (len(waiting) + 1) - time
        anchored = True
        moment = time + offset
        yield from spread(moment)
        last = moment
        yield last, item
    yield from spread(None)
    if repaired:
        warn(f"{repaired} frames had no usable timestamp and were placed between their neighbours.")
    if restarts:
        warn("The clip's clock restarts in the middle (joined recordings?); it was continued.")
