"""MediaPipe Pose (BlazePose, full model), the offline default: its models lie in its wheel."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from . import mediapipe_runtime as runtime
from .detector import Detection, box_of

_EMPTY = np.zeros((64, 64, 3), np.uint8)


class MediapipePose:
    """Detector of one person with 33 points and its own 3D. Per-frame mode: no smoothing that lags."""

    name, layout, max_size, follows = "mediapipe", "blazepose33", 720, True

    def __init__(self, others: _Others | None = None) -> None:
        """`others` is shared with the detector that this one was cloned by. Raises GentgError("missing_dependency")
        if MediaPipe or one of its models is absent."""
        solution, root = runtime.load()
        self.version = runtime.version()
        self.hashes = runtime.hashes(root)
        self._others, self._owns_others = others or _Others(), others is None
        with runtime.quiet():
            self._pose = solution.Pose(
                model_complexity=1,
                smooth_landmarks=False,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
            )
            # The graph starts in threads of its own; an empty image waits for them and their messages.
            self._pose.process(_EMPTY)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """At most one person in an (H, W, 3) uint8 RGB image."""
        if self._pose is None:
            raise RuntimeError("the detector is closed")
        if runtime.first_person.is_set():
            result = self._pose.process(image)
        else:
            with runtime.quiet():
                result = self._pose.process(image)
        if result.pose_landmarks is None:
            return []
        runtime.first_person.set()
        return [detection_of(result.pose_landmarks, result.pose_world_landmarks, *image.shape[1::-1])]

    def sees_several(self, image: np.ndarray, found: list[Detection]) -> bool:
        """Whether an image shows more people than one; `found` is who was found in it (pixels of this image)."""
        return self._others.there(image, found)

    def reset(self) -> None:
        """As a fresh one: all that the graph carries from image to image is where the person was, and an empty
        image shows nobody there."""
        if self._pose is None:
            raise RuntimeError("the detector is closed")
        if self._pose.process(_EMPTY).pose_landmarks is not None:
            self._pose.reset()

    def clone(self) -> MediapipePose:
        return MediapipePose(self._others)

    def close(self) -> None:
        if self._pose is not None:
            self._pose.close()
            self._pose = None
        if self._owns_others:
            self._others.close()


class _Others:
    """Looks for further people; loaded when first asked, once for all threads, which use it in turn."""

    def __init__(self) -> None:
        self._lock, self._people = threading.Lock(), None

    def there(self, image: np.ndarray, found: list[Detection]) -> bool:
        from .mediapipe_people import MediapipePeople

        with self._lock:
            if self._people is None:
                self._people = MediapipePeople()
            return bool(found) and self._people.somebody_besides(image, found)

    def close(self) -> None:
        with self._lock:
            if self._people is not None:
                self._people.close()
                self._people = None


def detection_of(landmarks: Any, world_landmarks: Any, width: int, height: int) -> Detection:
    """A `Detection` from MediaPipe's landmark lists of an image of this size."""
    points = np.array([(p.x * width, p.y * height, p.visibility) for p in landmarks.landmark])
    points[:, 2] = np.clip(points[:, 2], 1e-3, 1.0)  # 0 would mean that the point is absent
    world = np.array([(p.x, p.y, p.z) for p in world_landmarks.landmark])
    return Detection(points, float(points[:, 2].mean()), box_of(points), world)
