"""The capture with the target's limb lengths: hands and feet brought to where the actor's were.

Directions alone carry a pose onto other proportions, but then a hand that touched something
misses it. Here the ends of the limbs are put back and the joints between them bend to suit, with
the target's own lengths, rigid by construction.
"""

from __future__ import annotations

import numpy as np

from ..contract import GentgError
from .body import SourceMotion, Z
from .feet import reach_ankle, reach_wrist
from .solve import Solution


def reach_actor(
    solution: Solution, source: SourceMotion, hands: float = 1.0, feet: float = 1.0
) -> dict[str, float]:
    """Bring wrists and ankles towards the actor's places, scaled as the path is. Changes the pose.

    `hands` and `feet`, 0 to 1, mix: at 0 limbs point as the actor's do and end where their lengths
    take them, at 1 they end where the actor's did, and in between on the line from one to the other.
    As path and hips are scaled alike, an end's place is the same as seen from the pelvis. Ankles
    keep the target's own height above the sole. Returns, for every limb that was moved, the metres
    by which it fell short in its worst frame because it is too short. Raises GentgError for mixes
    beyond 0 and 1.
    """
    for amount in (hands, feet):
        if not 0.0 <= amount <= 1.0:
            raise GentgError("bad_request", f"The reach lies between 0 and 1, and {amount:g} does not.")
    short: dict[str, float] = {}
    for role, amount, bend in (("foot", feet, reach_ankle), ("hand", hands, reach_wrist)):
        upper, lower = ("thigh", "shin") if role == "foot" else ("upper_arm", "forearm")
        for side in (".L", ".R"):
            if amount == 0.0 or role + side not in source.body.chains:
                continue
            if any(r + side not in solution.body.chains for r in (upper, lower, role)):
                continue
            here = solution.pose.head[:, solution.body.chains[role + side][0]]
            target = here + amount * (actor_place(solution, source, role + side) - here)
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
