"""Where images come from: a camera, or a file at its own pace or as fast as it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gentg_blender.core.contract import GentgError
from inference_backend.video.decode import decode
from inference_backend.video.prefetch import prefetch
from inference_backend.video.source import limited

_AHEAD = 4  # decoded images ready: bounds memory
LOST = 5.0  # seconds without an image after which a camera counts as lost
_RETRY = 0.02  # seconds between two tries to read


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One image of a source."""

    index: int  # number in the source, from 0, those nobody looked at counted too
    time: float  # seconds from the source's first image
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright, scaled down
    arrived: float  # time.monotonic() when it could first be had


def file_images(path: Path, max_size: int | None, warn: Callable[[str], None]) -> Iterator[SourceFrame]:
    """All frames of a video as fast as they are taken. Raises GentgError as video.decode does."""
    with prefetch(decode(path, max_size=max_size, warn=warn), _AHEAD) as frames:
        for frame in frames:
            yield SourceFrame(frame.index, frame.time, frame.image, time.monotonic())


def paced(images: Iterator[SourceFrame], stopped: threading.Event) -> Iterator[SourceFrame]:
    """Each image when its time has come, by the clock; what comes late is passed on at once."""
    start: float | None = None
    for source_frame in images:
        start = time.monotonic() - source_frame.time if start is None else start
        due = start + source_frame.time
        if stopped.wait(max(0.0, due - time.monotonic())):
            return
        yield replace(source_frame, arrived=due)  # a slow decoder's delay is latency too


class Camera:
    """A camera of this machine. `capture` stands for cv2.VideoCapture(index)."""

    def __init__(self, number: int, capture: Callable[[int], Any] = cv2.VideoCapture):
        """Raises GentgError("no_such_file") if there is no such camera or another program holds it."""
        self.number = number
        self._device = capture(number)
        ok, image = self._device.read() if self._device.isOpened() else (False, None)
        if not ok:
            self._device.release()
            raise GentgError(
                "no_such_file",
                f"Camera {number} gives no image.",
                hint="Is it plugged in, allowed for this program, and free of others? The first camera is 0.",
            )
        self.size = (image.shape[1], image.shape[0])

    def images(self, max_size: int | None, stopped: threading.Event) -> Iterator[SourceFrame]:
        """Images as they come, until `stopped`. Raises GentgError("empty_video") when none came for LOST seconds."""
        target = limited(self.size, max_size)
        start, number = None, 0
        last = time.monotonic()
        while not stopped.is_set():
            ok, image = self._device.read()
            now = time.monotonic()
            if not ok:
                if now - last > LOST:
                    raise GentgError(
                        "empty_video",
                        f"Camera {self.number} was lost: no image for {LOST:g} s.",
                        hint="Check its cable and whether another program took it. What came before is kept.",
                    )
                stopped.wait(_RETRY)
                continue
            last = now
            start = now if start is None else start
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            if (image.shape[1], image.shape[0]) != target:
                image = cv2.resize(image, target, interpolation=cv2.INTER_AREA)
            yield SourceFrame(number, now - start, image, now)
            number += 1

    def close(self) -> None:
        """Give the camera back."""
        self._device.release()


class Newest:
    """Iterates over the newest image each time: what nobody took in time is dropped and counted, never queued."""

    def __init__(self, images: Iterator[SourceFrame], stopped: threading.Event):
        self.dropped = 0
        self._stopped = stopped
        self._news = threading.Condition()
        self._waiting: SourceFrame | None = None
        self._ended, self._error = False, None
        self._thread = threading.Thread(target=self._run, args=(images,), name="gentg-live", daemon=True)
        self._thread.start()

    def _run(self, images: Iterator[SourceFrame]) -> None:
        try:
            for source_frame in images:
                with self._news:
                    self.dropped += self._waiting is not None
                    self._waiting = source_frame
                    self._news.notify()
                if self._stopped.is_set():
                    break
        except BaseException as error:  # told to whoever iterates
            self._error = error
        finally:
            close = getattr(images, "close", None)
            if close is not None:
                close()
            with self._news:
                self._ended = True
                self._news.notify()

    def __iter__(self) -> Iterator[SourceFrame]:
        while True:
            with self._news:
                # A driver may hang in its read for ever; then only this side can tell.
                if not self._news.wait_for(
                    lambda: self._waiting is not None or self._ended, timeout=2 * LOST
                ):
                    raise GentgError(
                        "empty_video",
                        f"No image came for {2 * LOST:g} s.",
                        hint="Check the camera's cable. What came before is kept.",
                    )
                source_frame, self._waiting = self._waiting, None
            if source_frame is not None:
                yield source_frame
            elif self._error is not None:
                raise self._error
            else:
                return
