"""An action written bit by bit, for imports that must not stop Blender."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import bpy

from .action import Channel, Keys, fill_curve
from .compat import channelbag, new_fcurve, new_slot


class IncrementalAction:
    """An action for an object that does not exist yet; nothing uses it while it is written.

    Between two bits anything may happen to the file: undo above all, which replaces every object
    that Python holds and takes away what is newer than its step. So the action is found again every
    time, by the id that Blender gives each data-block in a session, and `intact` tells whether it
    is still what was written.
    """

    def __init__(self, name: str, channels: Iterable[Channel]):
        """Makes all curves, empty: new curves make Blender order the whole scene again, keys don't."""
        self._channels = list(channels)
        action = bpy.data.actions.new(name)
        action.use_frame_range = False
        self._uid = action.session_uid
        bag = new_slot(action, "OBJECT", name)
        for channel in self._channels:
            for index in range(channel.size):
                new_fcurve(bag, channel.path, index, channel.group)
        self.total = len(bag.fcurves)
        self.written = 0
        self._last: tuple[str, int, int] | None = None  # path, index and keys of the newest full curve

    def find(self) -> bpy.types.Action | None:
        return next((a for a in bpy.data.actions if a.session_uid == self._uid), None)

    def intact(self) -> bool:
        """Whether all that was written is there."""
        action = self.find()
        if action is None:
            return False
        curves = channelbag(action, action.slots[0]).fcurves
        if len(curves) != self.total:
            return False
        if self._last is None:
            return True
        path, index, count = self._last
        return len(curves.find(path, index=index).keyframe_points) == count

    def write(self) -> Iterator[None]:
        """Fills curve after curve, a few milliseconds between two yields. Only go on while `intact`."""
        for channel in self._channels:
            keys = channel.keys()
            yield
            for index in range(channel.size):
                self._fill(channel.path, index, keys)
                yield

    def _fill(self, path: str, index: int, keys: Keys) -> None:
        action = self.find()
        curve = channelbag(action, action.slots[0]).fcurves.find(path, index=index)
        fill_curve(curve, keys.frames, keys.values[:, index], keys.interpolation)
        self._last = path, index, len(keys.frames)
        self.written += 1

    def rename(self, name: str) -> bpy.types.Action:
        action = self.find()
        action.name = action.slots[0].name_display = name
        return action

    def discard(self) -> None:
        """Take the action away, if it is there."""
        action = self.find()
        if action is not None:
            bpy.data.actions.remove(action)
