"""When each heel and toe is planted: the network's probability fused with speed and height."""

from __future__ import annotations

import numpy as np

from .smoothing import local_fit, runs

STILL_SPEED = 0.30  # m/s: as likely planted as not
FLOOR_REACH = 0.06  # metres above the floor: the same
ENTER, STAY = 1.0, -0.5  # evidence that starts a contact, and that keeps one (hysteresis)
SHORTEST = 0.10  # seconds; shorter contacts are none
SHORTEST_BREAK = 0.07  # seconds; shorter breaks within a contact are closed
TIPTOE = 0.10  # metres: a heel drawn higher above its toe than that is no heel on the ground, and vice versa
_SPEED_WINDOW = 0.12  # seconds over which speed is measured
_FIRST_WINDOW = 0.25  # the same before the path is known well
_LOGIT_LIMIT = 3.0


def soft_contacts(
    feet: np.ndarray, foot_height: np.ndarray, probability: np.ndarray, times: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Weights (T, C) 0..1 for a first path: the network's contacts, less where feet (T, C, 3) plainly
    move or are tilted; foot_height (C,) of these points above the sole. Needs no floor, and forgives
    the speed that an uncertain distance adds."""
    _, velocity = local_fit(feet, times, _FIRST_WINDOW, seen)
    moving = np.maximum(np.linalg.norm(velocity, axis=-1) / STILL_SPEED - 1.0, 0.0)
    weight = np.where(probability > 0.5, probability, 0.0) * np.exp(-(moving**2))
    weight = weight * seen[:, None]
    planted = weight > 0.0
    _clear_tilted_contacts(planted, feet[..., 2] - foot_height)
    return np.where(planted, weight, 0.0)


def too_short(start: int, stop: int, times: np.ndarray, seen: np.ndarray) -> bool:
    """Whether a contact of frames start..stop-1 is none. One that begins or ends with what was seen
    may go on unseen, and counts however short."""
    if start == 0 or stop == len(times) or not seen[start - 1] or not seen[stop]:
        return False
    spacing = (times[stop] - times[start - 1]) / (stop - start + 1)
    return bool(times[stop - 1] - times[start] + spacing < SHORTEST)


def detect_contacts(
    feet: np.ndarray,
    foot_height: np.ndarray,
    probability: np.ndarray,
    times: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Contacts (T, C) bool. feet (T, C, 3) world metres with the floor at 0, foot_height (C,) of
    the points above the sole, probability (T, C), times (T,) seconds, seen (T,).

    A contact is a stretch whose evidence never falls below STAY and somewhere exceeds ENTER, which
    is hysteresis without a direction in time.
    """
    _, velocity = local_fit(feet, times, _SPEED_WINDOW, seen)
    speed = np.linalg.norm(velocity, axis=-1)
    height = feet[..., 2] - foot_height
    clipped = np.clip(probability, 1e-4, 1.0 - 1e-4)
    evidence = np.clip(np.log(clipped / (1.0 - clipped)), -_LOGIT_LIMIT, _LOGIT_LIMIT)
    evidence = evidence + np.maximum(1.5 * (1.0 - speed / STILL_SPEED), -4.0)
    evidence = evidence + np.maximum(np.minimum(1.0 - height / FLOOR_REACH, 0.5), -4.0)

    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    planted = np.zeros(evidence.shape, bool)
    for part in range(evidence.shape[1]):
        stays = (evidence[:, part] > STAY) & seen
        for start, stop in runs(stays):
            if (evidence[start:stop, part] > ENTER).any():
                planted[start:stop, part] = True
        for start, stop in runs(~planted[:, part]):
            inner = start > 0 and stop < len(times)
            if (
                inner
                and times[stop] - times[start - 1] <= SHORTEST_BREAK + spacing
                and seen[start:stop].all()
            ):
                planted[start:stop, part] = True
        for start, stop in runs(planted[:, part]):
            if too_short(start, stop, times, seen):
                planted[start:stop, part] = False
    _clear_tilted_contacts(planted, height)
    return planted


def _clear_tilted_contacts(planted: np.ndarray, height: np.ndarray) -> None:
    """Clear, in place, the heel (or toe) of still feet that do not stand flat. planted and height (T, C),
    metres. Speed and the network's contacts tell a still foot, not a flat one; over a whole stance its
    drawn tilt does, and it does not depend on where the floor is."""
    for heel in range(0, planted.shape[1] - 1, 2):
        pair = planted[:, heel : heel + 2]
        for start, stop in runs(pair.all(1)):
            tilt = np.median(height[start:stop, heel] - height[start:stop, heel + 1])
            if abs(tilt) > TIPTOE:
                pair[start:stop, 0 if tilt > 0 else 1] = False
