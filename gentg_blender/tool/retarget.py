"""Retarget a motion to the animator's own rig: checks, reads, solves, and writes a new action."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import bpy
import numpy as np
from mathutils import Matrix

from ..core.contract import GentgError
from ..core.retarget import DryReport, Mapping, Recognition, dry_report, recognise
from ..core.retarget.body import SourceMotion
from ..core.retarget.cleanup import mirror_motion
from ..core.retarget.contacts import detect_contacts
from ..core.retarget.feet import FeetReport, FeetSettings, plant_feet
from ..core.retarget.hands import pin_hands
from ..core.retarget.keys import Channels, RootMotion, channels, place_ik
from ..core.retarget.presets import Switch
from ..core.retarget.reach import reach_actor
from ..core.retarget.rig import RigBone
from ..core.retarget.solve import Solution, solve
from ..core.retarget.twist import TwistBone, find_twist_bones, spread_twist
from ..core.rotations import (
    quat_conjugate,
    quat_continuous,
    quat_multiply,
    quat_rotate,
    rotation_angle,
)
from ..core.skeleton import FEET
from .action import HAND_PROPERTIES, PLANTED_PROPERTIES, add_planted_property, write_curve
from .compat import new_channels, use_action
from .keying import bone_path, rotation_channel, rotation_values, write_bone
from .posed_rig import RECIPE
from .rig_controls import controls_of, measured_rig, stretchy_bones
from .rig_reader import (
    held_keys,
    key_frames,
    read_bones,
    read_contacts,
    read_motion,
    read_pins,
    require_motion,
    require_target,
)
from .transaction import Transaction
from .unlock_feet import unlocked_motion

SOURCE = "gentg_retarget_source"  # custom properties of a target: what it was retargeted from
PLACE = "gentg_retarget_place"  # matrix_basis of a target whose object we have since animated
_CONSTANT, _LINEAR = 0, 1
_CHECKED_FRAMES = 5


@dataclass
class RetargetSettings:
    """What an animator chooses."""

    root_motion: RootMotion = "hips"
    scale: float | None = None  # of the path; None: the ratio of leg lengths
    feet: bool = True  # hold planted feet in place
    blend: float = 0.15  # seconds in which a foot eases into and out of its place
    reach_hands: float = 0.0  # 0: arms point as the actor's do; 1: wrists are where the actor's were
    reach_feet: float = 0.0  # the same for legs and ankles
    twist_bones: bool = True  # key twist bones that hang on the limbs, see core.retarget.twist
    controls: Literal["FK", "IK"] = "FK"  # which are in use afterwards; both are keyed
    mirror: bool = False  # what the actor's left did the rig's right does
    allow_metarig: bool = False
    name: str = ""  # of the new action
    check: bool = True  # read a few frames back from the evaluated rig


@dataclass
class RetargetResult:
    """What a retarget wrote."""

    action: bpy.types.Action
    frames: np.ndarray  # (T,) scene frames with keys
    report: DryReport
    scale: float  # metres of the target for one of the source
    feet: FeetReport | None
    bones: int  # controls keyed
    error_degrees: float | None  # worst difference of the evaluated rig from what was solved
    error_metres: float | None
    warnings: list[str] = field(default_factory=list)


def recognise_rig(ob: bpy.types.Object) -> Recognition:
    """What rig an armature object is, and its bone map. Raises GentgError for anything else."""
    return recognise(read_bones(ob))


def report_for(
    source: bpy.types.Object, target: bpy.types.Object, mapping: Mapping | None = None,
    source_mapping: Mapping | None = None,
) -> DryReport:  # fmt: skip
    """What a retarget would map, miss and doubt. Writes nothing; raises GentgError for wrong selections."""
    require_motion(source)
    require_target(target, source, metarig=True)
    return _report(source, target, mapping or _known(target), source_mapping or _known(source))


def _known(ob: bpy.types.Object) -> Mapping:
    found = recognise_rig(ob)
    if found.method == "none":
        raise GentgError(
            "bad_request",
            f"The rig '{ob.name}' was not recognised.",
            hint="Map its bones by hand in the Retarget panel, or load a saved bone map.",
        )
    return found.mapping


def _report(source, target, mapping: Mapping, source_mapping: Mapping) -> DryReport:
    there = read_bones(target)
    report = dry_report(read_bones(source), source_mapping, there, mapping)
    doubtful = recognise(there).doubtful if not mapping.preset else {}
    report.doubtful |= {r: why for r, why in doubtful.items() if r in report.mapped}
    return report


def retarget_to_rig(
    context: bpy.types.Context, source_armature: bpy.types.Object, target: bpy.types.Object,
    mapping: Mapping | None = None, settings: RetargetSettings | None = None, *,
    source_mapping: Mapping | None = None, contacts: np.ndarray | None = None, pins: np.ndarray | None = None,
) -> RetargetResult:  # fmt: skip
    """Write the source's motion onto the target's controls as a new action.

    Maps default to what is recognised; `contacts` (T, 4), in the target's sides, to the source's
    contact properties, or to what its motion shows. Where a capture's contact is missing in them the foot
    moves as it did before the backend locked it. `pins` (T, 2), likewise, are hands that are held where they
    are. The target's rest pose, bones and constraints stay as they are, and so
    does its earlier action, which is kept in the file. On any error nothing is changed.
    """
    settings = settings or RetargetSettings()
    require_motion(source_armature)
    require_target(target, source_armature, metarig=settings.allow_metarig)
    source_mapping, mapping = source_mapping or _known(source_armature), mapping or _known(target)
    report = _report(source_armature, target, mapping, source_mapping)
    if not report.ok:
        raise GentgError(
            "bad_request", report.problems[0], hint="Correct the bone map in the Retarget panel."
        )
    if settings.root_motion == "object" and target.parent is not None:
        raise GentgError(
            "bad_request",
            f"'{target.name}' is parented to '{target.parent.name}'.",
            hint="Put the root motion on the hips or a root bone, or clear the parent.",
        )
    motion, frames = read_motion(context, source_armature, source_mapping)
    warnings: list[str] = []
    if contacts is not None:
        contacts = np.asarray(contacts, bool)
        if contacts.shape != (len(frames), 4):
            raise GentgError(
                "bad_request", f"The contacts have shape {contacts.shape}, not {(len(frames), 4)}."
            )
        own = contacts[:, [2, 3, 0, 1]] if settings.mirror else contacts
        motion, warnings = unlocked_motion(
            context, source_armature, motion, source_mapping.used(), own, settings.blend
        )
    if pins is None and (pins := read_pins(source_armature, frames)) is not None and settings.mirror:
        pins = pins[:, ::-1]
    if settings.mirror:
        motion = mirror_motion(motion)
    if contacts is not None:
        motion.contacts = contacts
    _put_back(context, target)
    bones = read_bones(target)
    switches, limbs = controls_of(target, mapping)
    rig = measured_rig(context, target, bones, mapping, switches, limbs, warnings)
    solution = solve(motion, rig, mapping, settings.scale)
    feet, motion.contacts = _finish_pose(solution, motion, settings, pins, warnings)
    place_ik(solution, limbs)
    twists = _free_twist_bones(target, bones, mapping) if settings.twist_bones else []
    twisted = spread_twist(solution, twists)
    keys = channels(solution, motion.times, settings.root_motion)
    keys.rotation |= twisted
    still = [n for n in mapping.bones.get("root", ()) if n not in keys.rotation]
    for name in still:  # an earlier pose of a root that now stands still would carry the motion away
        keys.rotation[name] = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (len(frames), 4))
        keys.location[name] = np.zeros((len(frames), 3))
    held = held_keys(source_armature, frames)
    with Transaction() as made:
        action = _write(
            target,
            keys,
            frames,
            held,
            switches,
            stretchy_bones(target, limbs),
            settings,
            source_armature,
            made,
        )
        planted = dict(zip(FEET, motion.contacts.T, strict=True))
        planted |= {} if pins is None else dict(zip(HAND_PROPERTIES, pins.T, strict=True))
        _write_contacts(target, action, planted, frames)
    _assign(target, action)
    if keys.object_location is not None:
        target[PLACE] = [x for row in target.matrix_basis for x in row]
    target[SOURCE] = source_armature
    target[RECIPE] = json.dumps({"settings": asdict(settings), "map": mapping.to_json(),
                                 "source_map": source_mapping.to_json()})  # fmt: skip
    result = RetargetResult(
        action, frames, report, solution.scale, feet, len(keys.rotation), None, None, warnings
    )
    if settings.check:
        _check(context, target, solution, keys, frames, result)
    return result


def resolve_feet(
    context: bpy.types.Context, target: bpy.types.Object, blend: float | None = None
) -> RetargetResult:
    """Solve the feet again after contacts were edited, on the target's properties or else the source's.
    `blend`, seconds, takes the place of the first time's.

    The motion is retargeted again from its source with the recipe of the first time, into a new
    action: nothing is lost. Raises GentgError for rigs that no retarget has written to.
    """
    require_target(target, metarig=True)
    source, recipe = target.get(SOURCE), target.get(RECIPE)
    if source is None or recipe is None:
        raise GentgError(
            "bad_request",
            f"'{target.name}' has no motion that GenTG retargeted.",
            hint="Retarget a captured motion to it first.",
        )
    recipe = json.loads(recipe)
    settings = RetargetSettings(**{**recipe["settings"], "feet": True})
    settings.blend = settings.blend if blend is None else blend
    mapping, source_mapping = Mapping.from_json(recipe["map"]), Mapping.from_json(recipe["source_map"])
    frames = key_frames(source)
    return retarget_to_rig(context, source, target, mapping, settings, source_mapping=source_mapping,
                           contacts=read_contacts(target, frames), pins=read_pins(target, frames))  # fmt: skip


# --------------------------------------------------------------------------- steps


def _free_twist_bones(ob: bpy.types.Object, bones: Sequence[RigBone], mapping: Mapping) -> list[TwistBone]:
    """Twist bones that the rig itself does not move by constraints or drivers."""
    drivers = ob.animation_data.drivers if ob.animation_data is not None else ()
    driven = {d.data_path.rpartition(".")[0] for d in drivers}
    return [
        t
        for t in find_twist_bones(bones, mapping)
        if not any(not c.mute for c in ob.pose.bones[t.name].constraints)
        and bone_path(t.name, "")[:-1] not in driven
    ]


def _put_back(context, ob: bpy.types.Object) -> None:
    """Undo what an earlier root motion on the object left in its transform."""
    if PLACE in ob:
        values = list(ob[PLACE])
        if ob.animation_data is not None and ob.animation_data.action is not None:
            ob.animation_data.action.use_fake_user = True
            ob.animation_data.action = None
        ob.matrix_basis = Matrix([values[4 * r : 4 * r + 4] for r in range(4)])
        del ob[PLACE]
        context.view_layer.update()


def _finish_pose(
    solution: Solution, motion: SourceMotion, settings: RetargetSettings, pins: np.ndarray | None,
    warnings: list[str],
) -> tuple[FeetReport | None, np.ndarray]:  # fmt: skip
    """Reach, feet, hands; returns the feet's report and the contacts that were used."""
    short = reach_actor(solution, motion, hands=0.0, feet=settings.reach_feet)
    contacts = motion.contacts if motion.contacts is not None else detect_contacts(motion)
    feet = None
    if settings.feet:
        feet = plant_feet(solution, contacts, motion.times, FeetSettings(settings.blend))
        warnings += feet.notes
        if feet.out_of_reach:
            warnings.append(f"In {feet.out_of_reach} frames a planted foot is out of the legs' reach.")
    # hands come last: planting may have lowered the hips, and the arms with them
    short |= reach_actor(solution, motion, hands=settings.reach_hands, feet=0.0)
    warnings += [f"{role} is too short by {100 * miss:.0f} cm to reach where the actor's was."
                 for role, miss in short.items() if miss > 0.01]  # fmt: skip
    if pins is not None:
        warnings += pin_hands(solution, pins, motion.times, settings.blend)
    return feet, contacts


def _write(
    ob: bpy.types.Object, keys: Channels, frames: np.ndarray, held: np.ndarray, switches: list[Switch],
    stretchy: list[str], settings: RetargetSettings, source: bpy.types.Object, made: Transaction,
) -> bpy.types.Action:  # fmt: skip
    action = made.own(bpy.data.actions.new(settings.name or f"{source.name} on {ob.name}"))
    bag = new_channels(action, ob)

    kinds = np.where(held, _CONSTANT, _LINEAR)

    def curves(bone: str, channel: str, values: np.ndarray) -> None:
        n = len(frames) if np.ptp(values, axis=0).any() else 1  # what stands still needs one key
        write_bone(bag, bone, channel, frames[:n], values[:n], [kinds[:n]] * values.shape[1])

    for name, location in keys.location.items():
        curves(name, "location", location)
    for name, q in keys.rotation.items():
        mode = ob.pose.bones[name].rotation_mode
        curves(name, rotation_channel(mode), rotation_values(mode, q))
    for s in switches:
        value = s.value if settings.controls == "FK" or s.ik_value is None else s.ik_value
        path = bone_path(s.bone, "")[:-1] + f'["{bpy.utils.escape_identifier(s.name)}"]'
        write_curve(bag, path, 0, s.bone, frames[:1], np.array([value]), _CONSTANT)
    if settings.controls == "IK":
        # bones that the solver may stretch give way even to goals within reach: knees would drift
        for name in stretchy:
            write_curve(bag, bone_path(name, "ik_stretch"), 0, name, frames[:1], np.zeros(1), _CONSTANT)
    if keys.object_location is not None:
        _write_object(ob, bag, keys, frames, kinds)
    return action


def _write_object(ob, bag, keys: Channels, frames: np.ndarray, kinds: np.ndarray) -> None:
    """Root motion on the object: its own rotation and place, turned and carried along."""
    own = np.array(ob.matrix_world.to_quaternion(), float)
    turn = quat_continuous(quat_multiply(keys.object_turn, own))
    mode = ob.rotation_mode
    for channel, values in (
        ("location", keys.object_location),
        (rotation_channel(mode), rotation_values(mode, turn)),
    ):
        for k in range(values.shape[1]):
            write_curve(bag, channel, k, "Object Transforms", frames, values[:, k], kinds)


def _write_contacts(
    ob: bpy.types.Object, action: bpy.types.Action, planted: dict[str, np.ndarray], frames: np.ndarray
) -> None:
    """Contacts (T,) by part of foot or hand as editable properties of the target, keyed where they change."""
    if ob.override_library is not None:
        return  # an override takes no new properties: there the source's are edited
    bag = action.layers[0].strips[0].channelbag(action.slots[0])
    for part, held in planted.items():
        add_planted_property(ob, part)
        change = np.concatenate([[True], held[1:] != held[:-1]])
        path = f'["{PLANTED_PROPERTIES[part]}"]'
        write_curve(bag, path, 0, "Contacts", frames[change], held[change].astype(float), _CONSTANT)


def _assign(ob: bpy.types.Object, action: bpy.types.Action) -> None:
    data = ob.animation_data
    if data is not None and data.action is not None and data.action.users <= 1:
        data.action.use_fake_user = True  # it is not lost with the next save
    use_action(ob, action)


def _check(
    context, ob, solution: Solution, keys: Channels, frames: np.ndarray, result: RetargetResult
) -> None:
    """Compare the evaluated rig with what was solved, at a few frames."""
    rig, scene = solution.rig, context.scene
    before = scene.frame_current, scene.frame_subframe
    mapped = [i for role, chain in solution.body.chains.items() for i in chain
              if role != "root" and rig.names[i] in keys.rotation]  # fmt: skip
    turns, moves = [0.0], [0.0]
    place, carried = np.array(ob.matrix_world), 0.0
    try:
        for t in np.unique(np.linspace(0, len(frames) - 1, _CHECKED_FRAMES).round().astype(int)):
            frame = float(frames[t])
            scene.frame_set(int(np.floor(frame)), subframe=frame % 1.0)
            posed = ob.evaluated_get(context.evaluated_depsgraph_get())
            carried = max(carried, float(np.abs(np.array(posed.matrix_world) - place).max()))
            for i in mapped:
                bone = posed.pose.bones[rig.names[i]]
                q = rig.space.rotations(np.array(bone.matrix.to_quaternion(), float))
                p = rig.space.points(np.array(bone.head, float))
                if keys.object_turn is not None:
                    q = quat_multiply(keys.object_turn[t], q)
                    p = keys.object_location[t] + quat_rotate(keys.object_turn[t], p - rig.space.origin)
                turns.append(
                    float(rotation_angle(quat_multiply(quat_conjugate(q), solution.pose.rotation[t, i])))
                )
                moves.append(float(np.linalg.norm(p - solution.pose.head[t, i])))
    finally:
        scene.frame_set(before[0], subframe=before[1])
    result.error_degrees, result.error_metres = float(np.degrees(max(turns))), max(moves)
    if carried > 1e-4 and keys.object_location is None:
        result.warnings.append(
            f"'{ob.name}' itself moves, by its parent or by constraints: the motion and the places of its feet ride on that."
        )
    if result.error_degrees > 1.0 or result.error_metres > 0.005:
        result.warnings.append(
            f"The rig differs from the motion by up to {result.error_degrees:.1f} degrees and "
            f"{1000 * result.error_metres:.0f} mm: constraints, drivers or NLA tracks of its own pull at it."
        )


__all__ = [
    "RetargetResult", "RetargetSettings", "recognise_rig", "report_for", "resolve_feet", "retarget_to_rig",
]  # fmt: skip
