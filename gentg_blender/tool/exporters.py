"""Export presets: FBX as each program wants it, BVH, glTF and USD, one armature or many."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import addon_utils
import bpy
import numpy as np

from ..core.contract import GentgError, atomic_file
from ..core.retarget.bvh import moves_against_parent, write_bvh
from ..core.retarget.glb import set_duration
from ..core.retarget.rig import is_layered, parents_first
from ..core.timing import scene_rate
from .bake import baked_skeleton
from .export import FbxOptions, export_fbx, motion_range
from .rig_reader import motion_of_bones, read_bones, require_motion


@dataclass(frozen=True)
class ExportPreset:
    """A file format and how a program wants it."""

    key: str
    label: str
    suffix: str
    fbx: FbxOptions | None = None
    description: str = ""


# FBX_SCALE_UNITS says in the file's header that its unit is the metre instead of scaling the
# skeleton's node by 100, which game engines carry into root motion and Maya into every joint.
PRESETS: tuple[ExportPreset, ...] = (
    ExportPreset("fbx_blender", "FBX for Blender", ".fbx", FbxOptions(),
                 "All bones, as Blender reads them back"),
    ExportPreset("fbx_blender_legacy", "FBX for Blender's legacy importer", ".fbx", FbxOptions(whole_rate=True),
                 "All bones, keyed at a whole frame rate: that importer reads 23.976, 29.97 and 59.94 wrongly"),
    ExportPreset("fbx_unreal", "FBX for Unreal", ".fbx",
                 FbxOptions(apply_scale="FBX_SCALE_UNITS", deform_only=True, armature_node="ROOT"),
                 "Deforming bones, no leaf bones, unit in the header, no scale on the root"),
    ExportPreset("fbx_unity", "FBX for Unity", ".fbx",
                 FbxOptions(apply_scale="FBX_SCALE_UNITS", deform_only=True),
                 "Deforming bones, no leaf bones, objects at scale 1"),
    ExportPreset("fbx_maya", "FBX for Maya and MotionBuilder", ".fbx",
                 FbxOptions(apply_scale="FBX_SCALE_UNITS", primary_bone_axis="X", secondary_bone_axis="-Y",
                            deform_only=True, armature_node="NULL"),
                 "Deforming bones, joints that point along X"),
    ExportPreset("bvh", "BVH", ".bvh", None, "Skeleton and motion as text: Y up, centimetres"),
    ExportPreset("gltf", "glTF", ".glb", None, "Skeleton and motion, sampled on every frame"),
    ExportPreset("usd", "USD", ".usdc", None, "Skeleton and motion, where this Blender can write USD"),
)  # fmt: skip
PRESET = {p.key: p for p in PRESETS}


@dataclass
class BatchReport:
    """What a batch export wrote, and what it could not with the reasons."""

    written: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # armature's name -> message


def export_presets() -> list[ExportPreset]:
    """The presets that this Blender can write."""
    return [p for p in PRESETS if p.key != "usd" or has_usd()]


def has_usd() -> bool:
    # an operator that is missing from the build is an attribute all the same; asking for its type fails
    try:
        bpy.ops.wm.usd_export.get_rna_type()
    except KeyError:
        return False
    return True


def export_armature(
    context: bpy.types.Context, armature: bpy.types.Object, path: str | os.PathLike, preset: str = "fbx_blender",
    frames: tuple[int, int] | None = None,
) -> Path:  # fmt: skip
    """Write one armature's motion over whole scene frames (first, last), by default all it plays.

    Selection, scene range, frame and action stay as they are. Raises GentgError for wrong
    selections, unknown presets, formats that this Blender lacks and paths that cannot be written.
    """
    if preset not in PRESET:
        raise GentgError(
            "bad_request",
            f"There is no export preset '{preset}'.",
            hint=f"Choose one of: {', '.join(PRESET)}.",
        )
    require_motion(armature)
    path = Path(path)
    first, last = frames or motion_range(armature)
    if last < first:
        raise GentgError("bad_request", "The range to export ends before it begins.", file=path)
    chosen = PRESET[preset]
    # other programs want the skeleton that deforms the mesh, not the controls above it
    bare = not preset.startswith("fbx_blender") and is_layered(read_bones(armature))
    with baked_skeleton(context, armature, first, last) if bare else nullcontext(armature) as ob:
        return _write(context, ob, path, chosen, first, last)


def _write(context, ob: bpy.types.Object, path: Path, chosen: ExportPreset, first: int, last: int) -> Path:
    if chosen.fbx is not None:
        return export_fbx(context, path, ob, (first, last), chosen.fbx)
    write = {"bvh": _bvh, "gltf": _gltf, "usd": _usd}[chosen.key]
    with atomic_file(path) as temporary:
        write(context, ob, temporary, first, last)
        if not temporary.exists() or temporary.stat().st_size == 0:
            raise GentgError("blender_failed", f"The {chosen.label} export wrote nothing.", file=path)
    return path


def export_many(
    context: bpy.types.Context, armatures: Sequence[bpy.types.Object], folder: str | os.PathLike,
    preset: str = "fbx_blender", report: Callable[[str, int, int], None] | None = None,
) -> BatchReport:  # fmt: skip
    """Write each armature to a file of its name in `folder`; one failure does not stop the rest."""
    out, folder = BatchReport(), Path(folder)
    if preset not in PRESET:
        raise GentgError(
            "bad_request",
            f"There is no export preset '{preset}'.",
            hint=f"Choose one of: {', '.join(PRESET)}.",
        )
    taken: set[str] = set()
    for n, ob in enumerate(armatures):
        if report is not None:
            report(ob.name, n, len(armatures))
        stem = base = bpy.path.clean_name(ob.name)
        k = 1
        while stem.lower() in taken:
            k += 1
            stem = f"{base}_{k}"
        taken.add(stem.lower())
        try:
            out.written.append(export_armature(context, ob, folder / (stem + PRESET[preset].suffix), preset))
        except GentgError as error:
            if error.code == "cancelled":
                raise
            out.failed[ob.name] = str(error)
    return out


# --------------------------------------------------------------------------- formats


def _bvh(context, ob: bpy.types.Object, path: Path, first: int, last: int) -> None:
    bones = parents_first(read_bones(ob))
    names = [b.name for b in bones]
    roots = [b for b in bones if b.parent not in names]
    if len(roots) != 1:
        raise GentgError(
            "bad_request",
            f"'{ob.name}' has {len(roots)} root bones, and a BVH file holds one.",
            hint="Export FBX or glTF instead, or parent all bones to one root.",
        )
    frames = np.arange(first, last + 1, dtype=float)
    motion = motion_of_bones(context, ob, names, frames)
    rest, turned = motion.body, motion.rotation
    at = {n: i for i, n in enumerate(names)}
    parents = np.array([at.get(b.parent, -1) for b in bones])
    top = 0
    # a BVH's root is the hips: a root bone above them that they move against would take their travel away
    while np.sum(parents == top) == 1 and moves_against_parent(
        top + 1, top, rest.head, rest.rotation, motion.head, turned
    ):
        top += 1
    text = write_bvh(
        names[top:], np.maximum(parents[top:] - top, -1), rest.head[top:], rest.tail[top:], rest.rotation[top:],
        motion.head[:, top:], turned[:, top:], 1.0 / scene_rate(context.scene.render.fps, context.scene.render.fps_base),
    )  # fmt: skip
    path.write_text(text, encoding="utf-8")


def _gltf(context, ob: bpy.types.Object, path: Path, first: int, last: int) -> None:
    if not addon_utils.check("io_scene_gltf2")[1]:
        addon_utils.enable("io_scene_gltf2", default_set=True)
    scene = context.scene
    kept = scene.frame_start, scene.frame_end, scene.frame_current, scene.frame_subframe
    try:
        scene.frame_end = max(last, scene.frame_start)
        scene.frame_start, scene.frame_end = first, last
        with _only_selected(context, ob):
            _run(bpy.ops.export_scene.gltf, path, filepath=str(path), export_format="GLB", use_selection=True,
                 export_yup=True, export_animations=True, export_animation_mode="ACTIVE_ACTIONS",
                 export_frame_range=True, export_force_sampling=True, export_optimize_animation_size=False,
                 export_anim_slide_to_zero=True, export_reset_pose_bones=True,
                 export_optimize_animation_keep_anim_armature=True, export_def_bones=False)  # fmt: skip
    finally:
        scene.frame_end = max(kept[1], scene.frame_start)
        scene.frame_start, scene.frame_end = kept[0], kept[1]
        scene.frame_set(kept[2], subframe=kept[3])
    seconds = (last - first) / scene_rate(scene.render.fps, scene.render.fps_base)
    try:
        path.write_bytes(set_duration(path.read_bytes(), seconds))
    except ValueError as error:
        raise GentgError(
            "blender_failed", f"The glTF that Blender wrote is unusual: {error}.", file=path
        ) from error


def _usd(context, ob: bpy.types.Object, path: Path, first: int, last: int) -> None:
    if not has_usd():
        raise GentgError(
            "blender_failed",
            "This Blender was built without USD.",
            file=path,
            hint="Use the Blender from blender.org, or export FBX or glTF.",
        )
    scene = context.scene
    kept = scene.frame_start, scene.frame_end
    try:
        scene.frame_end = max(last, scene.frame_start)
        scene.frame_start, scene.frame_end = first, last
        with _only_selected(context, ob):
            _run(bpy.ops.wm.usd_export, path, filepath=str(path), selected_objects_only=True, export_animation=True,
                 export_armatures=True, only_deform_bones=False, export_materials=False)  # fmt: skip
    finally:
        scene.frame_end = max(kept[1], scene.frame_start)
        scene.frame_start, scene.frame_end = kept


class _only_selected:
    """Context manager: one object is selected and active. These exporters ask the view layer itself."""

    def __init__(self, context: bpy.types.Context, ob: bpy.types.Object):
        self.layer, self.ob = context.view_layer, ob

    def __enter__(self) -> None:
        self.before = [o for o in self.layer.objects if o.select_get()], self.layer.objects.active
        for o in self.before[0]:
            o.select_set(False)
        if self.ob.name not in self.layer.objects:
            raise GentgError(
                "bad_request",
                f"'{self.ob.name}' is not in the current view layer.",
                hint="Switch its collection on in the outliner.",
            )
        self.ob.select_set(True)
        self.layer.objects.active = self.ob

    def __exit__(self, *error) -> None:
        self.ob.select_set(False)
        for o in self.before[0]:
            o.select_set(True)
        self.layer.objects.active = self.before[1]


def _run(operator, path: Path, **options) -> None:
    known = operator.get_rna_type().properties.keys()
    try:
        done = operator(**{k: v for k, v in options.items() if k in known})
    except RuntimeError as error:
        raise GentgError("blender_failed", f"The export failed: {str(error).strip()}", file=path) from error
    if done != {"FINISHED"}:
        raise GentgError("blender_failed", "The export was not finished.", file=path)


__all__ = ["BatchReport", "ExportPreset", "export_armature", "export_many", "export_presets"]
