"""Run by a Python or Blender that has bpy: export a walk by every preset, with the truth beside it.

python tests/blender_retarget/make_exports.py FOLDER FPS FPS_BASE
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "blender"), str(HERE.parent / "retarget")]


def main(folder: Path, fps: int, fps_base: float) -> None:
    import bpy
    import numpy as np
    from striding import striding

    from gentg_blender.tool.exporters import export_armature, export_presets
    from gentg_blender.tool.result import ImportSettings, import_capture

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = fps, fps_base
    rate = fps / fps_base
    capture = striding(60 / rate, rate)
    ob = import_capture(bpy.context, capture, ImportSettings(name="walk", camera=False)).armature
    first, last = 1, 60
    heads = np.zeros((60, len(ob.data.bones), 3))
    for t in range(60):
        scene.frame_set(first + t)
        heads[t] = [ob.matrix_world @ b.head for b in ob.pose.bones]
    truth = {"names": [b.name for b in ob.data.bones], "heads": heads.tolist(), "rate": rate,
             "rest": [list(ob.matrix_world @ b.head_local) for b in ob.data.bones],
             "top": max((ob.matrix_world @ b.tail_local).z for b in ob.data.bones), "files": {}}  # fmt: skip
    for preset in export_presets():
        path = export_armature(
            bpy.context, ob, folder / (preset.key + preset.suffix), preset.key, (first, last)
        )
        truth["files"][preset.key] = path.name
    (folder / "truth.json").write_text(json.dumps(truth))


if __name__ == "__main__":
    main(Path(sys.argv[-3]), int(sys.argv[-2]), float(sys.argv[-1]))
    sys.stdout.flush()
    os._exit(0)  # bpy 4.5 can hang in a normal exit
