"""Hands that an animator pins: held where they rest, on a table or a wall, by the target's own arms."""

from __future__ import annotations

import numpy as np

from .feet import ease_vectors, held_places, reach_wrist
from .solve import Solution


def pin_hands(solution: Solution, pins: np.ndarray, times: np.ndarray, blend: float = 0.15) -> list[str]:
    """Hold the wrists of `solution` in one place over each stretch of `pins` (T, 2), left and right.

    The place is the mean over the stretch; before and after the hand eases in and out over `blend` seconds. The hand keeps
    turning as it did. Changes the pose. Returns what could not be held, for people.
    """
    notes = []
    for n, side in enumerate((".L", ".R")):
        held = np.asarray(pins[:, n], bool)
        if not held.any():
            continue
        if any(role + side not in solution.body.chains for role in ("upper_arm", "forearm", "hand")):
            notes.append(f"The arm {side} is not mapped from upper arm to hand: it is not pinned.")
            continue
        wrist = solution.pose.head[:, solution.body.chains["hand" + side][0]].copy()
        shift = held_places(wrist, held, times) - wrist
        ease_vectors(shift, held, times, blend)
        missed = float(reach_wrist(solution, side, wrist + shift)[held].max())
        if missed > 0.01:
            notes.append(
                f"hand{side} is pinned up to {100 * missed:.0f} cm beyond what the arm reaches: shorten the pin."
            )
    return notes


__all__ = ["pin_hands"]
