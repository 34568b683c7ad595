"""The capture with the target's limb lengths: hands and feet brought to where the actor's were.

Directions alone carry a pose onto other proportions, but then a hand that touched something
misses it. Here the ends of the limbs are put back and the joints between them bend to suit, with
the target's own lengths, rigid by construction.
"""

from __future__ import annotations

import numpy as np

from .body import SourceMotion, Z
from .feet import reach_ankle, reach_wrist
from .solve import Solution


def reach_actor(solution: Solution, source: SourceMotion, hands: bool, feet: bool) -> dict[str, float]:
    """Bring wrists and ankles to the actor's places, scaled as the path is. Changes the pose.

    Ankles keep the target's own height above the sole. Returns, for every limb, the metres by
    which it fell short in its worst frame because it is too short.
    """
    short: dict[str, float] = {}
    for role, wanted, bend in (("foot", feet, reach_ankle), ("hand", hands, reach_wrist)):
        upper, lower = ("thigh", "shin") if role == "foot" else ("upper_arm", "forearm")
        for side in (".L", ".R"):
            if not wanted or role + side not in source.body.chains:
                continue
            if any(r + side not in solution.body.chains for r in (upper, lower, role)):
                continue
            target = actor_place(solution, source, role + side)
            short[role + side] = float(bend(solution, side, target).max(initial=0.0))
    return short


def actor_place(solution: Solution, source: SourceMotion, role: str) -> np.ndarray:
    """Where (T, 3) the actor's joint was, in the target's solver space."""
    src, tgt, k = source.body, solution.body, solution.scale
    shear = solution.rig.space.from_world
    place = tgt.origin + k * (source.head[:, src.chains[role][0]] - src.origin) @ shear.T
    place = place + (tgt.floor - k * src.floor) * Z
    if role.startswith("foot"):
        ankles = [float(b.height(b.start(role))) - b.floor for b in (src, tgt)]
        place = place + (ankles[1] - k * ankles[0]) * Z
    return place
