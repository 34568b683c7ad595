"""The controls of an animated rig as posed arrays in the world, to be changed and written back.

Unlike `rig_reader.read_motion`, which sees what is evaluated, this is what the action keys: FK and
IK controls alike, so that both stay usable after a step that moves the body or its legs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import bpy
import numpy as np

from ..core.contract import GentgError
from ..core.retarget.body import Body, ControlRig, SourceMotion, Z, control_rig
from ..core.retarget.keys import IkChain
from ..core.retarget.mapping import Mapping
from ..core.retarget.recognise import recognise
from ..core.retarget.solve import Pose, Solution
from ..core.rotations import quat_between, quat_conjugate, quat_continuous, quat_multiply, rotation_angle
from .keying import rotation_channel, rotation_values
from .rig_controls import controls_of, measured_rig
from .rig_probe import is_control_rig
from .rig_reader import ancestors, channel_values, held_keys, key_frames, read_bones, read_contacts, read_pins
from .tracks import ActionEdit

RECIPE = "gentg_retarget"  # custom property of a retargeted rig: how it was done, as JSON

_STILL = 1e-6  # radians and metres: less is no change


@dataclass
class PosedRig:
    """Controls in solver space (see core.retarget.body), T frames of N controls."""

    ob: bpy.types.Object
    mapping: Mapping
    rig: ControlRig
    body: Body
    limbs: list[IkChain]  # IK controls that the rig has beside its FK controls
    frames: np.ndarray  # (T,)
    times: np.ndarray  # (T,) seconds
    held: np.ndarray  # (T,) True where the pose is held until the next key
    rotation: np.ndarray  # (T, N, 4)
    head: np.ndarray  # (T, N, 3)
    contacts: np.ndarray | None  # (T, 4) bool, None where the rig has no contact properties
    pins: np.ndarray | None  # (T, 2) bool, None where no hand was ever pinned
    warnings: list[str] = field(default_factory=list)

    def motion(self) -> SourceMotion:
        return SourceMotion(self.body, self.head, self.rotation, self.times, self.contacts)

    def solution(self) -> Solution:
        """The rig's own motion as what the IK code changes."""
        rig, hips = self.rig, self.body.chains["hips"][0]
        placed = {hips: self.head[:, hips]}
        for i in range(len(rig.names)):
            if hips not in self.above(i) and np.abs(rig.location(self.rotation, self.head, i)).max() > 1e-9:
                placed[i] = self.head[:, i]
        pose = Pose(self.rotation.copy(), self.head.copy(), placed)
        return Solution(rig, self.body, pose, 1.0, quat_between(self.body.up, Z), set())

    def above(self, control: int) -> set[int]:
        """The controls that this one rides on."""
        found: set[int] = set()
        todo = [control]
        while todo:
            i = todo.pop()
            for p in (int(self.rig.parents[i]), int(self.rig.rotation_parents[i])):
                if p >= 0 and p not in found:
                    found.add(p)
                    todo.append(p)
        return found

    def carrier(self) -> int:
        """The control that takes the body through the scene. Raises GentgError where none does."""
        for role in ("root", "hips"):
            for i in self.body.chains.get(role, ()):
                if np.ptp(self.rig.location(self.rotation, self.head, i), axis=0).max() > _STILL:
                    return i
        raise GentgError(
            "bad_request",
            f"Neither the root nor the hips of '{self.ob.name}' travel.",
            hint="If the object itself carries the motion, retarget with the root motion on the hips or a bone.",
        )


def map_of(ob: bpy.types.Object) -> Mapping:
    """The bone map that the rig was retargeted with, else what is recognised. Raises GentgError."""
    if RECIPE in ob:
        return Mapping.from_json(json.loads(ob[RECIPE])["map"])
    found = recognise(read_bones(ob))
    if found.method == "none":
        raise GentgError(
            "bad_request",
            f"The rig '{ob.name}' was not recognised.",
            hint="Select a captured armature, or a rig that GenTG retargeted to.",
        )
    return found.mapping


def read_posed(context: bpy.types.Context, ob: bpy.types.Object) -> PosedRig:
    """What the armature's own action keys, on the frames where any bone is keyed."""
    mapping, bones = map_of(ob), read_bones(ob)
    frames = key_frames(ob)
    warnings: list[str] = []
    if is_control_rig(ob, ancestors(ob, mapping.used())):
        switches, limbs = controls_of(ob, mapping)
        rig = measured_rig(context, ob, bones, mapping, switches, limbs, warnings)
    else:
        limbs = []
        rig = control_rig(
            bones, ancestors(ob, mapping.used()), np.array(ob.matrix_world), name=f"'{ob.name}'"
        )
    rotation, head = rig.posed(*channel_values(ob, rig, frames), len(frames))
    times = frames * context.scene.render.fps_base / context.scene.render.fps
    return PosedRig(ob, mapping, rig, rig.body(mapping), limbs, frames, times, held_keys(ob, frames), rotation, head,
                    read_contacts(ob, frames), read_pins(ob, frames), warnings)  # fmt: skip


def write_posed(
    edit: ActionEdit, posed: PosedRig, rotation: np.ndarray, head: np.ndarray, only: set[int] | None = None
) -> None:
    """Key those controls (of `only`, where given) whose channels differ from what was read, on the rig's frames; a control
    that rides along with another is left alone."""
    rig = posed.rig
    for i, name in enumerate(rig.names):
        if only is not None and i not in only:
            continue
        before, after = rig.local_rotation(posed.rotation, i), rig.local_rotation(rotation, i)
        if rotation_angle(quat_multiply(quat_conjugate(before), after)).max() > _STILL:
            mode = edit.mode(name)
            values = rotation_values(mode, quat_continuous(after))
            edit.add(name, rotation_channel(mode), posed.frames, values, posed.held)
        if rig.connected[i]:
            continue
        after = rig.location(rotation, head, i)
        if np.abs(after - rig.location(posed.rotation, posed.head, i)).max() > _STILL:
            edit.add(name, "location", posed.frames, after, posed.held)
