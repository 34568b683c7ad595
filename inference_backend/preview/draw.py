"""Drawing a skeleton on RGB images: tapered limbs, joints, planted feet, labels. OpenCV, anti-aliased.

Blue is the person's left, orange the right, near white the middle. A limb fades towards grey and gets thin where
the capture is uncertain of it. Instead, limbs can be coloured by the joints' error in centimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from gentg_blender.core.confidence import probability_within
from gentg_blender.core.skeleton import FEET

Colour = tuple[int, int, int]  # RGB

LEFT: Colour = (64, 156, 255)
RIGHT: Colour = (255, 138, 48)
MIDDLE: Colour = (236, 236, 236)
REFERENCE: Colour = (72, 214, 120)
UNCERTAIN: Colour = (150, 150, 150)
PLANTED: Colour = (120, 255, 140)
SIGMA_SPAN = 0.20  # metres of standard deviation at the end of the colour scale
_OUTLINE: Colour = (16, 18, 22)
_SHIFT = 4  # fractional bits of OpenCV's coordinates: 1/16 px

# Drawn limbs: joints at both ends, and the half widths there in metres of the person.
_LIMBS: tuple[tuple[str, str, float, float], ...] = (
    ("pelvis", "spine", 0.030, 0.028), ("spine", "chest", 0.028, 0.028), ("chest", "neck", 0.028, 0.022),
    ("neck", "head", 0.022, 0.020), ("head", "head_top", 0.020, 0.014), ("head", "nose", 0.012, 0.008),
    ("l_ear", "head", 0.010, 0.010), ("r_ear", "head", 0.010, 0.010),
    ("neck", "l_shoulder", 0.022, 0.024), ("neck", "r_shoulder", 0.022, 0.024),
    ("l_shoulder", "l_elbow", 0.026, 0.020), ("r_shoulder", "r_elbow", 0.026, 0.020),
    ("l_elbow", "l_wrist", 0.020, 0.014), ("r_elbow", "r_wrist", 0.020, 0.014),
    ("l_wrist", "l_index", 0.012, 0.008), ("r_wrist", "r_index", 0.012, 0.008),
    ("l_wrist", "l_pinky", 0.010, 0.007), ("r_wrist", "r_pinky", 0.010, 0.007),
    ("l_wrist", "l_thumb", 0.009, 0.007), ("r_wrist", "r_thumb", 0.009, 0.007),
    ("pelvis", "l_hip", 0.026, 0.028), ("pelvis", "r_hip", 0.026, 0.028),
    ("l_hip", "l_knee", 0.032, 0.024), ("r_hip", "r_knee", 0.032, 0.024),
    ("l_knee", "l_ankle", 0.024, 0.016), ("r_knee", "r_ankle", 0.024, 0.016),
    ("l_ankle", "l_heel", 0.013, 0.011), ("r_ankle", "r_heel", 0.013, 0.011),
    ("l_ankle", "l_foot_index", 0.014, 0.010), ("r_ankle", "r_foot_index", 0.014, 0.010),
    ("l_heel", "l_foot_index", 0.010, 0.010), ("r_heel", "r_foot_index", 0.010, 0.010),
)  # fmt: skip


@dataclass
class Figure:
    """One pose ready to draw: `pixels` (J, 2), `depth` (J,) larger = further, `width` pixels per metre (J,)."""

    names: tuple[str, ...]
    pixels: np.ndarray
    depth: np.ndarray
    width: np.ndarray
    certainty: np.ndarray | None = None  # (J,) 0..1; None: all certain
    planted: tuple[str, ...] = ()  # foot points that stand
    colour: Colour | None = None  # one colour for all, e.g. the reference's
    joint_colours: np.ndarray | None = (
        None  # (J, 3) RGB: limbs take their ends' mean, not their side's colour
    )


def certainty_of(sigma: np.ndarray) -> np.ndarray:
    """(..., J) metres -> 0..1, the chance that a joint is within 10 cm, as Blender's overlay shows it."""
    return probability_within(sigma)


def sigma_colours(sigma: np.ndarray) -> np.ndarray:
    """(J,) metres -> (J, 3) RGB: violet for 0, orange, yellow for SIGMA_SPAN and more (matplotlib's plasma)."""
    level = 50 + 205 * np.clip(
        np.asarray(sigma) / SIGMA_SPAN, 0.0, 1.0
    )  # its dark end would vanish on dark images
    map_ = cv2.applyColorMap(np.round(level).astype(np.uint8)[:, None], cv2.COLORMAP_PLASMA)
    return map_[:, 0, ::-1].astype(int)


def draw_figure(image: np.ndarray, figure: Figure) -> None:
    """Draw onto an RGB uint8 image (H, W, 3), in place; further limbs first."""
    index = {n: i for i, n in enumerate(figure.names)}
    limbs = [
        (index[a], index[b], wa, wb, _side(a, b)) for a, b, wa, wb in _LIMBS if a in index and b in index
    ]
    limbs.sort(key=lambda limb: -(figure.depth[limb[0]] + figure.depth[limb[1]]))
    sure = np.ones(len(figure.names)) if figure.certainty is None else figure.certainty
    for name in figure.planted:
        if name in index:
            _mark_planted(image, figure.pixels[index[name]], 0.07 * figure.width[index[name]])
    for a, b, wa, wb, side in limbs:
        colour = figure.colour or side
        if figure.joint_colours is not None:
            colour = _mix(figure.joint_colours[a], figure.joint_colours[b], 0.5)
        confidence = float(min(sure[a], sure[b]))
        slim = 0.55 + 0.45 * confidence
        radii = np.maximum(np.array([wa * figure.width[a], wb * figure.width[b]]) * slim, 1.2)
        _capsule(
            image, figure.pixels[[a, b]], radii, _mix(UNCERTAIN, colour, confidence), 0.45 + 0.5 * confidence
        )


def _side(a: str, b: str) -> Colour:
    if "l_" in (a[:2], b[:2]):
        return LEFT
    return RIGHT if "r_" in (a[:2], b[:2]) else MIDDLE


def _mix(a: Colour, b: Colour, amount: float) -> Colour:
    return tuple(int(round(x + (y - x) * amount)) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def _blend(
    image: np.ndarray, box: tuple[int, int, int, int], mask: np.ndarray, colour: Colour, alpha: float
) -> None:
    """Lay `colour` over image[y0:y1, x0:x1] where `mask` (uint8) is set."""
    x0, y0, x1, y1 = box
    part = image[y0:y1, x0:x1].astype(np.float32)
    weight = mask[..., None].astype(np.float32) * (alpha / 255.0)
    image[y0:y1, x0:x1] = (part + (np.asarray(colour, np.float32) - part) * weight + 0.5).astype(np.uint8)


def _box(image: np.ndarray, points: np.ndarray, margin: float) -> tuple[int, int, int, int] | None:
    """The part of the image that a shape covers; None when it lies outside or isn't a number."""
    if not np.isfinite(points).all() or np.abs(points).max() > 1e5:
        return None
    low, high = np.floor(points.min(0) - margin).astype(int), np.ceil(points.max(0) + margin).astype(int) + 1
    x0, y0 = max(0, low[0]), max(0, low[1])
    x1, y1 = min(image.shape[1], high[0]), min(image.shape[0], high[1])
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _capsule(image: np.ndarray, ends: np.ndarray, radii: np.ndarray, colour: Colour, alpha: float) -> None:
    """A limb: two discs and the quadrilateral between them, with a dark outline."""
    box = _box(image, ends, float(radii.max()) + 4)
    if box is None:
        return
    local = ends - box[:2]
    outline = max(1.0, 0.22 * float(radii.mean()))
    for extra, paint, opacity in ((outline, _OUTLINE, 0.55 * alpha), (0.0, colour, alpha)):
        mask = np.zeros((box[3] - box[1], box[2] - box[0]), np.uint8)
        r = radii + extra
        along = local[1] - local[0]
        length = float(np.hypot(*along))
        for centre, radius in zip(local, r, strict=True):
            cv2.circle(mask, _fixed(centre), int(radius * 2**_SHIFT), 255, -1, cv2.LINE_AA, _SHIFT)
        if length > 0.5:
            across = np.array([-along[1], along[0]]) / length
            corners = np.array([local[0] + across * r[0], local[1] + across * r[1],
                                local[1] - across * r[1], local[0] - across * r[0]])  # fmt: skip
            cv2.fillConvexPoly(mask, np.round(corners * 2**_SHIFT).astype(np.int32), 255, cv2.LINE_AA, _SHIFT)
        _blend(image, box, mask, paint, opacity)


def _mark_planted(image: np.ndarray, at: np.ndarray, radius: float) -> None:
    """A flat ring around a foot point that stands."""
    radius = max(radius, 4.0)
    box = _box(image, at[None], radius + 4)
    if box is None:
        return
    mask = np.zeros((box[3] - box[1], box[2] - box[0]), np.uint8)
    centre, axes = _fixed(at - box[:2]), (int(radius * 2**_SHIFT), int(0.45 * radius * 2**_SHIFT))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, max(2, round(radius / 5)), cv2.LINE_AA, _SHIFT)
    _blend(image, box, mask, PLANTED, 0.95)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """Pixels with (0, 0) at the first pixel's corner -> OpenCV's fixed point, with (0, 0) at its centre."""
    return tuple(int(round((v - 0.5) * 2**_SHIFT)) for v in point)  # type: ignore[return-value]


# --------------------------------------------------------------------------- text


def draw_label(
    image: np.ndarray, text: str, corner: str = "bottom left", colour: Colour = (245, 245, 245)
) -> None:
    """A line of text (ASCII) on a dark translucent plate in a corner: "top left", "bottom right", ..."""
    height, width = image.shape[:2]
    scale = max(0.4, min(height, width) / 900.0)
    thick = max(1, round(1.6 * scale))
    (w, h), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, thick)
    pad = round(12 * scale)
    x = pad if "left" in corner else width - w - 3 * pad
    y = height - h - base - 3 * pad if "bottom" in corner else pad
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(width, x + w + 2 * pad), min(height, y + h + base + 2 * pad)
    if x1 <= x0 or y1 <= y0:
        return
    plate = image[y0:y1, x0:x1]
    plate[:] = (plate * 0.4 + np.asarray(_OUTLINE) * 0.6).astype(np.uint8)
    cv2.putText(
        image, text, (x + pad, y + pad + h), cv2.FONT_HERSHEY_DUPLEX, scale, colour, thick, cv2.LINE_AA
    )


def draw_legend(image: np.ndarray) -> None:
    """Which colour is which side, and what fading means; top left."""
    height, width = image.shape[:2]
    scale = max(0.34, min(height, width) / 1200.0)
    thick, pad = max(1, round(1.6 * scale)), round(14 * scale)
    entries = ((LEFT, "left"), (RIGHT, "right"), (UNCERTAIN, "uncertain"), (PLANTED, "planted"))
    widths = [cv2.getTextSize(t, cv2.FONT_HERSHEY_DUPLEX, scale, thick)[0][0] for _, t in entries]
    dot, line = round(9 * scale), round(34 * scale)
    total = sum(widths) + len(entries) * (3 * dot + pad) + pad
    if total + 2 * pad > width:
        return  # too narrow an image: colours explain themselves
    plate = image[pad : pad + line + pad, pad : pad + total]
    plate[:] = (plate * 0.4 + np.asarray(_OUTLINE) * 0.6).astype(np.uint8)
    x, y = 2 * pad, pad + (line + pad) // 2
    for (colour, text), w in zip(entries, widths, strict=True):
        cv2.circle(image, (x + dot, y), dot, colour, -1, cv2.LINE_AA)
        cv2.putText(image, text, (x + 3 * dot, y + round(11 * scale)), cv2.FONT_HERSHEY_DUPLEX, scale,
                    (245, 245, 245), thick, cv2.LINE_AA)  # fmt: skip
        x += w + 3 * dot + pad


def draw_sigma_scale(image: np.ndarray) -> None:
    """The colours of `sigma_colours` with their ends in centimetres, top right."""
    height, width = image.shape[:2]
    scale = max(0.34, min(height, width) / 1200.0)
    bar, tall, pad = round(0.3 * width), max(4, round(0.022 * height)), round(14 * scale)
    x, y = width - bar - 2 * pad, 2 * pad
    image[y : y + tall, x : x + bar] = sigma_colours(np.linspace(0, SIGMA_SPAN, bar))
    thick = max(1, round(1.6 * scale))
    last = f"{100 * SIGMA_SPAN:.0f}+ cm"
    (w, h), _ = cv2.getTextSize(last, cv2.FONT_HERSHEY_DUPLEX, scale, thick)
    for text, left in (("0", x), (last, x + bar - w)):
        cv2.putText(
            image,
            text,
            (left, y + tall + h + pad // 2),
            cv2.FONT_HERSHEY_DUPLEX,
            scale,
            (245, 245, 245),
            thick,
            cv2.LINE_AA,
        )


def planted_names(contacts: np.ndarray, names: np.ndarray | None = None) -> tuple[str, ...]:
    """(C,) bool -> names of the foot points that stand."""
    return tuple(str(n) for n, on in zip(FEET if names is None else names, contacts, strict=True) if on)
