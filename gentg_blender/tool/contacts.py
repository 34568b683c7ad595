"""Contacts of feet and hands on the timeline: marked by hand, and feet and hands locked from them again."""

from __future__ import annotations

from dataclasses import dataclass, field

import bpy
import numpy as np

from ..core.contract import GentgError
from ..core.retarget.feet import FeetReport, FeetSettings, plant_feet
from ..core.retarget.hands import pin_hands
from ..core.retarget.keys import place_ik
from .action import PLANTED_PROPERTIES, add_planted_property, write_curve
from .compat import channelbag
from .posed_rig import RECIPE, PosedRig, read_posed, write_posed
from .retarget import resolve_feet
from .rig_reader import require_motion
from .tracks import FROM, STEP, ActionEdit, earlier_action, tracks_of
from .unlock_feet import LEG, unlock_feet

RELOCKED = "feet locked"
ARM = ("upper_arm", "forearm", "hand")
_CONSTANT = 0


@dataclass
class Relocked:
    """What a lock made."""

    action: bpy.types.Action
    feet: FeetReport
    warnings: list[str] = field(default_factory=list)


def has_contacts(ob: bpy.types.Object) -> bool:
    """Whether the armature's action keys any contact of a foot or hand."""
    return any(curve is not None for curve in _contact_curves(ob).values())


def mark_contact(ob: bpy.types.Object, part: str, first: float, last: float, planted: bool = True) -> None:
    """Key a part of a foot (of skeleton.FEET), or "l_hand" or "r_hand", as planted, or as free, from frame `first` to
    and with `last`. What was marked before and after stays. Changes the action that plays."""
    if part not in PLANTED_PROPERTIES:
        raise GentgError(
            "bad_request",
            f"There is no part of feet or hands named {part}.",
            hint=f"Known are: {', '.join(PLANTED_PROPERTIES)}.",
        )
    if last < first:
        raise GentgError("bad_request", "The contact ends before it begins.")
    require_motion(ob)
    data = ob.animation_data
    if data.action is None or data.action_slot is None:
        raise GentgError("bad_request", f"'{ob.name}' has no action to mark contacts in.", hint="Assign one.")
    name = PLANTED_PROPERTIES[part]
    if name not in ob:
        if ob.override_library is not None:
            raise GentgError(
                "bad_request",
                f"'{ob.name}' is a library override and takes no new properties.",
                hint="Mark the contacts on the captured armature and retarget it again.",
            )
        add_planted_property(ob, part)
    bag = channelbag(data.action, data.action_slot)
    if bag is None:
        raise GentgError("bad_request", f"The action of '{ob.name}' keys nothing.", hint="Assign its motion.")
    curve = bag.fcurves.find(f'["{name}"]')
    keys: dict[float, bool] = {}
    if curve is not None:
        keys = {float(k.co.x): k.co.y > 0.5 for k in curve.keyframe_points}
        bag.fcurves.remove(curve)

    def at(frame: float) -> bool:  # an F-curve's first key holds before itself as well
        past = [f for f in keys if f <= frame] or ([min(keys)] if keys else [])
        return keys[max(past)] if past else False

    begin = min(float(data.action.frame_range[0]), first - 1.0)
    keys = {
        **({f: v for f, v in keys.items() if f < first} or {begin: at(first - 1.0)}),
        float(first): planted,
        float(last) + 1.0: at(last + 1.0),
        **{f: v for f, v in keys.items() if f > last + 1.0},
    }
    frames = np.array(sorted(keys))
    write_curve(
        bag, f'["{name}"]', 0, "Contacts", frames, np.array([float(keys[f]) for f in frames]), _CONSTANT
    )


def lock_feet_again(context: bpy.types.Context, ob: bpy.types.Object, blend: float = 0.15) -> Relocked:
    """Lock feet, and hands that are pinned, by the contacts as they are keyed now, in a new action.

    A rig straight from a retarget is solved from its source again (tool.retarget.resolve_feet), where
    feet that are no longer planted move as the actor's did before the backend's lock. Captures, and rigs that were cleaned
    up since, keep all they have but for legs, hips and pinned arms; where a contact of a capture was taken away the
    foot moves as before the backend's lock (tool.unlock_feet). `blend`: seconds to ease in and out.
    """
    require_motion(ob)
    action = ob.animation_data.action
    if RECIPE in ob and (action is None or STEP not in action):
        done = resolve_feet(context, ob, blend)
        return Relocked(done.action, done.feet, done.warnings)
    base = earlier_action(ob) if action is not None and action.get(STEP) == RELOCKED else None
    with ActionEdit(ob, RELOCKED) as edit:
        posed = read_posed(context, ob)
        if base is not None:
            # solved from the motion before the first lock, or else earlier locks would stay
            _take_limbs(edit, posed, base)
            posed = read_posed(context, ob)
        if posed.contacts is None and posed.pins is None:
            raise GentgError(
                "bad_request",
                f"'{ob.name}' has no foot contacts.",
                hint="Mark where its feet stand with Mark Contact first.",
            )
        solution, notes, report = posed.solution(), [], FeetReport()
        if posed.contacts is not None:
            notes = unlock_feet(ob, posed, solution, blend)
            report = plant_feet(solution, posed.contacts, posed.times, FeetSettings(blend))
        if posed.pins is not None:
            notes += pin_hands(solution, posed.pins, posed.times, blend)
        place_ik(solution, posed.limbs)
        write_posed(edit, posed, solution.pose.rotation, solution.pose.head, _changing(posed))
    if base is not None:
        edit.new.name = f"{base.name} {RELOCKED}"
        edit.new[FROM] = base
    warnings = posed.warnings + notes + report.notes
    if report.out_of_reach:
        warnings.append(f"In {report.out_of_reach} frames a planted foot is out of the legs' reach.")
    return Relocked(edit.new, report, warnings)


def _changing(posed: PosedRig) -> set[int]:
    """The controls that a lock changes: hips, legs, arms once a hand was pinned, and those limbs' IK controls."""
    chains, arms = posed.body.chains, posed.pins is not None
    roles = (*LEG, *ARM) if arms else LEG
    found = {i for r in roles for s in (".L", ".R") for i in chains.get(r + s, ())} | set(chains["hips"][:1])
    ik = [n for limb in posed.limbs if arms or limb.end.startswith("foot")
          for n in (limb.control, limb.pole, limb.toe)]  # fmt: skip
    return found | {posed.rig.index(n) for n in ik if n}


def _take_limbs(edit: ActionEdit, posed: PosedRig, base: bpy.types.Action) -> None:
    """Copy from another action what a lock changes."""
    names = {posed.rig.names[i] for i in _changing(posed)}
    slot = next((s for s in base.slots if s.identifier == edit.slot.identifier), base.slots[0])
    for track in tracks_of(channelbag(base, slot)):
        if track.bone in names:
            edit.add(track.bone, track.channel, track.frames, track.values, track.held)


def _contact_curves(ob: bpy.types.Object) -> dict[str, bpy.types.FCurve | None]:
    data = ob.animation_data
    bag = (
        channelbag(data.action, data.action_slot)
        if data is not None and data.action and data.action_slot
        else None
    )
    return {foot: bag.fcurves.find(f'["{name}"]') if bag is not None else None
            for foot, name in PLANTED_PROPERTIES.items()}  # fmt: skip


__all__ = ["Relocked", "has_contacts", "lock_feet_again", "mark_contact"]
