"""Armatures out of Blender as plain data: bones, motion, contacts; and what was wrongly selected."""

from __future__ import annotations

import bpy
import numpy as np

from ..core.contract import GentgError
from ..core.retarget.body import Body, ControlRig, SourceMotion, Space, control_rig
from ..core.retarget.mapping import Mapping
from ..core.retarget.rig import RigBone
from ..core.retarget.sampling import basis_rotation
from ..core.rotations import matrix_to_quat, normalize
from ..core.skeleton import FEET
from .action import CONTACT_PROPERTIES, HAND_PROPERTIES
from .compat import channelbag

_ROTATION = {"QUATERNION": ("rotation_quaternion", 4), "AXIS_ANGLE": ("rotation_axis_angle", 4)}
_TRANSFORMS = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")
_KINDS = {"MESH": "a mesh", "EMPTY": "an empty", "CAMERA": "a camera", "LIGHT": "a light", "CURVE": "a curve"}


def read_bones(ob: bpy.types.Object) -> list[RigBone]:
    """Bones of an armature object in rest pose, armature space."""
    require_armature(ob, "the rig")
    return [
        RigBone(
            b.name, b.parent.name if b.parent else None, tuple(b.head_local), tuple(b.tail_local),
            tuple(b.matrix_local.to_quaternion()), b.use_deform, b.use_inherit_rotation, b.use_local_location,
            b.use_connect and b.parent is not None,
        )
        for b in ob.data.bones
    ]  # fmt: skip


# --------------------------------------------------------------------------- selections


def require_armature(ob: bpy.types.Object | None, what: str) -> None:
    """Raises GentgError that says what is selected instead and what to select."""
    if ob is None:
        raise GentgError("bad_request", f"Nothing is chosen as {what}.", hint="Select an armature.")
    if ob.type == "ARMATURE":
        return
    hint = "Select an armature."
    if (rig := ob.find_armature() if ob.type == "MESH" else None) is not None:
        hint = f"It is moved by the armature '{rig.name}': select that."
    elif ob.parent is not None and ob.parent.type == "ARMATURE":
        hint = f"Select its parent, the armature '{ob.parent.name}'."
    raise GentgError(
        "bad_request", f"'{ob.name}' is {_KINDS.get(ob.type, 'no armature')}, not an armature.", hint=hint
    )


def require_motion(ob: bpy.types.Object | None) -> None:
    """The source must be an armature that something moves. Raises GentgError."""
    require_armature(ob, "the source of the motion")
    data = ob.animation_data
    if data is not None and (
        data.action is not None or any(not t.mute and t.strips for t in data.nla_tracks)
    ):
        return
    raise GentgError(
        "bad_request",
        f"'{ob.name}' has no animation.",
        hint="Select the armature that GenTG captured, or assign an action to this one.",
    )


def require_target(ob: bpy.types.Object | None, source: bpy.types.Object | None = None, *,
                   metarig: bool = False) -> None:  # fmt: skip
    """The target must be an armature that can be keyed, and not a metarig by mistake. Raises GentgError."""
    require_armature(ob, "the target rig")
    if source is not None and ob == source:
        raise GentgError(
            "bad_request",
            f"'{ob.name}' is both the source and the target.",
            hint="Select the captured armature and, as the active object, your own rig.",
        )
    if len(ob.data.bones) == 0:
        raise GentgError(
            "bad_request", f"The armature '{ob.name}' has no bones.", hint="Select your character's rig."
        )
    if ob.library is not None:
        raise GentgError(
            "bad_request",
            f"'{ob.name}' is linked from another file and cannot be animated here.",
            hint="Use Object > Library Override > Make, then select the override.",
        )
    if not metarig and (maker := metarig_of(ob)):
        rigs = generated_rigs(ob)
        raise GentgError(
            "bad_request", f"'{ob.name}' is a {maker} metarig, not the rig that is animated.",
            hint=f"Select the generated rig '{rigs[0].name}'." if rigs else
            "Press Generate Rig in its armature properties and select the rig that this makes.",
        )  # fmt: skip


def metarig_of(ob: bpy.types.Object) -> str:
    """The add-on that would generate a rig from this armature; "" where none would."""
    if "rig_id" not in ob.data and any(_rigify_type(b) for b in ob.pose.bones):
        return "Rigify"
    settings = _cloudrig(ob)
    if settings is not None and settings["enabled"] and "is_generated_cloudrig" not in ob.data:
        return "CloudRig"
    return ""


def _rigify_type(bone: bpy.types.PoseBone) -> str:
    # a registered property while Rigify is on; without it neither reading works, and a metarig
    # is then known by its names alone
    if hasattr(bone, "rigify_type"):
        return bone.rigify_type
    return str(bone.get("rigify_type", ""))


def _cloudrig(ob: bpy.types.Object) -> dict | None:
    """What CloudRig has set on a metarig: registered properties while it is on, else what it left in the file."""
    settings = getattr(ob, "cloudrig", None)
    if settings is not None:
        return {"enabled": bool(settings.enabled), "rig": settings.generator.target_rig}
    settings = ob.get("cloudrig")
    if settings is None:
        return None
    return {"enabled": bool(settings.get("enabled")), "rig": settings.get("generator", {}).get("target_rig")}


def generated_rigs(metarig: bpy.types.Object) -> list[bpy.types.Object]:
    """Rigs that Rigify or CloudRig made, this metarig's own first."""
    own = getattr(metarig.data, "rigify_target_rig", None) or (_cloudrig(metarig) or {}).get("rig")
    rigs = [o for o in bpy.data.objects
            if o.type == "ARMATURE" and ("rig_id" in o.data or "is_generated_cloudrig" in o.data)]  # fmt: skip
    return sorted(rigs, key=lambda o: o != own)


# --------------------------------------------------------------------------- motion


def read_motion(
    context: bpy.types.Context, ob: bpy.types.Object, mapping: Mapping, frames: np.ndarray | None = None
) -> tuple[SourceMotion, np.ndarray]:
    """The motion of the mapped bones in the world, and the scene frames (T,) it was read at.

    Frames default to those where the pose is keyed. An armature that an action alone moves is
    computed from its curves in bulk; one with constraints, drivers, NLA layers or a moving object
    is evaluated by Blender frame by frame, which is slow but sees everything.
    """
    require_motion(ob)
    bones = read_bones(ob)
    if frames is None:
        frames = key_frames(ob)
    rate = context.scene.render.fps / context.scene.render.fps_base
    times = np.asarray(frames, float) / rate
    names = mapping.used()
    if _is_plain(ob, names):
        motion = _from_curves(ob, bones, mapping, frames, times)
    else:
        motion = _from_evaluation(context, ob, bones, mapping, frames, times)
    motion.contacts = read_contacts(ob, frames)
    return motion, frames


def motion_of_bones(context: bpy.types.Context, ob: bpy.types.Object, names: list[str],
                    frames: np.ndarray) -> SourceMotion:  # fmt: skip
    """The motion of any bones, in the order given, whatever part of the body they are. Its body has
    no parts: only rest and posed arrays are of use."""
    require_motion(ob)
    bones = read_bones(ob)
    times = np.asarray(frames, float) * context.scene.render.fps_base / context.scene.render.fps
    loose = _Names(names)
    read = _from_curves if _is_plain(ob, names) else lambda *a: _from_evaluation(context, *a)
    return read(ob, bones, loose, frames, times)


class _Names:
    """Stands in for a Mapping where the bones' roles are of no interest."""

    bones: dict[str, tuple[str, ...]] = {}

    def __init__(self, names: list[str]):
        self._names = list(names)

    def used(self) -> list[str]:
        return self._names


def _curves(ob: bpy.types.Object) -> list[bpy.types.FCurve]:
    data = ob.animation_data
    if data is None or data.action is None or data.action_slot is None:
        return []
    bag = channelbag(data.action, data.action_slot)
    return list(bag.fcurves) if bag is not None else []


def key_frames(ob: bpy.types.Object) -> np.ndarray:
    """Scene frames (T,) where any pose bone is keyed, else every frame of the NLA strips.

    Raises GentgError where there are none.
    """
    found = [_keys(c)[:, 0] for c in _curves(ob) if c.data_path.startswith("pose.bones[")]
    if not found and ob.animation_data is not None:
        for track in ob.animation_data.nla_tracks:
            if not track.mute:
                found += [np.arange(s.frame_start, s.frame_end + 0.5) for s in track.strips if not s.mute]
    frames = np.unique(np.round(np.concatenate(found), 4)) if found else np.zeros(0)
    if len(frames) == 0:
        raise GentgError(
            "bad_request",
            f"The animation of '{ob.name}' keys none of its bones.",
            hint="Select the armature that holds the captured motion.",
        )
    return frames


def _keys(curve: bpy.types.FCurve) -> np.ndarray:
    co = np.empty(2 * len(curve.keyframe_points), np.float32)
    curve.keyframe_points.foreach_get("co", co)
    return co.reshape(-1, 2).astype(float)


def sample(curve: bpy.types.FCurve, frames: np.ndarray) -> np.ndarray:
    """Values (T,) of a curve at frames, straight from its keys where they coincide."""
    keys = _keys(curve)
    if len(keys) == len(frames) and not curve.modifiers and np.allclose(keys[:, 0], frames, atol=1e-3):
        return keys[:, 1]
    return np.array([curve.evaluate(float(f)) for f in frames])


def held_keys(ob: bpy.types.Object, frames: np.ndarray) -> np.ndarray:
    """(T,) True where the pose is held until the next key, as before a gap in a capture."""
    held = np.zeros(len(frames), bool)
    for curve in _curves(ob):
        keys = _keys(curve)
        if not curve.data_path.startswith("pose.bones[") or len(keys) != len(frames):
            continue
        if np.allclose(keys[:, 0], frames, atol=1e-3):
            kinds = np.empty(len(keys), np.int32)
            curve.keyframe_points.foreach_get("interpolation", kinds)
            return kinds == 0
    return held


def read_contacts(ob: bpy.types.Object, frames: np.ndarray) -> np.ndarray | None:
    """(T, 4) bool from the armature's editable contact properties, or None where it has none.

    A key holds until the next one, whatever interpolation an edit has given it.
    """
    return _read_planted(ob, [CONTACT_PROPERTIES[foot] for foot in FEET], frames)


def read_pins(ob: bpy.types.Object, frames: np.ndarray) -> np.ndarray | None:
    """(T, 2) bool: whether the left and the right hand are marked as held, or None where neither ever was."""
    return _read_planted(ob, [*HAND_PROPERTIES.values()], frames)


def _read_planted(ob: bpy.types.Object, properties: list[str], frames: np.ndarray) -> np.ndarray | None:
    by_path = {c.data_path: c for c in _curves(ob)}
    columns = [by_path.get(f'["{name}"]') for name in properties]
    if all(c is None for c in columns):
        return None
    return np.stack([_steps(c, frames) for c in columns], -1)


def _steps(curve: bpy.types.FCurve | None, frames: np.ndarray) -> np.ndarray:
    keys = _keys(curve) if curve is not None else np.zeros((0, 2))
    if len(keys) == 0:
        return np.zeros(len(frames), bool)
    # as F-curves do, the first key also holds before itself
    return keys[np.maximum(np.searchsorted(keys[:, 0], frames + 1e-3) - 1, 0), 1] > 0.5


def ancestors(ob: bpy.types.Object, names: list[str]) -> list[str]:
    """The named bones and all above them. Raises GentgError for bones that are not there."""
    found: dict[str, None] = {}
    for name in names:
        bone = ob.pose.bones.get(name)
        if bone is None:
            raise GentgError(
                "bad_request",
                f"'{ob.name}' has no bone named {name}.",
                hint="Choose the bone map of this rig, or correct it.",
            )
        while bone is not None and bone.name not in found:
            found[bone.name] = None
            bone = bone.parent
    return list(found)


def _is_plain(ob: bpy.types.Object, names: list[str]) -> bool:
    """Whether the action's curves on these bones and their parents say everything."""
    data = ob.animation_data
    if data.action is None or (data.use_nla and any(not t.mute and t.strips for t in data.nla_tracks)):
        return False
    if ob.constraints or ob.parent is not None or data.action_blend_type != "REPLACE":
        return False
    if any(d.data_path.rpartition(".")[2] in _TRANSFORMS for d in data.drivers):
        return False  # drivers of colours and the like move nothing
    closure = set(ancestors(ob, names))
    if any(not c.mute for n in closure for c in ob.pose.bones[n].constraints):
        return False
    if any(ob.data.bones[n].inherit_scale != "FULL" for n in closure):
        return False
    for curve in _curves(ob):
        path = curve.data_path
        if path in _TRANSFORMS:
            return False
        if path.endswith("].scale") and not np.allclose(_keys(curve)[:, 1], 1.0, atol=1e-4):
            return False
    if any(
        (ob.pose.bones[n].scale - ob.pose.bones[n].scale.__class__((1, 1, 1))).length > 1e-4 for n in closure
    ):
        return False
    scale = np.array(ob.matrix_world.to_scale())
    return bool(np.allclose(scale, scale.mean(), rtol=1e-4))


def _body(ob: bpy.types.Object, bones: list[RigBone], mapping: Mapping, names: list[str]) -> Body:
    """Rest geometry in the world; exact for sheared objects too."""
    by_name = {b.name: b for b in bones}
    matrix = np.array(ob.matrix_world)
    space = Space.of(matrix, f"'{ob.name}'")

    def world(points: list) -> np.ndarray:
        return np.array(points, float) @ matrix[:3, :3].T + matrix[:3, 3]

    chains = {r: tuple(names.index(n) for n in c) for r, c in mapping.bones.items()}
    return Body(
        chains, world([by_name[n].head for n in names]), world([by_name[n].tail for n in names]),
        space.rotations(np.array([by_name[n].rotation for n in names])), matrix[:3, 3],
    )  # fmt: skip


def channel_values(
    ob: bpy.types.Object, rig: ControlRig, frames: np.ndarray
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """What the action's curves give the controls of a rig at frames (T,), for `ControlRig.posed`:
    `matrix_basis` rotations (T, 4) and locations (T, 3). What is not keyed has its present value."""
    by_path = {(c.data_path, c.array_index): c for c in _curves(ob)}
    local, location = {}, {}
    for i, name in enumerate(rig.names):
        bone = ob.pose.bones[name]
        prefix = f'pose.bones["{bpy.utils.escape_identifier(name)}"].'

        def read(channel: str, size: int, bone=bone, prefix=prefix) -> np.ndarray:
            now = getattr(bone, channel)
            curves = [by_path.get((prefix + channel, k)) for k in range(size)]
            return np.stack(
                [
                    np.full(len(frames), now[k]) if c is None else sample(c, frames)
                    for k, c in enumerate(curves)
                ],
                -1,
            )

        channel, size = _ROTATION.get(bone.rotation_mode, ("rotation_euler", 3))
        local[i] = basis_rotation(bone.rotation_mode, read(channel, size))
        if not rig.connected[i]:
            location[i] = read("location", 3)
    return local, location


def _from_curves(
    ob, bones: list[RigBone], mapping: Mapping, frames: np.ndarray, times: np.ndarray
) -> SourceMotion:
    rig = control_rig(bones, ancestors(ob, mapping.used()), np.array(ob.matrix_world), name=f"'{ob.name}'")
    rotation, head = rig.posed(*channel_values(ob, rig, frames), len(frames))
    keep = [rig.index(n) for n in mapping.used()]
    return SourceMotion(_body(ob, bones, mapping, mapping.used()), head[:, keep], rotation[:, keep], times)


def _from_evaluation(
    context, ob, bones, mapping: Mapping, frames: np.ndarray, times: np.ndarray
) -> SourceMotion:
    scene, names = context.scene, mapping.used()
    ancestors(ob, names)  # complains of bones that are not there
    body = _body(ob, bones, mapping, names)
    posed = np.empty((len(frames), len(names), 4, 4))
    world = np.empty((len(frames), 4, 4))
    before = scene.frame_current, scene.frame_subframe
    try:
        for t, frame in enumerate(frames):
            scene.frame_set(int(np.floor(frame)), subframe=float(frame % 1.0))
            pose = ob.evaluated_get(context.evaluated_depsgraph_get())
            world[t] = pose.matrix_world
            for i, name in enumerate(names):
                posed[t, i] = pose.pose.bones[name].matrix
    finally:
        scene.frame_set(before[0], subframe=before[1])
    head = np.einsum("tij,tnj->tni", world[:, :3, :3], posed[:, :, :3, 3]) + world[:, None, :3, 3]
    axes = np.einsum("tij,tnjk->tnik", world[:, :3, :3], posed[:, :, :3, :3])
    u, _, vt = np.linalg.svd(axes)  # rotation nearest to what scale and shear have made of it
    return SourceMotion(body, head, normalize(matrix_to_quat(u @ vt)), times)
