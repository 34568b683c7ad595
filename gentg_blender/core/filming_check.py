"""What about the footage limits a capture, found in its own result file, each with what to do.

Blur, other people and the camera's motion are measured by the backend while it detects (`meta["footage"]`, see
docs/contract.md); the rest is read off the capture itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from .contract import PROMINENT, Capture
from .skeleton import JOINT_INDEX

CONFIDENT = 0.5
# Blur as the backend measures it. Seven sharp rendered clips have 0.39 to 0.49 and the same images after a Gaussian
# of 3 pixels (of a person 550 high) 0.67 to 0.83, after one of 6 pixels 0.81 and more.
BLURRED, VERY_BLURRED = 0.64, 0.78
# Background's speed, image widths a second: 0.005 at most with a still camera, 0.17 in a pan that follows a runner.
MOVING, SHAKING = 0.015, 0.04  # median, and 90th percentile
_BODY = ("nose", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist", "l_hip", "r_hip",
         "l_knee", "r_knee", "l_ankle", "r_ankle")  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line of the list."""

    level: Literal["good", "hint", "problem"]
    what: str
    advice: str = ""


def findings_to_json(findings: Sequence[Finding]) -> str:
    return json.dumps([asdict(f) for f in findings])


def findings_from_json(text: str) -> list[Finding]:
    """What `findings_to_json` wrote; none from anything else."""
    try:
        return [Finding(**values) for values in json.loads(text)]
    except (TypeError, ValueError):
        return []


def check_filming(capture: Capture) -> list[Finding]:
    """The list for one capture, worst first; a single "good" line when nothing stands out.

    Thresholds: 24 frames a second is film's rate, below it fast arms alias; a person of 200 pixels has
    limbs of about 50 pixels, where 2D detectors begin to err by whole limb widths. Those of blur and of the camera
    stand at their constants.
    """
    checks = (_rate, _size, _cut_off, _seen, _speed, _blur, _people, _camera)
    findings = [f for check in checks if (f := check(capture)) is not None]
    order = {"problem": 0, "hint": 1, "good": 2}
    return sorted(findings, key=lambda f: order[f.level]) or [
        Finding("good", "Frame rate, size and framing of the clip are fine.")
    ]


def _rate(capture: Capture) -> Finding | None:
    if len(capture) < 3:
        return None
    steps = np.diff(capture.timestamps)
    rate = 1.0 / float(np.median(steps))
    if rate < 20.0:
        return Finding(
            "problem",
            f"Only {rate:.3g} frames a second.",
            "Film at 30 or more: fast arms and steps are lost in between.",
        )
    if float(np.percentile(steps, 95)) > 1.8 * float(np.median(steps)):
        return Finding(
            "hint",
            "Frames are missing or come irregularly.",
            "Timing is kept by the clip's own clock; a steady recording gives smoother motion.",
        )
    return None


def _person_height(capture: Capture) -> np.ndarray:
    """(T,) pixels from the top to the bottom confident point; NaN where fewer than six are known."""
    points = capture.keypoints
    known = (points[..., 2] >= CONFIDENT) & capture.seen[:, None]
    y = np.where(known, points[..., 1], np.nan)
    enough = known.sum(axis=1) >= 6
    height = np.full(len(capture), np.nan)
    height[enough] = np.nanmax(y[enough], axis=1) - np.nanmin(y[enough], axis=1)
    return height


def _size(capture: Capture) -> Finding | None:
    height = _person_height(capture)
    if np.isnan(height).all():
        return None
    pixels = float(np.nanmedian(height))
    if pixels < 100:
        return Finding(
            "problem",
            f"The person is only {pixels:.0f} pixels tall.",
            "Go nearer, zoom in, or film at a higher resolution.",
        )
    if pixels < 200:
        return Finding(
            "hint",
            f"The person is {pixels:.0f} pixels tall.",
            "Twice that size gives steadier hands and feet.",
        )
    return None


def _cut_off(capture: Capture) -> Finding | None:
    """Body points that lie outside the image, or at its very edge."""
    index = [i for i, name in enumerate(capture.keypoint_names) if str(name) in _BODY]
    if not index or not capture.seen.any():
        return None
    points = capture.keypoints[capture.seen][:, index]
    size = capture.image_size.astype(float)
    margin = 0.01 * size.max()
    # A point outside the image is a guess of the detector, whatever its confidence.
    known = points[..., 2] > 0
    outside = known & ((points[..., :2] < margin) | (points[..., :2] > size - margin)).any(axis=-1)
    share = float((outside.sum(axis=1) >= 2).mean())
    if share < 0.1:
        return None
    side = "feet" if _below(points, size, margin) else "body"
    return Finding(
        "problem" if share > 0.4 else "hint",
        f"In {share:.0%} of the frames the {side} leave{'s' if side == 'body' else ''} the image.",
        "Keep the whole person in the image: what is not seen is guessed.",
    )


def _below(points: np.ndarray, size: np.ndarray, margin: float) -> bool:
    low = (points[..., 2] > 0) & (points[..., 1] > size[1] - margin)
    rest = (points[..., 2] > 0) & (
        (points[..., 0] < margin) | (points[..., 0] > size[0] - margin) | (points[..., 1] < margin)
    )
    return bool(low.sum() > rest.sum())


def _seen(capture: Capture) -> Finding | None:
    missing = 1.0 - float(capture.seen.mean())
    if missing < 0.02:
        return None
    return Finding(
        "problem" if missing > 0.3 else "hint",
        f"The person is not seen in {missing:.0%} of the frames.",
        "Trim the strip to where the person is visible; gaps get no keys and are marked in the timeline.",
    )


def _speed(capture: Capture) -> Finding | None:
    """Hands that travel further between two frames than a forearm is long cannot be followed well."""
    if len(capture) < 3:
        return None
    wrists = capture.xyz[:, [JOINT_INDEX["l_wrist"], JOINT_INDEX["r_wrist"]]]
    pairs = capture.seen[1:] & capture.seen[:-1]
    if not pairs.any():
        return None
    step = np.linalg.norm(np.diff(wrists, axis=0), axis=-1).max(axis=1)[pairs]
    if float((step > 0.15).mean()) < 0.03:
        return None
    return Finding(
        "hint",
        "Hands move very fast for this frame rate.",
        "Film fast action at 60 frames a second with a short exposure.",
    )


def _measure(capture: Capture, name: str) -> float | None:
    """A number of the backend's; None if it was not measured."""
    value = (capture.meta.get("footage") or {}).get(name)
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def _blur(capture: Capture) -> Finding | None:
    blur = _measure(capture, "blur")
    if blur is None or blur < BLURRED:
        return None
    return Finding(
        "problem" if blur >= VERY_BLURRED else "hint",
        "The person is blurred.",
        "Use more light and a shorter exposure (1/250 s), and check the focus.",
    )


def _people(capture: Capture) -> Finding | None:
    share = _measure(capture, "others")
    if not share:
        return None
    picked = (capture.meta.get("settings") or {}).get("person", PROMINENT) != PROMINENT
    advice = (
        "Check the keys where somebody passes in front of the person."
        if picked
        else "Check that the right one was followed; if not, set Person to Pick and press Find People."
    )
    where = "." if share > 0.9 else f" in about {share:.0%} of the clip."
    return Finding("hint", f"Several people are in the image{where}", advice)


def _camera(capture: Capture) -> Finding | None:
    median, high = _measure(capture, "camera_speed"), _measure(capture, "camera_speed_90")
    if median is None or high is None or (median < MOVING and high < SHAKING):
        return None
    if capture.camera_turns:
        trace = np.trace(capture.camera_rotation, axis1=1, axis2=2)
        most = np.degrees(np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))).max()
        return Finding(
            "hint",
            f"The camera turns, up to {most:.0f} degrees from the middle of the shot; it was followed.",
            "Stay in one place while you turn: a camera that travels cannot be followed.",
        )
    return Finding(
        "problem" if median > 0.1 else "hint",
        "The camera moves.",
        "Use a tripod: the person's path in the room is only right for a camera that stands still.",
    )
