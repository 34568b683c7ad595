"""A stretch of a clip that one thread works through, and what was found in it, in few bytes a frame."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from .detector import Detection
from .footage import FootageSample


@dataclass
class Segment:
    """Frames at begin <= time < end; detection starts at `warm_up` to find the person again.

    What is found is kept as numbers in rows, not as objects: an hour of video has 216 000 frames. Coordinates are
    fractions of the image, since it was scaled while decoding.
    """

    warm_up: float | None
    begin: float | None
    end: float | None
    frames: array = field(default_factory=lambda: array("q"))  # number in the source, of each frame
    times: array = field(default_factory=lambda: array("d"))  # seconds, of each frame
    looks: list[FootageSample] = field(default_factory=list)  # at the footage itself
    _count: array = field(default_factory=lambda: array("H"))  # people, of each frame
    _numbers: array = field(
        default_factory=lambda: array("f")
    )  # keypoints, world, box and score of each person
    _appearances: dict[int, np.ndarray] = field(default_factory=dict)  # person -> describe()
    _points: int = 0  # of the detector's layout
    _world: bool = False  # whether the detector gives 3D

    def add(
        self,
        frame: int,
        time: float,
        found: list[Detection],
        appearances: list[np.ndarray | None],
        size: tuple[int, int],
    ) -> None:
        """The next frame and the people found in it, in pixels of an image of `size` (width, height)."""
        self.frames.append(frame)
        self.times.append(time)
        self._count.append(len(found))
        for detection, appearance in zip(found, appearances, strict=True):
            self._points, self._world = len(detection.keypoints), detection.world is not None
            if appearance is not None:
                self._appearances[self._people] = appearance
            points = detection.keypoints.astype(np.float32)
            points[:, :2] /= np.asarray(size, float)
            parts = [points, *([detection.world] if self._world else []), detection.box / np.tile(size, 2)]
            self._numbers.frombytes(np.concatenate([np.ravel(p) for p in parts]).astype(np.float32).tobytes())
            self._numbers.append(detection.score)

    @property
    def _width(self) -> int:
        """Numbers for each person."""
        return 3 * self._points * (1 + self._world) + 5

    @property
    def _people(self) -> int:
        return len(self._numbers) // self._width

    def detections(self, size: tuple[int, int]) -> list[list[Detection]]:
        """The people of each frame in pixels of an image of `size`; single precision."""
        if not self._numbers:
            return [[] for _ in self._count]
        k = 3 * self._points
        rows = np.frombuffer(self._numbers, np.float32).reshape(-1, self._width)
        points = rows[:, :k].reshape(-1, self._points, 3) * np.array([*size, 1.0], np.float32)
        boxes = rows[:, -5:-1] * np.tile(np.float32(size), 2)
        world = rows[:, k : 2 * k].reshape(-1, self._points, 3) if self._world else None
        people = [
            Detection(points[i], float(rows[i, -1]), boxes[i], None if world is None else world[i], self._appearances.get(i))
            for i in range(len(rows))
        ]  # fmt: skip
        ends = np.cumsum(np.frombuffer(self._count, np.uint16), dtype=np.int64)
        return [people[end - count : end] for end, count in zip(ends, self._count)]
