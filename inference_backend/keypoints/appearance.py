"""What a person wears, as a few bytes per detection: to know them again after they were out of sight.

Each part of the body (head, torso, arms, legs) is sampled on a small grid laid over its joints; the
samples' CIE L*a*b* values go into three histograms. Two people are compared part by part by the earth
mover's distance of these histograms, which is in L*a*b* units and so grows evenly with the visible
difference; lightness counts less than hue, because a person walks through light and shade.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from gentg_blender.core.skeleton import JOINT_INDEX, NUM_JOINTS

_J = JOINT_INDEX
BINS = 8  # per channel
_LOW = np.array([0.0, -60.0, -60.0], np.float32)  # centre of the first bin: L*, a*, b*
_STEP = np.array([100.0, 120.0, 120.0], np.float32) / (BINS - 1)  # between bins' centres
# L* + 16, a* and b* all grow with the cube root of the light, so that a* / (L* + 16) is the same in light and
# shade. A little more than 16 keeps the camera's noise in black clothes small.
_DARK, _MEDIUM = 30.0, 80.0
_LIGHT = 0.5  # weight of a difference in lightness beside one in hue or colourfulness
_CONFIDENT = 0.5  # confidence that the joints at a part's ends must have
_ENOUGH = 0.5  # share of a part's samples that must lie in the image

# Limbs: upper joint, lower joint, half width in body sizes; both sides go into one histogram, so that
# exchanged sides change nothing.
_LIMBS = (
    ("upper arms", "shoulder", "elbow", 0.02), ("forearms", "elbow", "wrist", 0.015),
    ("thighs", "hip", "knee", 0.03), ("shins", "knee", "ankle", 0.02),
)  # fmt: skip
PARTS = ("head", "torso", *(limb[0] for limb in _LIMBS))
SHAPE = (len(PARTS), 3, BINS)
_WEIGHTS = np.array([0.5, 2.0, 1.0, 1.0, 1.5, 1.0])  # of PARTS; a head looks different from behind

_HEAD = [_J[n] for n in ("nose", "l_ear", "r_ear")]
_TORSO = [_J[n] for n in ("l_shoulder", "r_shoulder", "l_hip", "r_hip")]
_UPPER, _LOWER = (np.array([_J[f"{side}_{limb[i]}"] for limb in _LIMBS for side in "lr"]) for i in (1, 2))


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The samples of all pieces (head, torso, each limb left and right) one after another.

    Returns (N,) piece of each sample; (N, 35) weights of the joints whose sum is its place; what is
    added to that in body sizes: (N, 2) fixed, and (N,) along the normal of the sample's limb.
    """
    piece, mix, fixed, across = [], [], [], []

    def add(
        index: int, weights: dict[int, float], offset: tuple[float, float] = (0.0, 0.0), side: float = 0.0
    ):
        piece.append(index)
        mix.append(np.zeros(NUM_JOINTS))
        mix[-1][list(weights)] = list(weights.values())
        fixed.append(offset)
        across.append(side)

    for radius in (0.0135, 0.029, 0.045):
        for angle in np.arange(8) * np.pi / 4 + radius * 20:
            add(0, dict.fromkeys(_HEAD, 1 / 3), (radius * np.cos(angle), radius * np.sin(angle)))
    ls, rs, lh, rh = _TORSO
    for v in np.linspace(0.08, 0.92, 9):
        for u in np.linspace(0.08, 0.92, 8):
            add(1, {ls: (1 - v) * u, rs: (1 - v) * (1 - u), lh: v * u, rh: v * (1 - u)})
    for limb, (upper, lower) in enumerate(zip(_UPPER, _LOWER)):
        for v in np.linspace(0.15, 0.85, 8):
            for side in (-1, 0, 1):
                add(2 + limb, {upper: 1 - v, lower: v}, side=side * _LIMBS[limb // 2][3])
    return np.array(piece), np.array(mix), np.array(fixed), np.array(across)


_PIECE, _MIX, _FIXED, _ACROSS = _grid()
_PART = np.array([0, 1, *np.repeat(np.arange(2, len(PARTS)), 2)])  # that each piece belongs to
_LIMB = np.maximum(_PIECE - 2, 0)  # that each sample lies on, where it does
_SLOT = (_PART[_PIECE, None] * 3 + np.arange(3)) * BINS  # first bin of each sample's three histograms


def describe(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours of a person in an (H, W, 3) uint8 RGB image.

    `points` (35, 3) are canonical joints in this image's pixels. Returns (6, 3, 8) uint8: for each of
    `PARTS` the histograms of L* and of a* and b* as at medium light, each summing to about 255; all 0 where the part is hidden
    or outside the image.
    """
    places, shown = _places(points)
    height, width = image.shape[:2]
    cells = np.floor(np.clip(places, -1, max(height, width))).astype(np.int64)
    inside = ((cells >= 0) & (cells < (width, height))).all(axis=1)
    use = inside & shown[_PIECE]
    lab = _lab(image[cells[use, 1], cells[use, 0]])
    lab[:, 1:] *= _MEDIUM / (lab[:, :1] + _DARK)
    position = np.clip((lab - _LOW) / _STEP, 0, BINS - 1.001)
    lower = position.astype(np.int64)
    upper_share = position - lower  # linear shares of two bins keep the histogram's mean that of the samples
    slot = _SLOT[use] + lower
    size = len(PARTS) * 3 * BINS
    histogram = np.bincount(slot.ravel(), 1 - upper_share.ravel(), size)
    histogram += np.bincount(slot.ravel() + 1, upper_share.ravel(), size)
    histogram = histogram.reshape(SHAPE)
    count = histogram[:, :1].sum(axis=2, keepdims=True)
    possible = np.bincount(_PART[_PIECE], shown[_PIECE], len(PARTS))[:, None, None]
    enough = (count > 0) & (count >= _ENOUGH * possible)
    return np.rint(np.where(enough, 255 * histogram / np.maximum(count, 1), 0)).astype(np.uint8)


def average(descriptors: Iterable[np.ndarray | None]) -> np.ndarray:
    """(6, 3, 8) float: each bin's mean over the middle 60 % of the sightings of its part, normalised to 1.

    Trimming keeps out the images in which an arm or somebody else covered a part. Parts never seen are 0.
    """
    known = [d for d in descriptors if d is not None]
    out = np.zeros(SHAPE)
    if not known:
        return out
    stack = np.stack(known)
    for part in range(len(PARTS)):
        seen = stack[stack[:, part, 0].any(axis=-1), part].astype(float)
        if len(seen):
            cut = len(seen) // 5
            middle = np.sort(seen, axis=0)[cut : len(seen) - cut].mean(axis=0)
            out[part] = middle / np.maximum(middle.sum(axis=-1, keepdims=True), 1e-9)
    return out


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Difference of two averages in L*a*b* units: root mean square over the parts, the larger ones count more.

    Only parts that both showed are compared. Infinite unless the torso and another part are among them:
    one colour alone is no evidence of a person.
    """
    parts = part_distances(a, b)
    known = np.isfinite(parts)
    if not known[1] or known.sum() < 2:
        return np.inf
    return float(np.sqrt((_WEIGHTS[known] * parts[known] ** 2).sum() / _WEIGHTS[known].sum()))


def part_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(6,) earth mover's distance of each of `PARTS` in L*a*b* units; NaN where one of both never showed it."""
    moved = np.abs(np.cumsum(a - b, axis=-1)[..., :-1]).sum(axis=-1) * _STEP
    parts = np.sqrt((moved**2 * (_LIGHT**2, 1.0, 1.0)).sum(axis=-1))
    return np.where(a[:, 0].any(axis=-1) & b[:, 0].any(axis=-1), parts, np.nan)


def _places(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample points (N, 2) in pixels and (pieces,) bool whether each piece shows."""
    xy, confident = points[:, :2], points[:, 2] >= _CONFIDENT
    ls, rs, lh, rh = xy[_TORSO]
    size = max(math.hypot(*(ls + rs - lh - rh)) / 2 / 0.29, math.hypot(*(ls - rs)) / 0.21, 1.0)
    along = xy[_LOWER] - xy[_UPPER]
    normal = along[:, ::-1] * (-1, 1) / np.maximum(np.sqrt((along**2).sum(axis=1, keepdims=True)), 1e-6)
    shown = np.array(
        [(points[_HEAD, 2] > 0).all(), confident[_TORSO].all(), *(confident[_UPPER] & confident[_LOWER])]
    )
    return _MIX @ xy + size * (_FIXED + _ACROSS[:, None] * normal[_LIMB]), shown


def _lab(rgb: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 sRGB -> CIE L*a*b* under D65 (IEC 61966-2-1, CIE 15)."""
    xyz = _LINEAR[rgb] @ _TO_XYZ.T
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), xyz * (841 / 108) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


_CODE = np.arange(256) / 255
_LINEAR = np.where(_CODE <= 0.04045, _CODE / 12.92, ((_CODE + 0.055) / 1.055) ** 2.4)
_RGB_TO_XYZ = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])
_TO_XYZ = _RGB_TO_XYZ / _RGB_TO_XYZ.sum(axis=1, keepdims=True)  # relative to the white of the screen
