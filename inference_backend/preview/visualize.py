"""2D, 3D and a reference side by side: as mp4, gif or a png strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from gentg_blender.core.contract import Capture, GentgError, atomic_file
from inference_backend.preview.draw import (
    LEFT,
    MIDDLE,
    RIGHT,
    Figure,
    certainty_of,
    draw_figure,
    draw_label,
    draw_legend,
    draw_sigma_scale,
    planted_names,
    sigma_colours,
)  # fmt: skip
from inference_backend.preview.orbit import BACKGROUND, Eye
from inference_backend.preview.preview import figure_over_video, save_png
from inference_backend.video.decode import decode
from inference_backend.video.write import VideoWriter

Report = Callable[[str, int, int | None], None]
_FOLLOW = 0.5  # seconds over which the eye follows the person
_DIVIDER = (12, 13, 16)
_GIF_RATE, _GIF_COLOURS = 12.5, 128  # frames per second; gif times are in 1/100 s


@dataclass
class Other:
    """Poses to show beside the capture's: frame number -> (J, 3) metres in camera axes, with NaN for unknown."""

    title: str
    names: tuple[str, ...]
    poses: dict[int, np.ndarray]


@dataclass(frozen=True)
class View:
    """How it looks: `height` of the panels in pixels, the eye's `turn` in radians per second, `count` for strips.

    `colour` "side": left and right, uncertain limbs grey and thin; "sigma": the joints' standard deviation in metres.
    """

    height: int = 540
    turn: float = 0.3
    count: int = 6
    colour: str = "side"


def visualize(
    capture: Capture,
    out: Path,
    *,
    video: Path | None = None,
    other: Other | None = None,
    view: View = View(),
    report: Report | None = None,
) -> None:
    """Write `out` (.mp4, .gif or .png) with the panels: image with 2D and projected 3D, capture in 3D, `other` in 3D.

    Without `video` the first panel has a plain background; without `other` the third shows TGT before correction.
    A png holds `view.count` moments below each other. Raises GentgError.
    """
    suffix = out.suffix.lower()
    if suffix not in (".mp4", ".gif", ".png"):
        raise GentgError("bad_request", "A visualisation ends with .mp4, .gif or .png.", file=out)
    rows = np.arange(len(capture))
    if suffix == ".png":
        seen = np.flatnonzero(capture.seen) if capture.seen.any() else rows
        rows = seen[np.unique(np.linspace(0, len(seen) - 1, min(view.count, len(seen))).round().astype(int))]
    elif suffix == ".gif":
        rows = _thinned(capture.timestamps, 1.0 / _GIF_RATE)
    images = _images(capture, rows, video, other, view, report)
    if suffix == ".mp4":
        first = next(images)
        with VideoWriter(out, (first.shape[1], first.shape[0])) as writer:
            writer.add(first, 0.0)
            for row, image in zip(rows[1:], images, strict=True):
                writer.add(image, float(capture.timestamps[row] - capture.timestamps[0]))
    elif suffix == ".png":
        save_png(out, np.concatenate(list(images)))
    else:
        _save_gif(out, images, capture.timestamps[rows])


def _thinned(times: np.ndarray, step: float) -> np.ndarray:
    """Rows at least `step` seconds apart."""
    kept, last = [], -np.inf
    for row, time in enumerate(times):
        if time - last >= step - 1e-6:
            kept.append(row)
            last = time
    return np.array(kept)


def _images(
    capture: Capture,
    rows: np.ndarray,
    video: Path | None,
    other: Other | None,
    view: View,
    report: Report | None,
) -> Iterator[np.ndarray]:
    scale = view.height / int(capture.image_size[1])
    width = max(2, round(int(capture.image_size[0]) * scale))
    targets = _targets(capture)
    forward = capture.R[2]
    start = float(np.arctan2(forward[1], forward[0]))  # begins as the camera saw it
    for number, (row, background) in enumerate(_backgrounds(capture, rows, video, (width, view.height)), 1):
        azimuth = start + view.turn * float(capture.timestamps[row] - capture.timestamps[0])
        eye = Eye(targets[row], azimuth, size=(view.height, view.height))
        by_sigma = view.colour == "sigma"
        panels = [
            _first_panel(capture, row, background, by_sigma),
            _capture_panel(capture, row, eye, "xyz", "GenTG", by_sigma),
        ]
        panels.append(_capture_panel(capture, row, eye, "xyz_tgt", "TGT alone", by_sigma) if other is None
                      else _other_panel(capture, row, eye, other))  # fmt: skip
        for panel in panels[1:]:
            panel[:, :2] = _DIVIDER
        yield np.concatenate(panels, axis=1)
        if report:
            report("preview", number, len(rows))


def _targets(capture: Capture) -> np.ndarray:
    """(T, 3) what the eye looks at: the person, slowly, at breast height above the floor."""
    times, root = capture.timestamps, capture.root.astype(float)
    weight = (
        np.exp(-0.5 * ((times[:, None] - times) / _FOLLOW) ** 2) * capture.seen if len(times) < 2000 else None
    )
    if weight is None:  # a long clip: the same by a running mean, in linear time
        half = max(1, round(_FOLLOW * float(capture.fps)))
        padded = np.pad(root, ((half, half), (0, 0)), mode="edge")
        total = np.cumsum(np.concatenate([np.zeros((1, 3)), padded]), axis=0)
        smooth = (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
    else:
        smooth = (weight @ root) / np.maximum(weight.sum(1, keepdims=True), 1e-12)
    return np.concatenate([smooth[:, :2], np.full((len(root), 1), 0.85)], 1)


def _backgrounds(
    capture: Capture, rows: np.ndarray, video: Path | None, size: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    if video is None:
        for row in rows:
            yield int(row), np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
        return
    wanted = {int(capture.frames[row]): int(row) for row in rows}
    left = len(wanted)
    for frame in decode(video, max_size=min(size)):
        row = wanted.get(frame.index)
        if row is not None:
            yield row, cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
            left -= 1
            if not left:
                return
    raise GentgError(
        "bad_request",
        f"{left} frames of the capture are not in the video.",
        file=video,
        hint="Give the clip that the capture was made from.",
    )


def _coloured(figure: Figure, capture: Capture, row: int) -> Figure:
    """The same limbs, as sure as any, in the colours of their sigma."""
    return replace(figure, certainty=None, joint_colours=sigma_colours(capture.sigma[row]))


def _first_panel(capture: Capture, row: int, image: np.ndarray, by_sigma: bool) -> np.ndarray:
    size = (image.shape[1], image.shape[0])
    if capture.seen[row]:
        figure = figure_over_video(capture, row, size)
        draw_figure(image, _coloured(figure, capture, row) if by_sigma else figure)
        _draw_keypoints(image, capture, row)
    if not by_sigma:
        draw_legend(image)
    draw_label(image, f"2D   {capture.timestamps[row]:.2f} s" + ("" if capture.seen[row] else "   not seen"))
    return image


def _draw_keypoints(image: np.ndarray, capture: Capture, row: int) -> None:
    """What the detector found: rings, filled the more the surer it is."""
    factor = np.array([image.shape[1], image.shape[0]]) / capture.image_size
    radius = max(2, round(image.shape[0] / 200))
    for name, (x, y, confidence) in zip(capture.keypoint_names, capture.keypoints[row], strict=True):
        if confidence <= 0:
            continue
        side = {"l_": LEFT, "r_": RIGHT}.get(str(name)[:2], MIDDLE)
        at = (round(float(x * factor[0])), round(float(y * factor[1])))
        if max(map(abs, at)) < 2**15:
            cv2.circle(image, at, radius, side, -1 if confidence > 0.5 else 1, cv2.LINE_AA)
            cv2.circle(image, at, radius + 1, (255, 255, 255), 1, cv2.LINE_AA)


def _capture_panel(
    capture: Capture, row: int, eye: Eye, array: str, title: str, by_sigma: bool
) -> np.ndarray:
    image = eye.canvas()
    if capture.seen[row]:
        figure = eye.figure(
            tuple(capture.names.tolist()), getattr(capture, array)[row].astype(float), certainty_of(capture.sigma[row]),
            planted_names(capture.contacts[row], capture.contact_names),
        )  # fmt: skip
        draw_figure(image, _coloured(figure, capture, row) if by_sigma else figure)
    if by_sigma:
        draw_sigma_scale(image)
    draw_label(image, title)
    return image


def _other_panel(capture: Capture, row: int, eye: Eye, other: Other) -> np.ndarray:
    """The other pose, turned into the capture's world and put where the capture's pelvis is."""
    image, pose = eye.canvas(), other.poses.get(int(capture.frames[row]))
    if pose is not None and capture.seen[row]:
        hips = pose[[other.names.index("l_hip"), other.names.index("r_hip")]].mean(0)
        draw_figure(image, eye.figure(other.names, (pose - hips) @ capture.R + capture.root[row]))
    draw_label(image, other.title)
    return image


def _save_gif(out: Path, images: Iterator[np.ndarray], times: np.ndarray) -> None:
    frames = [Image.fromarray(p).quantize(_GIF_COLOURS, Image.Quantize.MEDIANCUT) for p in images]
    # Durations from rounded times, not rounded durations: no drift over a long clip.
    marks = np.round((times - times[0]) * 100).astype(int)
    last = int(marks[-1] - marks[-2]) if len(marks) > 1 else 10
    durations = [10 * int(d) for d in [*np.diff(marks), last]]
    with atomic_file(out) as temporary:
        frames[0].save(
            temporary, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
        )
