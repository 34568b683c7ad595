"""What a 2D pose detector is to the rest of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, slots=True)
class Detection:
    """One person in one image. Pixels have (0, 0) at the outer corner of the first pixel."""

    keypoints: np.ndarray  # (K, 3) x, y pixels and confidence 0..1, the detector's layout
    score: float  # 0..1 that this is a person
    box: np.ndarray  # (4,) x0, y0, x1, y1 pixels
    world: np.ndarray | None = None  # (K, 3) metres, hip-centred, camera axes, if the detector gives 3D
    appearance: np.ndarray | None = None  # (6, 3, 8) uint8 of appearance.describe; detectors leave it out


class Detector(Protocol):
    """Finds people in images. An instance serves one thread; it is closed after use."""

    name: str
    layout: str  # key of layouts.LAYOUTS
    version: str  # of the runtime
    hashes: dict[str, str]  # model file -> sha256, for caches and the result's record
    max_size: int  # shorter side in pixels above which images bring no more accuracy
    follows: bool  # it looks where the person was in the image before, so images must come in order

    def detect(self, image: np.ndarray) -> list[Detection]:
        """People in an (H, W, 3) uint8 RGB image."""

    def reset(self) -> None:
        """The next image has nothing to do with those before: go on as a fresh one would."""

    def clone(self) -> Detector:
        """A fresh one of the same kind, for another thread."""

    def close(self) -> None:
        """Free the models; safe to call twice."""


@runtime_checkable
class MultiPersonHint(Protocol):
    """A detector that can tell whether an image shows others than the person it follows."""

    def sees_several(self, image: np.ndarray, found: list[Detection]) -> bool:
        """Whether an (H, W, 3) uint8 RGB image in which these were `found` shows more people than one."""


def box_of(keypoints: np.ndarray, least: float = 0.1) -> np.ndarray:
    """(4,) bounds of the points (K, 3) with at least `least` confidence, or of all if none has it."""
    good = keypoints[keypoints[:, 2] >= least]
    points = good if len(good) >= 2 else keypoints
    return np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)])
