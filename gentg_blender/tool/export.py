"""Out of Blender: FBX and .blend files, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import addon_utils
import bpy

from ..core.contract import GentgError, atomic_file
from ..core.retarget.fbx import set_rate
from ..core.timing import scene_rate


@dataclass(frozen=True)
class FbxOptions:
    """What differs between the programs that read the file. Defaults suit Blender and most others."""

    apply_scale: str = "FBX_SCALE_NONE"  # how metres become FBX's centimetres
    axis_forward: str = "-Z"
    axis_up: str = "Y"
    primary_bone_axis: str = "Y"
    secondary_bone_axis: str = "X"
    whole_rate: bool = False  # keys and header at a whole number of frames a second, see core.retarget.fbx
    deform_only: bool = False  # leave control and helper bones out
    armature_node: str = "NULL"  # FBX kind of the armature object: NULL, ROOT or LIMBNODE


def export_fbx(
    context: bpy.types.Context, path: str | os.PathLike, armature: bpy.types.Object,
    frames: tuple[int, int] | None = None, options: FbxOptions | None = None,
) -> Path:  # fmt: skip
    """Write the armature with the motion it plays now, every frame of `frames` keyed, of the scene's
    rate or of a whole one.

    `frames` (first, last) defaults to the range of its action or NLA strips. Neither the
    selection nor the scene's range changes. Raises GentgError.
    """
    path, options = Path(path), options or FbxOptions()
    if armature is None or armature.type != "ARMATURE":
        raise GentgError(
            "bad_request",
            "There is no armature to export.",
            file=path,
            hint="Select the armature that holds the animation.",
        )
    first, last = frames or motion_range(armature)
    rate = scene_rate(context.scene.render.fps, context.scene.render.fps_base)
    whole = max(1, round(rate)) if options.whole_rate else rate
    _ensure_exporter(path)
    with atomic_file(path) as temporary, _baking(context.scene, armature, first, last):
        with context.temp_override(selected_objects=[armature], active_object=armature, object=armature):
            try:
                done = bpy.ops.export_scene.fbx(
                    filepath=str(temporary), check_existing=False, use_selection=True,
                    object_types={"ARMATURE"}, use_custom_props=False,
                    apply_unit_scale=True, apply_scale_options=options.apply_scale, bake_space_transform=False,
                    axis_forward=options.axis_forward, axis_up=options.axis_up,
                    primary_bone_axis=options.primary_bone_axis, secondary_bone_axis=options.secondary_bone_axis,
                    add_leaf_bones=False, use_armature_deform_only=options.deform_only, armature_nodetype=options.armature_node,
                    bake_anim=True, bake_anim_use_all_bones=True, bake_anim_use_nla_strips=False,
                    bake_anim_use_all_actions=False, bake_anim_force_startend_keying=True,
                    bake_anim_step=rate / whole, bake_anim_simplify_factor=0.0,
                )  # fmt: skip
            except RuntimeError as error:
                raise GentgError(
                    "blender_failed", f"The FBX export failed: {str(error).strip()}", file=path
                ) from error
        if done != {"FINISHED"} or temporary.stat().st_size == 0:
            raise GentgError("blender_failed", "The FBX export wrote nothing.", file=path)
        if whole != rate:
            try:
                temporary.write_bytes(set_rate(temporary.read_bytes(), whole))
            except ValueError as error:
                raise GentgError(
                    "blender_failed", f"The FBX that Blender wrote is unusual: {error}.", file=path
                ) from error
    return path


def motion_range(ob: bpy.types.Object) -> tuple[int, int]:
    """First and last frame of what an object plays. Raises GentgError("bad_request") when it plays nothing."""
    data, spans = ob.animation_data, []
    if data is not None:
        if data.action is not None:
            spans.append(tuple(data.action.frame_range))
        spans += [(s.frame_start, s.frame_end) for t in data.nla_tracks if not t.mute for s in t.strips]
    if not spans:
        raise GentgError(
            "bad_request",
            f"{ob.name} has no animation to export.",
            hint="Select the armature that holds the animation.",
        )
    return int(min(a for a, _ in spans)), int(-(-max(b for _, b in spans) // 1))


def _ensure_exporter(path: Path) -> None:
    # the FBX add-on ships with Blender but can be switched off; default_set is needed in bpy
    if not addon_utils.check("io_scene_fbx")[1]:
        addon_utils.enable("io_scene_fbx", default_set=True)
    if "fbx" not in dir(bpy.ops.export_scene):
        raise GentgError(
            "blender_failed",
            "This Blender has no FBX exporter.",
            file=path,
            hint="Switch on the add-on 'FBX format' in Blender's preferences.",
        )


@contextmanager
def _baking(scene: bpy.types.Scene, armature: bpy.types.Object, first: int, last: int) -> Iterator[None]:
    """Let the exporter see the motion in `first` to `last` and the rest pose at every other frame.

    It bakes the scene's range, then goes back to the current frame and writes what it finds there
    as the skeleton; readers take that for the rest pose, since a file without a mesh has no bind
    pose. Everything is as before afterwards.
    """
    start, end, frame, sub = scene.frame_start, scene.frame_end, scene.frame_current, scene.frame_subframe
    position = armature.data.pose_position

    def rest_outside(changed: bpy.types.Scene, _depsgraph: object = None) -> None:
        if changed == scene:
            armature.data.pose_position = "POSE" if first <= scene.frame_current <= last else "REST"

    handlers = bpy.app.handlers.frame_change_pre
    handlers.append(rest_outside)
    try:
        scene.frame_end = max(last, scene.frame_start)
        scene.frame_start, scene.frame_end = first, last
        scene.frame_set(first - 1)
        yield
    finally:
        handlers.remove(rest_outside)
        armature.data.pose_position = position
        scene.frame_end = max(end, scene.frame_start)
        scene.frame_start, scene.frame_end = start, end
        scene.frame_set(frame, subframe=sub)


def save_blend(path: str | os.PathLike) -> Path:
    """Write the open file as a compressed copy; paths of clips become relative to it.

    The open file keeps its name. Raises GentgError.
    """
    path = Path(path)
    preferences = bpy.context.preferences.filepaths
    versions = preferences.save_version
    preferences.save_version = 0  # a backup of the temporary file is of use to nobody
    try:
        with atomic_file(path) as temporary:
            try:
                done = bpy.ops.wm.save_as_mainfile(
                    filepath=str(temporary),
                    check_existing=False,
                    copy=True,
                    compress=True,
                    relative_remap=True,
                )
            except RuntimeError as error:
                raise GentgError(
                    "blender_failed", f"Blender cannot save: {str(error).strip()}", file=path
                ) from error
            if done != {"FINISHED"} or temporary.stat().st_size == 0:
                raise GentgError("blender_failed", "Blender saved nothing.", file=path)
    finally:
        preferences.save_version = versions
    return path
