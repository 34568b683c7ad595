"""Find out by trying how controls of a rig depend on each other.

In control rigs constraints and drivers decide what a control rides on, not its parent: Rigify's
thigh_fk hangs on the hips but, unless told otherwise, turns with the root alone. Each control is
posed once and the others are watched; that costs one update of the scene each and holds for any
rig, and afterwards retargeting needs no evaluation per frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from ..core.contract import GentgError
from ..core.retarget.presets import Switch

_ROTATES = 0.02  # radians of difference that still count as "follows" or "stays"


@dataclass
class ProbeResult:
    """Who rides on whom, and which controls do so only in part."""

    parents: dict[str, tuple[str | None, str | None]]  # control -> (location parent, rotation parent)
    partial: list[tuple[str, str]] = field(default_factory=list)  # (control, what it half follows)


def is_control_rig(ob: bpy.types.Object, names: Sequence[str]) -> bool:
    """Whether constraints stand between the named bones and their parents."""
    for name in names:
        bone = ob.pose.bones[name]
        while bone is not None:
            if any(not c.mute and c.influence > 0.0 for c in bone.constraints):
                return True
            bone = bone.parent
    return False


def probe(context: bpy.types.Context, ob: bpy.types.Object, names: Sequence[str],
          switches: Sequence[Switch] = ()) -> ProbeResult:  # fmt: skip
    """Measure the dependence of controls on each other with `switches` set. The rig's pose,
    properties and action are left as they were."""
    with _at_rest(context, ob, switches):
        bones = [ob.pose.bones[n] for n in names]
        rest = _matrices(bones)
        tilt = Quaternion((1.0, 2.0, 3.0), 0.7).to_matrix().to_4x4()
        span = max(ob.data.bones[n].length for n in names)
        tilt.translation = Vector((0.3, 0.5, -0.4)) * span
        turns = np.zeros((len(names), len(names)))  # [posed, watched] 1 follows, 0 stays, nan in part
        moves = np.zeros_like(turns)
        for c, bone in enumerate(bones):
            bone.matrix_basis = tilt
            context.view_layer.update()
            now = _matrices(bones)
            bone.matrix_basis = Matrix.Identity(4)
            change = now[c] @ np.linalg.inv(rest[c])
            for d in range(len(bones)):
                if d == c:
                    continue
                turns[c, d] = _share(now[d, :3, :3] @ rest[d, :3, :3].T, change[:3, :3])
                expected = (change @ np.append(rest[d, :3, 3], 1.0))[:3] - rest[d, :3, 3]
                happened = now[d, :3, 3] - rest[d, :3, 3]
                moves[c, d] = _share_of_move(happened, expected)
    result = ProbeResult({})
    for d, name in enumerate(names):
        for matrix in (turns, moves):
            result.partial += [(name, names[c]) for c in np.flatnonzero(np.isnan(matrix[:, d]))]
        result.parents[name] = (_nearest(moves, d, names), _nearest(turns, d, names))
    return result


def _matrices(bones: Sequence[bpy.types.PoseBone]) -> np.ndarray:
    return np.array([b.matrix for b in bones], float)


def _share(turn: np.ndarray, full: np.ndarray) -> float:
    def angle(m: np.ndarray) -> float:
        return float(np.arccos(np.clip((np.trace(m) - 1.0) / 2.0, -1.0, 1.0)))

    if angle(turn) < _ROTATES:
        return 0.0
    return 1.0 if angle(turn @ full.T) < _ROTATES else float("nan")


def _share_of_move(happened: np.ndarray, expected: np.ndarray) -> float:
    size = float(np.linalg.norm(expected))
    if np.linalg.norm(happened) < 0.02 * size:
        return 0.0
    return 1.0 if np.linalg.norm(happened - expected) < 0.02 * size else float("nan")


def _nearest(follows: np.ndarray, d: int, names: Sequence[str]) -> str | None:
    """Of all that a control follows, the one that itself follows the most."""
    above = np.flatnonzero(follows[:, d] == 1.0)
    if len(above) == 0:
        return None
    return names[max(above, key=lambda c: int(np.sum(follows[:, c] == 1.0)))]


@contextmanager
def _at_rest(context: bpy.types.Context, ob: bpy.types.Object, switches: Sequence[Switch]) -> Iterator[None]:
    """All bones unposed and no action playing, for as long as it lasts."""
    data = ob.animation_data
    held = (data.action, data.action_slot, data.use_nla) if data is not None else None
    channels = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")
    pose = {b.name: {c: tuple(getattr(b, c)) for c in channels} for b in ob.pose.bones}
    values = {(s.bone, s.name): ob.pose.bones[s.bone][s.name] for s in switches}
    position = ob.data.pose_position
    try:
        if held is not None:
            data.action, data.use_nla = None, False
        if position != "POSE":
            ob.data.pose_position = "POSE"
        for bone in ob.pose.bones:
            bone.matrix_basis = Matrix.Identity(4)
        for s in switches:
            set_property(ob.pose.bones[s.bone], s.name, s.value)
        ob.update_tag()
        context.view_layer.update()
        yield
    finally:
        for name, kept in pose.items():
            for channel, value in kept.items():
                setattr(ob.pose.bones[name], channel, value)
        for (bone, name), value in values.items():
            ob.pose.bones[bone][name] = value
        if ob.data.pose_position != position:
            ob.data.pose_position = position
        if held is not None:
            data.use_nla = held[2]
            data.action = held[0]
            if held[1] is not None:
                data.action_slot = held[1]
        ob.update_tag()
        context.view_layer.update()


def set_property(bone: bpy.types.PoseBone, name: str, value: float) -> None:
    """Set a custom property in the type that it has."""
    now = bone[name]
    if isinstance(now, bool):
        bone[name] = bool(value)
    elif isinstance(now, int):
        bone[name] = int(value)
    elif isinstance(now, float):
        bone[name] = float(value)
    else:
        raise GentgError(
            "bad_request",
            f"The property {name} of {bone.name} is no number.",
            hint="Choose the bone map that belongs to this rig.",
        )
