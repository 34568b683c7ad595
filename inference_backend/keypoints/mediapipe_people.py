"""Several people with MediaPipe's own models: BlazePose's detector asked again with found people painted over.

The wheel's person detector answers with the most prominent person only, whatever else is in the image. Painted
over, that person is gone and it answers with the next one. Each person's points then come from a crop of their own
that follows them from image to image, like MediaPipe's graph does for its one person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import mediapipe_runtime as runtime
from .detector import Detection
from .mediapipe_pose import detection_of

_FIND = """
input_stream: "image" output_stream: "detections"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""
_POINTS = """
input_stream: "image" input_stream: "roi" input_side_packet: "complexity"
output_stream: "landmarks" output_stream: "world" output_stream: "next_roi"
node {
  calculator: "PoseLandmarkByRoiCpu"
  input_side_packet: "MODEL_COMPLEXITY:complexity" input_stream: "IMAGE:image" input_stream: "ROI:roi"
  output_stream: "LANDMARKS:landmarks" output_stream: "AUXILIARY_LANDMARKS:aux" output_stream: "WORLD_LANDMARKS:world"
}
node { calculator: "ImagePropertiesCalculator" input_stream: "IMAGE:image" output_stream: "SIZE:size" }
node {
  calculator: "PoseLandmarksToRoi" input_stream: "LANDMARKS:aux" input_stream: "IMAGE_SIZE:size"
  output_stream: "ROI:next_roi"
}
"""
_SEARCH = 6  # images between two searches for people who are not followed yet
_TILES = 5  # every n-th search also looks at tiles, for people too small in the whole image
# Measured on five clips: people's second look differs from the first by 0.002 to 0.02 of their circle's diameter,
# furniture's by 0.07 or gives nothing.
_STABLE = 0.04
_GREY = 127
_SAME = 0.07  # mean distance of two poses' points, body sizes, below which they are one person's
_LIMB = 0.07  # half width of a painted limb, body sizes
_LIMBS = ((11, 12), (11, 23), (12, 24), (23, 24), (11, 24), (12, 23), (11, 13), (13, 15), (12, 14), (14, 16), (23, 25),
          (25, 27), (24, 26), (26, 28), (27, 31), (28, 32), (0, 11), (0, 12))  # fmt: skip


class _PersonFinder:
    """BlazePose's person detector."""

    def __init__(self) -> None:
        """Raises GentgError("missing_dependency") if MediaPipe or one of its models is absent."""
        runtime.load()
        from mediapipe.python.solution_base import SolutionBase

        with runtime.quiet():
            self._graph = SolutionBase(graph_config=_FIND)
            self._graph.process(np.zeros((64, 64, 3), np.uint8))

    def first(self, image: np.ndarray) -> Candidate | None:
        """The most certain person of an (H, W, 3) uint8 RGB image; furniture may look like one."""
        found = self._graph.process(np.ascontiguousarray(image)).detections
        if not found:
            return None
        best = max(found, key=lambda d: d.score[0])
        hip, rim = best.location_data.relative_keypoints[:2]
        height, width = image.shape[:2]
        return Candidate(np.array([hip.x * width, hip.y * height]), np.array([rim.x * width, rim.y * height]))

    def close(self) -> None:
        self._graph.close()


@dataclass(frozen=True)
class Candidate:
    """Where BlazePose's detector sees a person: a circle around the hips that holds the whole body."""

    hip: np.ndarray  # (2,) pixels
    rim: np.ndarray  # (2,) pixels: on the circle, beyond the head

    @property
    def box(self) -> np.ndarray:
        """(4,) x0, y0, x1, y1 pixels, about the body's: a standing person is narrower than tall."""
        along = self.rim - self.hip
        reach = np.abs(along) + 0.6 * np.hypot(*along) * np.abs(along[::-1]) / max(np.hypot(*along), 1e-6)
        return np.concatenate([self.hip - reach, self.hip + reach])

    def moved(self, offset: tuple[int, int]) -> Candidate:
        return Candidate(self.hip + offset, self.rim + offset)


@dataclass
class _Followed:
    roi: Any  # NormalizedRect in which the next image is searched
    last: Detection


class MediapipePeople:
    """Detector of all people in an image, at most `most`, with 33 points and 3D each.

    Images come in order; `reset` says that the next one is unrelated to those before.
    """

    name, layout, max_size, follows = "mediapipe-people", "blazepose33", 720, True

    def __init__(self, most: int = 6) -> None:
        """Raises GentgError("missing_dependency") if MediaPipe or one of its models is absent."""
        _, root = runtime.load()
        from mediapipe.framework.formats.rect_pb2 import NormalizedRect
        from mediapipe.python.solution_base import SolutionBase

        self.version, self.hashes = runtime.version(), runtime.hashes(root)
        self._most, self._rect = most, NormalizedRect
        self._finder = _PersonFinder()
        with runtime.quiet():
            self._points = SolutionBase(graph_config=_POINTS, side_inputs={"complexity": 1})
            whole = NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0)
            self._points.process({"image": np.zeros((64, 64, 3), np.uint8), "roi": whole})
        self.reset()

    def reset(self) -> None:
        """The next image has nothing to do with those before."""
        self._people: list[_Followed] = []
        self._count = 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Everybody in an (H, W, 3) uint8 RGB image, the largest first."""
        if self._points is None:
            raise RuntimeError("the detector is closed")
        self._people = self._follow(image)
        if self._count % _SEARCH == 0 or not self._people:
            self._people += self._search(
                image, [p.last for p in self._people], self._most, self._count % (_SEARCH * _TILES) == 0
            )
        self._count += 1
        self._people.sort(key=lambda p: -_middle_and_size(p.last.keypoints)[1])
        return [p.last for p in self._people]

    def somebody_besides(self, image: np.ndarray, known: list[Detection]) -> bool:
        """Whether an image, on its own, shows a person who is not among the `known` ones."""
        return bool(self._search(image, known, len(known) + 1, tiles=True))

    def sees_several(self, image: np.ndarray, found: list[Detection]) -> bool:
        """Whether an image shows more people than one: this detector has found them all."""
        return len(found) > 1

    def clone(self) -> MediapipePeople:
        return MediapipePeople(self._most)

    def close(self) -> None:
        for part in (self._points, self._finder):
            if part is not None:
                part.close()
        self._points = self._finder = None

    # ------------------------------------------------------------------ following

    def _follow(self, image: np.ndarray) -> list[_Followed]:
        """The followed people in the next image, without those who were lost."""
        after: list[tuple[float, _Followed]] = []
        for person in self._people:
            others = [p.last for p in self._people if p is not person and _near(person.roi, p.last, image)]
            found = self._in_roi(without(image, person.last, others) if others else image, person.roi)
            if found is not None:
                middle, size = _middle_and_size(person.last.keypoints)
                moved = float(np.hypot(*(_middle_and_size(found.last.keypoints)[0] - middle))) / size
                after.append((moved, found))
        # A crop may slip onto somebody who has a crop already; the owner moved less.
        after.sort(key=lambda pair: pair[0])
        kept: list[_Followed] = []
        for _, person in after:
            if not any(_same(person.last, other.last) for other in kept):
                kept.append(person)
        return kept

    def _in_roi(self, image: np.ndarray, roi: Any) -> _Followed | None:
        height, width = image.shape[:2]
        if runtime.first_person.is_set():
            result = self._points.process({"image": image, "roi": roi})
        else:
            with runtime.quiet():
                result = self._points.process({"image": image, "roi": roi})
        if result.landmarks is None or result.next_roi is None:
            return None
        runtime.first_person.set()
        return _Followed(result.next_roi, detection_of(result.landmarks, result.world, width, height))

    # ------------------------------------------------------------------ searching

    def _search(self, image: np.ndarray, known: list[Detection], most: int, tiles: bool) -> list[_Followed]:
        """People besides the `known` ones, no more than `most` together with them."""
        rest = image.copy()
        for person in known:
            _paint_box(rest, person.box)
        new: list[_Followed] = []
        for x0, y0, x1, y1 in windows(*image.shape[:2], tiles):
            for _ in range(most + 2):  # a few finds may be furniture
                full = len(known) + len(new) >= most
                candidate = None if full else self._finder.first(rest[y0:y1, x0:x1])
                if candidate is None:
                    break
                candidate = candidate.moved((x0, y0))
                found = self._confirmed(image, candidate)
                if found is None or any(_same(found.last, p) for p in (*known, *(n.last for n in new))):
                    _paint_box(rest, candidate.box)
                    continue
                new.append(found)
                _paint_box(rest, found.last.box)
                _paint_spot(rest, candidate)  # else a box that misses it would let the same find come again
        return new

    def _confirmed(self, image: np.ndarray, candidate: Candidate) -> _Followed | None:
        """The candidate's points, if a second look at where the first one puts them sees the same body."""
        first = self._in_roi(image, self._roi_of(candidate, image.shape))
        second = None if first is None else self._in_roi(image, first.roi)
        if first is None or second is None:
            return None
        moved = np.hypot(*(first.last.keypoints[:, :2] - second.last.keypoints[:, :2]).T).mean()
        return second if moved < _STABLE * 2.0 * np.hypot(*(candidate.rim - candidate.hip)) else None

    def _roi_of(self, candidate: Candidate, shape: tuple[int, ...]) -> Any:
        """The crop for a new person (AlignmentPointsRectsCalculator and RectTransformationCalculator of MediaPipe)."""
        x, y = candidate.rim - candidate.hip
        side = 2.0 * math.hypot(x, y) * 1.25
        return self._rect(
            x_center=candidate.hip[0] / shape[1], y_center=candidate.hip[1] / shape[0], width=side / shape[1],
            height=side / shape[0], rotation=math.pi / 2 - math.atan2(-y, x),
        )  # fmt: skip


def without(image: np.ndarray, person: Detection, others: list[Detection]) -> np.ndarray:
    """A copy of the image with the other people's bodies grey, except where `person`'s own body is."""
    import cv2

    height, width = image.shape[:2]
    scale = 0.25
    hidden, own = (np.zeros((round(height * scale), round(width * scale)), np.uint8) for _ in range(2))

    def draw(mask: np.ndarray, body: Detection, wider: float) -> None:
        _, size = _middle_and_size(body.keypoints)
        points = np.clip(body.keypoints[:, :2] * scale, -4000, 4000).round().astype(int)
        thickness = max(1, round(2 * _LIMB * wider * size * scale))
        for a, b in _LIMBS:
            cv2.line(mask, points[a].tolist(), points[b].tolist(), 255, thickness)
        cv2.circle(mask, points[0].tolist(), max(1, round(0.1 * wider * size * scale)), 255, -1)

    for other in others:
        draw(hidden, other, 1.0)
    draw(own, person, 1.3)
    hidden[own > 0] = 0
    out = image.copy()
    out[cv2.resize(hidden, (width, height), interpolation=cv2.INTER_NEAREST) > 0] = _GREY
    return out


def windows(height: int, width: int, tiles: bool) -> list[tuple[int, int, int, int]]:
    """Where to look for people, (x0, y0, x1, y1): the whole image and, with `tiles`, overlapping squares along its
    longer side, since in the whole image the detector overlooks people below a fifth of it."""
    side, longer = min(height, width), max(height, width)
    out = [(0, 0, width, height)]
    if tiles and longer >= 1.2 * side:
        count = math.ceil((longer - side) / (side / 2)) + 1
        starts = np.linspace(0, longer - side, count).round().astype(int).tolist()
        out += [(s, 0, s + side, side) if width >= height else (0, s, side, s + side) for s in starts]
    return out


def _paint_spot(image: np.ndarray, candidate: Candidate) -> None:
    """Grey the middle of a candidate, in place."""
    reach = 0.25 * float(np.hypot(*(candidate.rim - candidate.hip)))
    _paint_box(image, np.concatenate([candidate.hip - reach, candidate.hip + reach]))


def _paint_box(image: np.ndarray, box: np.ndarray) -> None:
    """Grey a body's box and a little around it, in place."""
    margin = 0.08 * max(box[2] - box[0], box[3] - box[1])
    x0, y0 = np.maximum(box[:2] - margin, 0).astype(int)
    x1, y1 = np.maximum(box[2:] + margin, 0).astype(int)
    image[y0:y1, x0:x1] = _GREY


def _middle_and_size(points: np.ndarray) -> tuple[np.ndarray, float]:
    """(2,) middle of the torso in pixels, and about the standing height (shares as in tracking.py)."""
    left, right, left_hip, right_hip = points[[11, 12, 23, 24], :2]
    length = np.hypot(*(left + right - left_hip - right_hip)) / 2
    size = max(float(length) / 0.29, float(np.hypot(*(left - right))) / 0.21, 1.0)
    return (left + right + left_hip + right_hip) / 4, size


def _same(a: Detection, b: Detection) -> bool:
    """Whether two sets of points lie on one body."""
    size = max(_middle_and_size(a.keypoints)[1], _middle_and_size(b.keypoints)[1])
    apart = np.hypot(*(a.keypoints[:, :2] - b.keypoints[:, :2]).T).mean()
    return bool(apart < _SAME * size)


def _near(roi: Any, other: Detection, image: np.ndarray) -> bool:
    """Whether the other's box reaches into the crop (a rotated square: its circle is taken)."""
    height, width = image.shape[:2]
    centre = np.array([roi.x_center * width, roi.y_center * height])
    radius = 0.5 * math.sqrt(2.0) * roi.width * width
    nearest = np.clip(centre, other.box[:2], other.box[2:])
    return bool(np.hypot(*(nearest - centre)) < radius)
