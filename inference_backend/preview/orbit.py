"""A 3D pose seen from a camera that circles it, over a floor grid. Perspective by hand, drawing by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from inference_backend.preview.draw import Figure

BACKGROUND = (30, 32, 37)
_GRID = (66, 70, 78)
_GRID_STEP, _GRID_REACH = 0.5, 4.0  # metres
_NEAR = 0.2  # metres before the eye


@dataclass(frozen=True)
class Eye:
    """A camera that looks at `target` (3,) metres from `azimuth` and `elevation` (radians), Z up.

    `azimuth` is the direction of view on the floor, from +X towards +Y. `size` is (width, height) in pixels.
    """

    target: np.ndarray
    azimuth: float
    elevation: float = 0.18
    distance: float = 4.6
    focal: float = 1.9  # in image heights
    size: tuple[int, int] = (720, 720)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) world -> pixels (N, 2) and depth (N,) metres; points behind the eye are NaN."""
        ca, sa, ce, se = (
            np.cos(self.azimuth),
            np.sin(self.azimuth),
            np.cos(self.elevation),
            np.sin(self.elevation),
        )
        axes = np.array(
            [[sa, -ca, 0.0], [-se * ca, -se * sa, -ce], [ce * ca, ce * sa, -se]]
        )  # right, down, forward
        local = (points - self.target) @ axes.T + [0.0, 0.0, self.distance]
        depth = local[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = local[:, :2] / depth[:, None] * self.focal * self.size[1] + np.array(self.size) / 2
        pixels[depth < _NEAR] = np.nan
        return pixels, depth

    def figure(
        self,
        names: tuple[str, ...],
        xyz: np.ndarray,
        certainty: np.ndarray | None = None,
        planted: tuple[str, ...] = (),
    ) -> Figure:
        """A world pose (J, 3) ready for `draw_figure`."""
        pixels, depth = self.project(xyz)
        return Figure(
            names, pixels, depth, self.focal * self.size[1] / np.maximum(depth, _NEAR), certainty, planted
        )

    def canvas(self) -> np.ndarray:
        """An empty image with the floor's grid (z = 0, lines every half metre)."""
        image = np.full((self.size[1], self.size[0], 3), BACKGROUND, np.uint8)
        middle = np.round(self.target[:2] / _GRID_STEP) * _GRID_STEP
        marks = np.arange(-_GRID_REACH, _GRID_REACH + 1e-6, _GRID_STEP)
        along = np.linspace(-_GRID_REACH, _GRID_REACH, 33)  # short pieces: one end may lie behind the eye
        for axis in range(2):
            for mark in marks:
                line = np.zeros((len(along), 3))
                line[:, axis], line[:, 1 - axis] = middle[axis] + mark, middle[1 - axis] + along
                pixels, _ = self.project(line)
                good = np.isfinite(pixels).all(1) & (np.abs(pixels) < 1e4).all(1)
                for piece in np.split(np.arange(len(line)), np.flatnonzero(~good)):
                    run = [k for k in piece if good[k]]
                    if len(run) > 1:
                        path = np.round(pixels[run] * 16).astype(np.int32)
                        cv2.polylines(image, [path[:, None]], False, _GRID, 1, cv2.LINE_AA, 4)
        return image
