"""An action's bone channels as arrays, and new actions made from old ones, which are kept."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..core.contract import GentgError
from ..core.retarget.sampling import basis_rotation
from ..core.rotations import quat_continuous
from .action import PLANTED_PROPERTIES
from .compat import channelbag, use_action
from .keying import bone_path, rotation_values, write_bone
from .rig_reader import require_motion

FROM = "gentg_from"  # custom property of an action: the one it was made from
STEP = "gentg_step"  # ... and by which step

_SIZES = {"location": 3, "rotation_quaternion": 4, "rotation_euler": 3, "rotation_axis_angle": 4}
_CONSTANT, _LINEAR = 0, 1


@dataclass
class Track:
    """One channel of one bone."""

    bone: str
    channel: str
    curves: list[bpy.types.FCurve]
    frames: np.ndarray  # (T,) every frame where any of its components is keyed
    values: np.ndarray  # (T, n)
    held: np.ndarray  # (T,) True where the value stays until the next key, as before a gap
    together: bool  # all components are keyed on the same frames

    @property
    def turns(self) -> bool:
        return self.channel != "location"

    def mode(self, of_bone: str) -> str:
        """The rotation mode that the channel is in, given the bone's; "" for locations."""
        if not self.turns:
            return ""
        own = {"rotation_quaternion": "QUATERNION", "rotation_axis_angle": "AXIS_ANGLE"}.get(
            self.channel, of_bone
        )
        return own if self.channel != "rotation_euler" or len(own) == 3 else "XYZ"


class ActionEdit:
    """Context manager: a copy of an armature's action to change, which plays at once. The one
    before it is kept and noted on it; after an error all is as it was."""

    def __init__(self, ob: bpy.types.Object, step: str):
        """Raises GentgError where `ob` has no action of its own."""
        require_motion(ob)
        self.ob, self.old = ob, ob.animation_data.action
        if self.old is None:
            raise GentgError(
                "bad_request",
                f"'{ob.name}' has no action of its own to clean up.",
                hint="Select its strip in the NLA editor and enter tweak mode, or assign its action.",
            )
        self.step = step

    def __enter__(self) -> ActionEdit:
        self.new = self.old.copy()
        self.new.name = f"{self.old.name} {self.step}"
        self.slot = used = self.ob.animation_data.action_slot
        slots = self.new.slots
        slot = next((s for s in slots if used is not None and s.identifier == used.identifier), slots[0])
        self.bag = channelbag(self.new, slot)
        self._play(self.new, slot)
        self.tracks = {(t.bone, t.channel): t for t in tracks_of(self.bag)}
        return self

    def __exit__(self, kind, error, trace) -> bool:
        if error is not None:
            self._play(self.old, self.slot)
            bpy.data.actions.remove(self.new)
            return False
        self.old.use_fake_user = True  # it is not lost with the next save
        self.new[FROM], self.new[STEP] = self.old, self.step
        return False

    def _play(self, action: bpy.types.Action, slot: bpy.types.ActionSlot | None) -> None:
        data = self.ob.animation_data
        data.action = action
        if slot is not None:
            data.action_slot = slot

    def mode(self, bone: str) -> str:
        return self.ob.pose.bones[bone].rotation_mode

    def rotation(self, track: Track) -> np.ndarray:
        """A turning track's unit quaternions (T, 4)."""
        mode = {"rotation_quaternion": "QUATERNION", "rotation_axis_angle": "AXIS_ANGLE"}.get(track.channel)
        return basis_rotation(mode or self.mode(track.bone), track.values)

    def put_rotation(self, track: Track, q: np.ndarray) -> None:
        """New rotations (T, 4) on the track's own keys, in its own mode."""
        mode = {"rotation_quaternion": "QUATERNION", "rotation_axis_angle": "AXIS_ANGLE"}.get(track.channel)
        self.put(track, rotation_values(mode or self.mode(track.bone), quat_continuous(q)))

    def put(self, track: Track, values: np.ndarray, frames: np.ndarray | None = None,
            held: np.ndarray | None = None) -> None:  # fmt: skip
        """New values (T, n) of a track, on its own keys or on other frames (T,)."""
        if frames is None and track.together:
            for k, curve in enumerate(track.curves):
                co = np.stack([track.frames, values[:, k]], -1).astype(np.float32)
                curve.keyframe_points.foreach_set("co", co.ravel())
                curve.update()
            return
        if frames is None:
            frames, held = track.frames, track.held
        elif held is None:
            held = self._held_at(track, frames)
        for curve in track.curves:
            self.bag.fcurves.remove(curve)
        self._write(track.bone, track.channel, frames, values, held)

    def add(self, bone: str, channel: str, frames: np.ndarray, values: np.ndarray, held: np.ndarray) -> None:
        """Values (T, n) on frames (T,), whether the bone's channel was keyed before or not."""
        track = self.tracks.get((bone, channel))
        if track is not None:
            self.put(track, values, frames, held)
        else:
            self._write(bone, channel, frames, values, held)

    def _write(
        self, bone: str, channel: str, frames: np.ndarray, values: np.ndarray, held: np.ndarray
    ) -> None:
        kinds = np.where(held, _CONSTANT, _LINEAR)
        write_bone(self.bag, bone, channel, frames, values, [kinds] * values.shape[1])
        path = bone_path(bone, channel)
        curves = [self.bag.fcurves.find(path, index=k) for k in range(values.shape[1])]
        self.tracks[bone, channel] = Track(bone, channel, curves, frames, values, held, True)

    def contact_curves(self) -> dict[str, bpy.types.FCurve]:
        """Part of a foot (skeleton.FEET) or hand -> the curve of its contact property, where there is one."""
        found = {part: self.bag.fcurves.find(f'["{name}"]') for part, name in PLANTED_PROPERTIES.items()}
        return {part: curve for part, curve in found.items() if curve is not None}

    @staticmethod
    def _held_at(track: Track, frames: np.ndarray) -> np.ndarray:
        on = track.frames[track.held]
        return np.abs(frames[:, None] - on).min(axis=1) < 1e-3 if len(on) else np.zeros(len(frames), bool)


def tracks_of(bag: bpy.types.ActionChannelbag) -> list[Track]:
    """The bone channels of which every component is keyed."""
    groups: dict[tuple[str, str], list[bpy.types.FCurve]] = {}
    for curve in bag.fcurves:
        head, _, channel = curve.data_path.rpartition(".")
        if curve.data_path.startswith('pose.bones["') and channel in _SIZES and len(curve.keyframe_points):
            bone = bpy.utils.unescape_identifier(head[len('pose.bones["') : -2])
            groups.setdefault((bone, channel), []).append(curve)
    return [
        _track(bone, channel, sorted(curves, key=lambda c: c.array_index))
        for (bone, channel), curves in groups.items()
        if len(curves) == _SIZES[channel]  # a component that is not keyed is not ours to change
    ]


def _track(bone: str, channel: str, curves: list[bpy.types.FCurve]) -> Track:
    keys, kinds = [], []
    for curve in curves:
        co = np.empty(2 * len(curve.keyframe_points), np.float32)
        curve.keyframe_points.foreach_get("co", co)
        keys.append(co.reshape(-1, 2).astype(float))
        kind = np.empty(len(curve.keyframe_points), np.int32)
        curve.keyframe_points.foreach_get("interpolation", kind)
        kinds.append(kind)
    together = all(len(k) == len(keys[0]) and np.allclose(k[:, 0], keys[0][:, 0]) for k in keys)
    if together:
        return Track(bone, channel, curves, keys[0][:, 0], np.stack([k[:, 1] for k in keys], -1),
                     kinds[0] == _CONSTANT, True)  # fmt: skip
    frames = np.unique(np.round(np.concatenate([k[:, 0] for k in keys]), 4))
    values = np.stack([[c.evaluate(float(f)) for f in frames] for c in curves], -1)
    constant = np.concatenate([k[:, 0][kind == _CONSTANT] for k, kind in zip(keys, kinds, strict=True)])
    return Track(bone, channel, curves, frames, values, np.isin(frames, np.round(constant, 4)), False)


def revert(ob: bpy.types.Object) -> bpy.types.Action:
    """Go back to the action that the last step started from. Raises GentgError without one."""
    require_motion(ob)
    earlier = earlier_action(ob)
    if earlier is None:
        raise GentgError("bad_request", f"The action of '{ob.name}' was not made by a clean-up step.")
    use_action(ob, earlier)
    return earlier


def earlier_action(ob: bpy.types.Object) -> bpy.types.Action | None:
    """The action that the present one was made from by a step, or None."""
    action = ob.animation_data.action if ob.animation_data is not None else None
    return action.get(FROM) if action is not None else None
