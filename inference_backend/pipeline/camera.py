"""The camera's intrinsics: given, from the file's metadata, or assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gentg_blender.core.contract import EstimateSettings

SENSOR_MM = 36.0  # Blender's default sensor; its lens value fits the longer side of the image


@dataclass(frozen=True)
class Intrinsics:
    """K (3,3) for the upright image, pixels with (0, 0) at the outer corner of the first one."""

    K: np.ndarray
    origin: str  # "given" | "field of view" | "metadata" | "image diagonal" | "file"
    warning: str = ""

    @property
    def focal_px(self) -> float:
        return float(self.K[0, 0])


def focal_px_from_mm(focal_mm: float, size: tuple[int, int]) -> float:
    """Pixels from a lens in millimetres on a 36 mm sensor across the longer side, as Blender's camera has it."""
    return focal_mm * max(size) / SENSOR_MM


def matrix(focal_px: float, size: tuple[int, int]) -> np.ndarray:
    """(3,3) pinhole with square pixels and its principal point in the middle of the image (width, height)."""
    return np.array([[focal_px, 0.0, size[0] / 2], [0.0, focal_px, size[1] / 2], [0.0, 0.0, 1.0]])


def intrinsics(
    settings: EstimateSettings, size: tuple[int, int], stored_focal_px: float | None
) -> Intrinsics:
    """The best known camera for images of `size` (width, height)."""
    if settings.focal_px is not None:
        return Intrinsics(matrix(settings.focal_px, size), "given")
    if settings.fov is not None:
        return Intrinsics(matrix(size[0] / 2 / math.tan(settings.fov / 2), size), "field of view")
    if stored_focal_px is not None:
        return Intrinsics(matrix(stored_focal_px, size), "metadata")
    focal = math.hypot(*size)
    return Intrinsics(
        matrix(focal, size), "image diagonal",
        f"The focal length is not known and was assumed: {focal * SENSOR_MM / max(size):.0f} mm on a 36 mm sensor. "
        "Distances to the camera are only as right as that: give the focal length or the field of view if you know it.",
    )  # fmt: skip
