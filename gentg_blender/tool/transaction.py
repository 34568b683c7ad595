"""All or nothing: what a failed import made is taken away again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import bpy

ID = TypeVar("ID", bound=bpy.types.ID)


class Transaction:
    """Context manager. Inside it, give every new data-block to `own` and every change of a
    setting to `set`; an exception removes the blocks and restores the settings."""

    def __init__(self) -> None:
        self._made: list[bpy.types.ID] = []
        self._undo: list[Callable[[], None]] = []
        self.changes: list[tuple[str, Any, Any]] = []  # what, before, after

    def own(self, block: ID) -> ID:
        self._made.append(block)
        return block

    def set(self, owner: Any, attribute: str, value: Any, label: str = "") -> None:
        """Set an attribute; with a label the change is reported in `changes`."""
        before = getattr(owner, attribute)
        if before == value:
            return
        setattr(owner, attribute, value)
        self._undo.append(lambda: setattr(owner, attribute, before))
        if label:
            self.changes.append((label, before, value))

    def on_failure(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind, error, trace) -> bool:
        if error is not None:
            for undo in reversed(self._undo):
                undo()
            bpy.data.batch_remove(self._made)
        return False
