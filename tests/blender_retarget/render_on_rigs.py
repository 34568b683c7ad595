"""In Blender: a capture retargeted to rigs and rendered, for make_images.py, which says what a job holds.

blender -b --factory-startup --python-exit-code 1 --python tests/blender_retarget/render_on_rigs.py -- JOB.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE), str(HERE.parent / "blender"), str(HERE.parent / "retarget")]
sys.dont_write_bytecode = True

from case_retarget import build, rigify, turned_up  # noqa: E402
from figure_body import add_body  # noqa: E402
from rig_factory import make_rig  # noqa: E402

from gentg_blender.core.contract import load_capture  # noqa: E402
from gentg_blender.core.retarget.contacts import runs  # noqa: E402
from gentg_blender.core.skeleton import BONES  # noqa: E402
from gentg_blender.tool.result import ImportSettings, import_capture  # noqa: E402
from gentg_blender.tool.retarget import recognise_rig, retarget_to_rig  # noqa: E402

MIXAMO_PREFIX = "mixamorig:"
FLOOR = ((1.0, 1.0, 1.0), (0.80, 0.80, 0.80))
TILE = 0.5  # metres
SPINE = {"hips": ("DEF-spine",), "spine": ("DEF-spine.001", "DEF-spine.002"), "chest": ("DEF-spine.003",),
         "neck": ("DEF-spine.004", "DEF-spine.005"), "head": ("DEF-spine.006",)}  # fmt: skip


def rigify_human():
    """The rig that Rigify generates from its human metarig, and its deforming bones by role."""
    _, rig = rigify()
    parts = dict(SPINE)
    for side in "LR":
        for part in ("shoulder", "upper_arm", "forearm", "hand", "thigh", "shin", "foot", "toe"):
            names = (f"DEF-{part}.{side}", f"DEF-{part}.{side}.001")
            parts[f"{part}.{side}"] = tuple(n for n in names if n in rig.data.bones)
    fingers = [b.name for b in rig.data.bones if re.match(r"DEF-(f_|thumb)", b.name)]
    return rig, parts, fingers


def mixamo():
    """Mixamo's names with their prefix, T-pose, as its FBX files come in: Y up and centimetres."""
    return _made("mixamo", 1.8, 0.0, MIXAMO_PREFIX, fbx=True)


def mixamo_child():
    return _made("mixamo", 1.1, 0.0, MIXAMO_PREFIX, fbx=True)


def unreal_5():
    """UE5 Mannequin names in A-pose."""
    return _made("unreal_5", 1.8, 0.85)


def _made(preset: str, height: float, arms: float, prefix: str = "", fbx: bool = False):
    turn = (0.5**0.5, -(0.5**0.5), 0.0, 0.0) if fbx else (1.0, 0, 0, 0)
    bones, chains = make_rig(preset, height, arms, seed=3, turn=turn, unit=0.01 if fbx else 1.0, twists=False)
    rig = build(bones, preset, turned_up() if fbx else None)
    if prefix:
        for bone in rig.data.bones:
            bone.name = prefix + bone.name
    parts = {role: tuple(prefix + n for n in chain) for role, chain in chains.items() if role != "root"}
    return rig, parts, [b.name for b in rig.data.bones if "finger" in b.name]


RIGS = {"rigify": rigify_human, "mixamo": mixamo, "mixamo_child": mixamo_child, "unreal_5": unreal_5}


def main(job: dict) -> None:
    measured = {}
    for name in job["rigs"]:
        measured[name] = one_rig(name, job, Path(job["out"]))
        print(f"{name}: {json.dumps(measured[name])}", flush=True)
    Path(job["out"], "measured.json").write_text(json.dumps(measured))


def one_rig(name: str, job: dict, out: Path) -> dict:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    capture = load_capture(job["capture"])
    settings = ImportSettings(name="actor", set_rate=True, set_resolution=True, set_range=True)
    actor = import_capture(bpy.context, capture, settings)
    if name == "capture":  # the motion itself, to tell faults of the capture from those of retargeting
        rig, parts, fingers = actor.armature, {b: (b,) for b in BONES}, []
        told, scale = {}, 1.0
    else:
        rig, parts, fingers = RIGS[name]()
        found = recognise_rig(rig)
        result = retarget_to_rig(bpy.context, actor.armature, rig)
        scale = result.scale
        told = {
            "preset": found.preset,
            "scale": round(scale, 4),
            "warnings": result.warnings,
            "error_degrees": round(result.error_degrees, 4),
            "hips_lowered_mm": round(1000 * result.feet.lowered, 1),
        }
    rig.data.pose_position = "REST"
    bpy.context.view_layer.update()
    body = add_body(rig, parts, fingers)
    height = max((body.matrix_world @ v.co).z for v in body.data.vertices)
    rig.data.pose_position = "POSE"
    rate = scene.render.fps / scene.render.fps_base
    frames = [1 + round((t - float(capture.timestamps[0])) * rate) for t in job["times"]]

    camera = actor.camera
    camera.location *= scale  # from there the rig covers the same part of the image as the actor
    camera.data.clip_end *= max(1.0, scale)
    camera.data.clip_start = 0.01
    _floor()
    _look(scene)
    scene.render.resolution_percentage = 100
    width, tall = (max(2, round(v * job["scale"])) for v in capture.image_size)
    for k, frame in enumerate(frames):
        _render(scene, camera, frame, (width, tall), out / f"{name}_camera_{k}.png")
    side = _side_camera()
    for k, frame in enumerate(frames):
        scene.frame_set(frame)
        hips = rig.matrix_world @ rig.pose.bones[parts["hips"][0]].head
        _stand(side, camera, hips, height, job["side_size"])
        _render(scene, side, frame, job["side_size"], out / f"{name}_side_{k}.png")
    return {"height": round(height, 3), **told, **_soles(scene, rig, body, parts, capture, rate)}


def _soles(scene, rig, body, parts, capture, rate: float) -> dict:
    """Lowest point of the soles over the clip and while both heel and ball are planted, and how far
    such a foot slides."""
    feet = [[n for r in ("foot", "toe") for n in parts.get(f"{r}.{side}", ())] for side in "LR"]
    groups = [{body.vertex_groups[n].index for n in names} for names in feet]
    soles = [[v.index for v in body.data.vertices if v.groups[0].group in mine] for mine in groups]
    low = np.zeros((len(capture), 2))
    ankle = np.zeros((len(capture), 2, 3))
    for row, time in enumerate(capture.timestamps - capture.timestamps[0]):
        scene.frame_set(1 + round(float(time) * rate))
        graph = bpy.context.evaluated_depsgraph_get()
        posed, bones = body.evaluated_get(graph), rig.evaluated_get(graph).pose.bones
        for n in range(2):
            low[row, n] = min((posed.matrix_world @ posed.data.vertices[i].co).z for i in soles[n])
            ankle[row, n] = rig.matrix_world @ bones[feet[n][0]].head
    out = {"lowest_sole_mm": round(1000 * float(low.min()), 1)}
    flat = np.asarray(capture.contacts).reshape(len(capture), 2, 2).all(axis=2)
    if flat.any():
        out["soles_mm_while_flat"] = [round(1000 * float(f(low[flat])), 1) for f in (np.min, np.max)]
        moved = [np.linalg.norm(np.ptp(ankle[a:b, n], axis=0)) for n in (0, 1) for a, b in runs(flat[:, n])]
        out["slide_mm_while_flat"] = round(1000 * float(max(moved)), 1)
    return out


# --------------------------------------------------------------------------- looks


def _floor() -> None:
    count = 40
    data = bpy.data.meshes.new("floor")
    half = count // 2
    corners = [
        (TILE * (x - half), TILE * (y - half), 0.0) for y in range(count + 1) for x in range(count + 1)
    ]
    faces = [(y * (count + 1) + x, y * (count + 1) + x + 1, (y + 1) * (count + 1) + x + 1, (y + 1) * (count + 1) + x)
             for y in range(count) for x in range(count)]  # fmt: skip
    data.from_pydata(corners, [], faces)
    for colour in FLOOR:
        material = bpy.data.materials.new("floor")
        material.diffuse_color = (*colour, 1.0)
        data.materials.append(material)
    for polygon in data.polygons:
        polygon.material_index = (polygon.index % count + polygon.index // count) % 2
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("floor", data))


def _look(scene: bpy.types.Scene) -> None:
    scene.render.engine = "BLENDER_WORKBENCH"
    shading = scene.display.shading
    shading.light, shading.color_type = "STUDIO", "MATERIAL"
    shading.show_cavity = True
    shading.background_type = "VIEWPORT"
    shading.background_color = (0.88, 0.90, 0.93)
    shading.show_shadows = True
    shading.shadow_intensity = 0.35
    scene.display.light_direction = (0.3, -0.3, 0.9)
    scene.display.shadow_shift = 0.1
    scene.world = scene.world or bpy.data.worlds.new("world")
    scene.world.color = (0.78, 0.82, 0.88)
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"


def _render(scene, camera, frame: int, size, path: Path) -> None:
    scene.camera = camera
    scene.frame_set(frame)
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def _side_camera() -> bpy.types.Object:
    data = bpy.data.cameras.new("side")
    data.type = "ORTHO"
    data.clip_end = 50.0
    ob = bpy.data.objects.new("side", data)
    bpy.context.scene.collection.objects.link(ob)
    return ob


def _stand(side: bpy.types.Object, camera: bpy.types.Object, hips: Vector, height: float, size) -> None:
    """To the right of what the clip's camera films, a little above the floor's level, looking left."""
    right = camera.matrix_world.to_3x3() @ Vector((1, 0, 0))
    back = Vector((right.x, right.y, 0.0)).normalized() + Vector((0, 0, 0.06))
    turn = back.to_track_quat("Z", "Y")
    side.matrix_world = Matrix.LocRotScale(Vector((hips.x, hips.y, 0.55 * height)) + 10.0 * back, turn, None)
    side.data.ortho_scale = 1.3 * height * max(1.0, size[0] / size[1])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text()))
