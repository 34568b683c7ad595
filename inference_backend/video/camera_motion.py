"""How the camera turned during a shot, from the background: pans, tilts and rolls of a camera that stays in its place.

A camera that turns about its centre moves every point of the image by the homography K R K^-1, whatever the
point's distance (Hartley and Zisserman, Multiple View Geometry, section 8.4), so that the rotation is found from
matched rays alone. A camera that travels moves near and far points differently: fewer features agree, and the
confidence says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .decode import decode
from .sequence import ImageSequence

Report = Callable[[str, int, int | None], None]

SIZE = 640  # longer side in pixels of the images that are compared
_FEATURES, _ENOUGH = 400, 30
_WINDOW = (21, 21)
_BACK = 1.0  # pixels by which a feature followed back may miss where it began
_AGREE = 1.5  # pixels by which a feature may miss the common rotation
_TRIES = 200  # pairs of features tried for it
_REFRESH = 0.5  # share of a key image's features below which the next image becomes the key
_MARGIN = 0.12  # of a person's box, left out around it


@dataclass(frozen=True)
class CameraMotion:
    """T frames. A direction d in the first camera's axes (x right, y down, z forward) is `rotations[t] @ d` in frame t's.

    With a world-to-camera rotation R of the first frame, that of frame t is `rotations[t] @ R`.
    """

    rotations: np.ndarray  # (T, 3, 3), the first one is the identity
    confidence: (
        np.ndarray
    )  # (T,) 0..1: share of the background that turned as one, low where there is little of it

    @property
    def angles(self) -> np.ndarray:
        """(T,) radians turned since the first frame."""
        trace = np.trace(self.rotations, axis1=1, axis2=2)
        return np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))


def estimate_camera_motion(
    source: str | os.PathLike | ImageSequence,
    K: np.ndarray,
    image_size: tuple[int, int],
    frames: np.ndarray,
    boxes: np.ndarray,
    report: Report = lambda stage, done, total: None,
) -> CameraMotion:
    """Rotation of the camera in the source's frames numbered `frames` (T,), increasing.

    `K` (3, 3) belongs to the upright image of `image_size` (width, height); `boxes` (T, 4) x0, y0, x1, y1 in its
    pixels cover who moves in front of the background, NaN where nobody is. `report` gets ("camera", frames done, T).
    A wrong focal length scales the angles: twice the focal length halves them.
    Raises what video.decode raises, and ValueError unless one box comes with each frame.
    """
    frames, boxes = np.asarray(frames), np.asarray(boxes, float)
    if boxes.shape != (len(frames), 4):
        raise ValueError(f"{len(frames)} frames need boxes of shape ({len(frames)}, 4), not {boxes.shape}")
    tracker, row = None, 0
    short = max(1, round(SIZE * min(image_size) / max(image_size)))
    images = decode(source, max_size=short, warn=lambda text: None)
    try:
        for frame in images:
            while row < len(frames) and frames[row] < frame.index:  # an image that cannot be decoded any more
                row += 1
                if tracker is not None:
                    tracker.skip()
            if row == len(frames):
                break
            if frames[row] != frame.index:
                continue
            scale = np.array([frame.image.shape[1] / image_size[0], frame.image.shape[0] / image_size[1]])
            if tracker is None:
                tracker = RotationTracker(np.diag([*scale, 1.0]) @ K)
                for _ in range(row):
                    tracker.skip()
            tracker.add(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), boxes[row] * np.tile(scale, 2))
            row += 1
            report("camera", row, len(frames))
    finally:
        images.close()
    if tracker is None:
        tracker = RotationTracker(K)
    for _ in range(len(frames) - row):
        tracker.skip()
    return tracker.motion()


class RotationTracker:
    """Feeds on images in order; `K` (3, 3) is that of these images.

    Every image is compared with a key image, which is replaced when too little of its background is left: a
    still camera is compared with its first image for ever and does not drift.
    """

    def __init__(self, K: np.ndarray):
        self._K, self._inverse = K, np.linalg.inv(K)
        self._rotations: list[np.ndarray] = []
        self._confidence: list[float] = []
        self._key: _Key | None = None
        self._random = np.random.default_rng(0)

    def motion(self) -> CameraMotion:
        """What was found so far."""
        rotations = np.array(self._rotations).reshape(-1, 3, 3)
        return CameraMotion(rotations, np.array(self._confidence))

    def skip(self) -> None:
        """A frame without an image: the camera is taken to stay as it was, without confidence."""
        self._rotations.append(self._rotations[-1] if self._rotations else np.eye(3))
        self._confidence.append(0.0)

    def add(self, grey: np.ndarray, box: np.ndarray) -> None:
        """The next (H, W) uint8 image and the box (4,) of who moves in it, NaN for nobody."""
        last = self._rotations[-1] if self._rotations else np.eye(3)
        if self._key is None:
            self._rotations.append(last)
            self._confidence.append(1.0 if not self._rotations[:-1] else 0.0)
            self._key = self._new_key(grey, box, last)
            return
        key = self._key
        points, found, alive = self._follow(grey, box, last)
        turn, agreeing = self._rotation(key.rays[alive], found[alive])
        if turn is None:
            # Lost: a cut, a covered lens, a wall without texture. The rotation across it is not known.
            self.skip()
            self._key = self._new_key(grey, box, self._rotations[-1])
            return
        self._rotations.append(turn @ key.rotation)
        self._confidence.append(float(agreeing / max(alive.sum(), 1) * min(1.0, agreeing / (2 * _ENOUGH))))
        if agreeing < _REFRESH * len(points):
            self._key = self._new_key(grey, box, self._rotations[-1])

    def _new_key(self, grey: np.ndarray, box: np.ndarray, rotation: np.ndarray) -> _Key | None:
        mask = np.full(grey.shape, 255, np.uint8)
        if np.isfinite(box).all():
            x0, y0, x1, y1 = _widened(box)
            mask[max(int(y0), 0) : max(int(y1), 0), max(int(x0), 0) : max(int(x1), 0)] = 0
        points = cv2.goodFeaturesToTrack(grey, _FEATURES, 0.005, 8, mask=mask)
        if points is None or len(points) < _ENOUGH:
            return None
        points = cv2.cornerSubPix(
            grey, points, (3, 3), (-1, -1), (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
        ).reshape(-1, 2)
        return _Key(grey, points, self._rays(points), rotation)

    def _follow(
        self, grey: np.ndarray, box: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the key image, their rays (N, 3) in this one, and which of them were found again."""
        key = self._key
        guess = self._project(key.rays @ (last @ key.rotation.T).T)
        start = np.ascontiguousarray(guess, np.float32)
        first = np.ascontiguousarray(key.points, np.float32)
        flags = cv2.OPTFLOW_USE_INITIAL_FLOW
        now, ok, _ = cv2.calcOpticalFlowPyrLK(
            key.grey, grey, first, start.copy(), winSize=_WINDOW, maxLevel=3, flags=flags
        )
        back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
            grey, key.grey, now, first.copy(), winSize=_WINDOW, maxLevel=3, flags=flags
        )
        alive = (ok[:, 0] > 0) & (ok_back[:, 0] > 0) & (np.hypot(*(back - first).T) < _BACK)
        height, width = grey.shape
        alive &= ((now >= 0) & (now < (width, height))).all(axis=1)
        if np.isfinite(box).all():
            wide = _widened(box)
            alive &= ~((now > wide[:2]) & (now < wide[2:])).all(axis=1)
        return first, self._rays(now), alive

    def _rotation(self, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray | None, int]:
        """The rotation that most rays share, after = R before, and how many share it; None if too few do."""
        if len(before) < _ENOUGH:
            return None, 0
        limit = _AGREE / self._K[0, 0]  # radians
        first = self._random.integers(0, len(before), _TRIES)
        second = (first + self._random.integers(1, len(before), _TRIES)) % len(before)
        pairs = np.stack([first, second], axis=1)
        candidates = _kabsch(before[pairs], after[pairs])
        # |R b - a| < limit, as |R b - a|^2 = 2 - 2 a . R b of unit vectors
        near = (
            candidates.reshape(_TRIES, 9) @ (after[:, :, None] * before[:, None]).reshape(-1, 9).T
            > 1.0 - limit**2 / 2
        )
        inside = near[near.sum(axis=1).argmax()]
        rotation = np.eye(3)
        for _ in range(3):
            if inside.sum() < _ENOUGH:
                return None, 0
            rotation = _kabsch(before[inside][None], after[inside][None])[0]
            inside = np.linalg.norm(before @ rotation.T - after, axis=-1) < limit
        return rotation, int(inside.sum())

    def _rays(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) unit directions of pixels; OpenCV counts from the middle of the first pixel."""
        rays = np.column_stack([points + 0.5, np.ones(len(points))]) @ self._inverse.T
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def _project(self, rays: np.ndarray) -> np.ndarray:
        pixels = rays @ self._K.T
        return pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-6) - 0.5


@dataclass
class _Key:
    grey: np.ndarray
    points: np.ndarray  # (N, 2) pixels, OpenCV's
    rays: np.ndarray  # (N, 3)
    rotation: np.ndarray  # (3, 3) of its camera since the first frame


def _widened(box: np.ndarray) -> np.ndarray:
    margin = _MARGIN * float((box[2:] - box[:2]).max())
    return box + np.array([-margin, -margin, margin, margin])


def _kabsch(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(S, 3, 3) rotations with after ~ R before, least squares over (S, N, 3) rays each (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(np.einsum("sni,snj->sij", after, before))
    sign = np.sign(np.linalg.det(u @ vt))
    u[..., -1] *= sign[:, None]
    return u @ vt
