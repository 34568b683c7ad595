"""What the images themselves allow: sharpness of the person, other people, a moving camera.

Measured on a few images a minute while detection runs, at low resolution: two to four hundredths of its time.
`gentg_blender.core.filming_check` turns the summary into advice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from gentg_blender.core.skeleton import JOINT_PARENTS

from .detector import Detection
from .layouts import to_canonical

_CROP = 256  # pixels that a person's height is scaled down to: what the pose network sees
_CONFIDENT = 0.5  # confidence of the points that a limb is measured between
_SMALL = 240  # longer side in pixels of the images in which the background is followed
_APART = 0.2  # seconds between the two images of a pair: lets slow pans show
_FEATURES, _ENOUGH = 150, 12
_AGREE = 0.5  # share of the background that must move as one for the motion to be the camera's
_EDGE = 1.0  # pixels of the small image by which a feature may miss that motion


@dataclass(frozen=True)
class FootageSample:
    """One look at the footage; None = could not be measured."""

    time: float  # seconds
    blur: float | None  # 0 (razor sharp) to 1, of the person
    others: bool | None  # whether there are more people than one
    camera: float | None  # speed of the background, image widths per second


class FootageMeter:
    """Sees every image of a stretch and looks closer at one every `every` seconds.

    `others` (as of MultiPersonHint) costs more than all else together, so it is asked every `others_every` seconds.
    """

    def __init__(
        self,
        every: float,
        layout: str,
        others: Callable[[np.ndarray, list[Detection]], bool] | None,
        others_every: float,
    ):
        self.looks: list[FootageSample] = []
        self._every, self._layout, self._others, self._others_every = every, layout, others, others_every
        self._next = self._next_others = -math.inf
        self._pair: tuple[float, np.ndarray, np.ndarray, FootageSample] | None = (
            None  # time, image, mask, look so far
        )

    def see(self, time: float, image: np.ndarray, found: list[Detection]) -> None:
        """The next (H, W, 3) uint8 RGB image and the people found in it (its pixels)."""
        if self._pair is not None and time >= self._pair[0] + _APART - 1e-6:
            before, first, mask, look = self._pair
            self._pair = None
            speed = None
            if time - before < 2 * _APART:  # no gap between the images
                shift = background_shift(first, small_grey(image), mask)
                speed = None if shift is None else shift / (time - before)
            self.looks[-1] = FootageSample(look.time, look.blur, look.others, speed)
        if time >= self._next - 1e-6:
            self._next = time + self._every
            people = [to_canonical(d.keypoints, self._layout) for d in found]
            blur = person_blur(image, people[0]) if people else None
            others = None
            if self._others is not None and time >= self._next_others - 1e-6:
                others, self._next_others = self._others(image, found), time + self._others_every
            self.looks.append(FootageSample(time, blur, others, None))
            small = small_grey(image)
            self._pair = (
                time,
                small,
                background_mask(small, image.shape, [d.box for d in found]),
                self.looks[-1],
            )


def summarise(looks: list[FootageSample]) -> dict[str, Any]:
    """What is kept of the looks, as JSON values; a measure that nothing supports is None.

    `looks`: how many; `blur`: median over the looks, 0..1; `others`: share of the looks that show more people than
    one, of those that were looked through for them; `camera_speed`, `camera_speed_90`: median and 90th percentile of the
    background's motion, image widths per second.
    """
    blur = [k.blur for k in looks if k.blur is not None]
    others = [k.others for k in looks if k.others is not None]
    camera = [k.camera for k in looks if k.camera is not None]
    steady = len(camera) >= max(2, len(looks) // 4)
    return {
        "looks": len(looks),
        "blur": _rounded(np.median(blur)) if blur else None,
        "others": _rounded(np.mean(others)) if others else None,
        "camera_speed": _rounded(np.median(camera)) if steady else None,
        "camera_speed_90": _rounded(np.percentile(camera, 90)) if steady else None,
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)


# --------------------------------------------------------------------------- blur


def person_blur(image: np.ndarray, points: np.ndarray) -> float | None:
    """Blur of a person in an (H, W, 3) uint8 RGB image, 0 (sharp) to 1; None if too little of them shows.

    `points` (35, 3) canonical joints in its pixels. The measure of Crete et al. 2007, "The blur effect: perception
    and estimation with a new no-reference perceptual blur metric": how much of the differences between neighbouring
    pixels stays when the image is blurred once more; the worse of both directions, so that motion blur counts.
    Taken on the body and its outline alone, at the size that the pose network sees.
    """
    confident = points[:, 2] >= _CONFIDENT
    if confident.sum() < 6:
        return None
    low, high = points[confident, :2].min(axis=0), points[confident, :2].max(axis=0)
    extent = float((high - low).max())
    if extent < 32:
        return None
    low, high = low - 0.1 * extent, high + 0.1 * extent
    x0, y0 = np.clip(np.floor(low), 0, image.shape[1::-1]).astype(int)
    x1, y1 = np.clip(np.ceil(high), 0, image.shape[1::-1]).astype(int)
    if min(x1 - x0, y1 - y0) < 16:
        return None
    scale = min(1.0, _CROP / extent)
    crop = image[y0:y1, x0:x1]
    if scale < 1.0:
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    body = np.zeros(grey.shape, np.uint8)
    places = ((points[:, :2] - (x0, y0)) * scale).round().astype(int)
    for joint, parent in enumerate(JOINT_PARENTS):
        if parent >= 0 and confident[joint] and confident[parent]:
            cv2.line(
                body,
                places[joint].tolist(),
                places[parent].tolist(),
                255,
                max(3, round(0.12 * extent * scale)),
            )
    if (body > 0).sum() < 500:
        return None
    return max(_blur_along(grey, body > 0, axis) for axis in (0, 1))


def _blur_along(grey: np.ndarray, where: np.ndarray, axis: int) -> float:
    again = cv2.blur(grey, (1, 9) if axis == 0 else (9, 1))
    differences = np.abs(np.diff(grey, axis=axis))
    lost = np.maximum(0.0, differences - np.abs(np.diff(again, axis=axis)))
    inside = where[1:] if axis == 0 else where[:, 1:]
    total = float(differences[inside].sum())
    return 1.0 if total == 0.0 else (total - float(lost[inside].sum())) / total


# --------------------------------------------------------------------------- camera


def small_grey(image: np.ndarray) -> np.ndarray:
    """(h, w) uint8 whose longer side is 240 pixels at most."""
    scale = min(1.0, _SMALL / max(image.shape[:2]))
    small = (
        cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1.0 else image
    )
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def background_mask(small: np.ndarray, shape: tuple[int, ...], boxes: list[np.ndarray]) -> np.ndarray:
    """Like `small`, uint8: 0 on people's boxes and around. `boxes` are in pixels of the full image of `shape`."""
    scale = small.shape[1] / shape[1]
    mask = np.full(small.shape[:2], 255, np.uint8)
    for box in boxes:
        margin = 0.1 * float(max(box[2] - box[0], box[3] - box[1]))
        x0, y0 = np.maximum((box[:2] - margin) * scale, 0).astype(int)
        x1, y1 = np.maximum((box[2:4] + margin) * scale, 0).astype(int)
        mask[y0 : y1 + 1, x0 : x1 + 1] = 0
    return mask


def background_shift(first: np.ndarray, then: np.ndarray, mask: np.ndarray) -> float | None:
    """How far the background moved between two small images, in image widths: mean over the image.

    Features where the mask is not 0 are followed (Lucas-Kanade); the similarity that most of them share is the
    camera's motion, whatever moves otherwise. None where too few features or too little agreement is found.
    """
    if first.shape != then.shape:
        return None
    points = cv2.goodFeaturesToTrack(first, _FEATURES, 0.01, 5, mask=mask)
    if points is None or len(points) < _ENOUGH:
        return None
    moved, ok, _ = cv2.calcOpticalFlowPyrLK(first, then, points, None, winSize=(15, 15), maxLevel=3)
    good = ok[:, 0] > 0
    if good.sum() < _ENOUGH:
        return None
    matrix, inside = cv2.estimateAffinePartial2D(
        points[good], moved[good], method=cv2.RANSAC, ransacReprojThreshold=_EDGE, maxIters=500
    )
    if matrix is None or inside.sum() < max(_ENOUGH, _AGREE * len(points)):
        return None
    height, width = first.shape
    grid = np.stack(np.meshgrid([0.2, 0.5, 0.8], [0.2, 0.5, 0.8]), axis=-1).reshape(-1, 2) * (width, height)
    return float(np.hypot(*(grid @ matrix[:, :2].T + matrix[:, 2] - grid).T).mean()) / width
