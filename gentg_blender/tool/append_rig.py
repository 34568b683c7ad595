"""An animator's rig out of another .blend file into the open one."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..core.contract import GentgError
from .rig_reader import metarig_of, require_armature


def append_rig(context: bpy.types.Context, path: Path, name: str = "") -> bpy.types.Object:
    """Append an armature object with what it wears: children and meshes that it deforms.

    Without a name the file's only armature is taken, metarigs aside. The file itself is not
    changed. Raises GentgError for unreadable files, missing objects and where a name is needed.
    """
    try:
        with bpy.data.libraries.load(str(path), link=False) as (there, here):
            names = list(there.objects)
            if name and name not in names:
                raise GentgError("bad_request", f"The file has no object named {name}.", file=path,
                                 hint=f"It has: {_some(names)}.")  # fmt: skip
            here.objects = list(names)  # Blender puts the objects in their place
    except OSError as error:
        raise GentgError(
            "bad_request", f"Not a .blend file that this Blender can read: {error}", file=path
        ) from error
    # in the order of the names: an object is named otherwise where its name was taken
    objects = [ob for ob in here.objects if ob is not None]
    if name:
        rig = here.objects[names.index(name)]
        require_armature(rig, "the rig")
    else:
        rig = _only_armature(objects, path)
    collection = bpy.data.collections.new(rig.name)
    context.scene.collection.children.link(collection)
    for ob in _worn_by(rig, objects):
        collection.objects.link(ob)
    bpy.data.batch_remove([ob for ob in objects if ob.users == 0])
    context.view_layer.update()
    return rig


def _only_armature(objects: list[bpy.types.Object], path: Path) -> bpy.types.Object:
    found = [ob for ob in objects if ob.type == "ARMATURE"]
    rigs = [ob for ob in found if not metarig_of(ob)] or found
    if not rigs:
        raise GentgError(
            "bad_request", "The file holds no armature.", file=path, hint="Give the file with your rig."
        )
    if len(rigs) > 1:
        raise GentgError("bad_request", f"The file holds several armatures: {_some([o.name for o in rigs])}.", file=path,
                         hint=f"Say which: {path.name}:{rigs[0].name}")  # fmt: skip
    return rigs[0]


def _worn_by(rig: bpy.types.Object, objects: list[bpy.types.Object]) -> list[bpy.types.Object]:
    """The rig, its parents, and what hangs on it or is deformed by it."""
    above, ob = [], rig.parent
    while ob is not None:
        above.append(ob)
        ob = ob.parent

    def wears(ob: bpy.types.Object) -> bool:
        if any(m.type == "ARMATURE" and m.object == rig for m in ob.modifiers):
            return True
        while ob is not None and ob != rig:
            ob = ob.parent
        return ob is not None

    return [*above, *(ob for ob in objects if ob not in above and wears(ob))]


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(sorted(names)[:most]) + (", ..." if len(names) > most else "")
