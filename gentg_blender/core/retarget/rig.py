"""Bones of any armature as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(frozen=True)
class RigBone:
    """One bone in rest pose, in armature space (no unit is assumed: the object's scale counts)."""

    name: str
    parent: str | None
    head: Vector
    tail: Vector
    rotation: Quaternion  # wxyz, bone axes in armature space; y runs from head to tail
    deform: bool = True
    inherit_rotation: bool = True
    local_location: bool = True  # location is given in the bone's own rest axes
    connected: bool = False  # its head is glued to its parent's tail: it cannot move away


def parents_first(bones: Sequence[RigBone]) -> list[RigBone]:
    """The same bones ordered so that each stands after its parent."""
    by_name = {b.name: b for b in bones}
    done: dict[str, RigBone] = {}
    for bone in bones:
        line = []
        while bone is not None and bone.name not in done:
            line.append(bone)
            bone = by_name.get(bone.parent) if bone.parent is not None else None
        for b in reversed(line):
            done[b.name] = b
    return list(done.values())


def children_of(bones: Sequence[RigBone]) -> dict[str | None, list[RigBone]]:
    """Parent's name (None for roots) -> its children."""
    children: dict[str | None, list[RigBone]] = {}
    for b in bones:
        children.setdefault(b.parent, []).append(b)
    return children


def is_layered(bones: Sequence[RigBone]) -> bool:
    """Whether bones that only control or help stand between the deforming ones."""
    by_name = {b.name: b for b in bones}
    return any(
        b.deform
        and b.parent is not None
        and not by_name[b.parent].deform
        and by_name[b.parent].parent is not None
        for b in bones
    )


def deform_skeleton(bones: Sequence[RigBone]) -> list[RigBone]:
    """The deforming bones as one tree, without the controls between them.

    A bone hangs on its nearest deforming ancestor, where an ancestor ORG-x stands for DEF-x as in
    Rigify, and x or FK-x as in CloudRig. Bones with none hang on the rig's root bone, which is kept.
    Parents come first.
    """
    by_name = {b.name: b for b in bones}
    top = next((b for b in parents_first(bones) if b.parent is None and b.name.lower() == "root"), None)
    top = top or next((b for b in bones if b.parent is None and any(c.parent == b.name for c in bones)), None)

    def above(bone: RigBone) -> str | None:
        parent = bone.parent
        while parent is not None:
            if by_name[parent].deform:
                return parent
            twin = "DEF-" + parent.removeprefix("ORG-").removeprefix("FK-")
            if twin in by_name and twin != bone.name and by_name[twin].deform:
                return twin
            parent = by_name[parent].parent
        return None

    kept = [replace(b, parent=above(b), connected=False) for b in bones if b.deform]
    orphans = [b for b in kept if b.parent is None]
    if len(orphans) > 1 or (top is not None and top.name == "root" and not top.deform):
        if top is not None and not top.deform:
            kept = [replace(top, parent=None)] + [
                replace(b, parent=top.name) if b.parent is None else b for b in kept
            ]
    return parents_first(kept)
