"""Run inside Blender: writes .blend files with characters to retarget to.

make_rig_file.py OUT.blend [PRESET]    a rig of that preset's bone names, a mesh on it, an unrelated armature too
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent / "blender_retarget")]

import bpy  # noqa: E402


def main(path: str, preset: str = "mixamo") -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    from case_retarget import build, make_rig

    hero = build(make_rig(preset, 1.5, 0.6, 3)[0], "hero")
    body = bpy.data.objects.new("body", bpy.data.meshes.new("body"))
    body.modifiers.new("Armature", "ARMATURE").object = hero
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "POINT"))
    for ob in (body, lamp):
        bpy.context.scene.collection.objects.link(ob)
    build(make_rig(preset, 2.0, 0.2, 4)[0], "villain")
    bpy.ops.wm.save_as_mainfile(filepath=path)


if __name__ == "__main__":
    main(*sys.argv[sys.argv.index("--") + 1 :])
    sys.stdout.flush()
    os._exit(0)
