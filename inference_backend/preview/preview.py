"""The capture over its video: an mp4 with the source's timing, and the most telling frame as an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gentg_blender.core.contract import Capture, GentgError, atomic_file
from inference_backend.preview.draw import (
    Figure,
    certainty_of,
    draw_figure,
    draw_label,
    draw_legend,
    planted_names,
)  # fmt: skip
from inference_backend.video.decode import decode
from inference_backend.video.write import VideoWriter

if TYPE_CHECKING:
    from inference_backend.video.sequence import ImageSequence

Report = Callable[[str, int, int | None], None]
SHORTER_SIDE = 720  # pixels: previews are for looking at, and encode fast
_MIN_DEPTH = 0.05  # metres: points nearer than this, or behind the camera, have no place in the image


def render_preview(
    source: Path | ImageSequence,
    capture: Capture,
    out_mp4: Path | None = None,
    still_png: Path | None = None,
    report: Report | None = None,
) -> None:
    """Draw the capture's 3D skeleton, projected, over its clip.

    `out_mp4`: H.264, each frame at the source's own time, the captured range only, the shorter side at most
    SHORTER_SIDE. `still_png`: the one frame of `telling_frame`. Raises GentgError.
    """
    row_of = {int(f): i for i, f in enumerate(capture.frames)}
    last, best = int(capture.frames[-1]), telling_frame(capture)
    begin, step = float(capture.timestamps[0]), 1.0 / max(float(capture.fps), 1e-6)
    begin = max(0.0, begin - step / 2) if begin > 0 else None
    if out_mp4 is None and still_png is None:
        raise ValueError("neither a video nor a still is asked for")
    start = begin if out_mp4 is not None else max(0.0, float(capture.timestamps[best]) - step / 2)
    drawn, writer = 0, None
    frames = decode(
        source, start=start or None, end=float(capture.timestamps[-1]) + step / 2, max_size=SHORTER_SIDE
    )
    try:
        for frame in frames:
            row = row_of.get(frame.index)
            if row is None and frame.index > last:
                break
            if row is None:
                continue
            image = draw_on_frame(frame.image.copy(), capture, row)
            if row == best and still_png is not None:
                save_png(still_png, image)
                if out_mp4 is None:
                    return
            if out_mp4 is not None:
                if writer is None:
                    writer = VideoWriter(out_mp4, (image.shape[1], image.shape[0])).__enter__()
                writer.add(image, frame.time - float(capture.timestamps[0]) if begin else frame.time)
            drawn += 1
            if report:
                report("preview", drawn, len(capture))
        if drawn == 0:
            raise GentgError("bad_request", "The capture shares no frame with the video.",
                             hint="Give the clip that the capture was made from.")  # fmt: skip
    except BaseException as error:
        if writer is not None:
            writer.__exit__(type(error), error, error.__traceback__)
        raise
    else:
        if writer is not None:
            writer.__exit__(None, None, None)
    finally:
        frames.close()


def figure_over_video(capture: Capture, row: int, size: tuple[int, int]) -> Figure:
    """The pose of row `row` as it projects into an image of `size` (width, height)."""
    factor = np.array(size, float) / capture.image_size
    K = capture.K.astype(float)
    xyz = capture.xyz_camera[row].astype(float)
    z = np.maximum(xyz[:, 2], _MIN_DEPTH)
    pixels = (xyz[:, :2] / z[:, None] * np.diag(K)[:2] + K[:2, 2]) * factor
    pixels[xyz[:, 2] < _MIN_DEPTH] = np.nan
    return Figure(
        tuple(capture.names.tolist()), pixels, xyz[:, 2], K[0, 0] / z * factor[0], certainty_of(capture.sigma[row]),
        planted_names(capture.contacts[row], capture.contact_names),
    )  # fmt: skip


def draw_on_frame(image: np.ndarray, capture: Capture, row: int) -> np.ndarray:
    """Skeleton, legend, frame number and time onto an RGB image; returns it."""
    if capture.seen[row]:
        draw_figure(image, figure_over_video(capture, row, (image.shape[1], image.shape[0])))
    draw_legend(image)
    gap = "" if capture.seen[row] else "   not seen"
    draw_label(image, f"frame {capture.frames[row]}   {capture.timestamps[row]:.2f} s{gap}")
    return image


def telling_frame(capture: Capture) -> int:
    """The row that shows best what was captured: limbs spread over the image, everything certain and inside it.

    The pose's spread is the area that its projected joints cover; each joint outside the image or uncertain
    lowers the value.
    """
    rows = np.flatnonzero(capture.seen)
    if not len(rows):
        return 0
    size = capture.image_size.astype(float)
    value = np.full(len(capture), -np.inf)
    for row in rows:
        figure = figure_over_video(capture, row, (int(size[0]), int(size[1])))
        inside = (
            np.isfinite(figure.pixels).all(-1) & (figure.pixels > 0).all(-1) & (figure.pixels < size).all(-1)
        )
        if inside.sum() < 3:
            continue
        area = cv2.contourArea(cv2.convexHull(figure.pixels[inside].astype(np.float32)))
        value[row] = np.sqrt(area) * inside.mean() ** 4 * figure.certainty.mean()
    return int(np.argmax(value)) if np.isfinite(value).any() else int(rows[len(rows) // 2])


def save_png(path: Path, image: np.ndarray) -> None:
    """Write an RGB image atomically. Raises GentgError: not_writable, no_space."""
    ok, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not ok:
        raise GentgError("internal", "The image could not be encoded.", file=path)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())
