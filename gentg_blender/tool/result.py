"""A capture into the scene: the one way in for the panel, scripts and the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import bpy
import numpy as np

from ..core.contract import Capture
from ..core.timing import KeyPlan, Keys, TimeMap, fps_and_base, plan_keys, scene_rate
from .action import add_confidence, add_contacts, build_action, pose_keys
from .armature import build_armature
from .camera import add_background, build_camera, match_resolution
from .colors import show_confidence
from .compat import use_action
from .mix import add_before
from .transaction import Transaction

TAG = "gentg_clip"  # custom property of what an import made: the clip's name
CAPTURE = "gentg_capture"  # custom property of the armature: path of its result file


@dataclass
class ImportSettings:
    """How a capture comes into the scene. The scene itself is only changed where asked."""

    name: str = ""  # of the collection; "" takes the clip's, from the capture or `video`
    keys: Keys = "frames"  # whole scene frames, or the source's own sub-frame times
    start_frame: int = 1  # shows the capture's first sample, unless `time_map` says otherwise
    time_map: TimeMap | None = None  # of the strip that the capture belongs to
    existing: Literal["replace", "add"] = "replace"  # an earlier import of that name
    before: bool = True  # keep the uncorrected motion too, see tool.mix
    show_confidence: bool = True  # colour the bones by it, see tool.colors
    markers: bool = True  # mark where the person was not seen
    camera: bool = True
    video: str | os.PathLike | None = None  # clip to show behind the camera
    capture_file: str | os.PathLike | None = None  # noted on the armature
    set_rate: bool = False  # scene takes the clip's frame rate ...
    set_resolution: bool = False  # ... its size ...
    set_range: bool = False  # ... and the keys' frame range


@dataclass
class ImportResult:
    """What an import made and changed."""

    collection: bpy.types.Collection
    armature: bpy.types.Object
    action: bpy.types.Action
    before: bpy.types.Action | None
    camera: bpy.types.Object | None
    first_frame: float
    last_frame: float
    gaps: list[tuple[float, float]]  # scene frames around each stretch without a person
    changes: list[tuple[str, Any, Any]] = field(default_factory=list)  # scene setting, old, new
    warnings: list[str] = field(default_factory=list)


def import_capture(context: bpy.types.Context, capture: Capture, settings: ImportSettings) -> ImportResult:
    """Make collection, armature, action, camera and markers in `context.scene`.

    On any error the scene is left as it was (GentgError for what a person can mend). An earlier
    import of the same name is replaced where its armature and camera are used, so that
    constraints keep their targets, or kept beside the new one.
    """
    scene = context.scene
    name = settings.name or _clip_name(capture, settings)
    earlier = _find_earlier(scene, name) if settings.existing == "replace" else _Earlier([], [])
    warnings: list[str] = []
    with Transaction() as made:
        if settings.set_rate:
            fps, base = fps_and_base(float(capture.fps))
            made.set(scene.render, "fps", fps, "fps")
            made.set(scene.render, "fps_base", base, "fps_base")
        if settings.set_resolution:
            match_resolution(scene, capture, made)
        rate = scene_rate(scene.render.fps, scene.render.fps_base)
        if abs(rate - float(capture.fps)) > 0.01 * rate and settings.time_map is None:
            warnings.append(f"The clip runs at {float(capture.fps):.2f} frames a second, the scene at {rate:.2f}: "
                            "the motion keeps its speed, and its keys stand on the scene's frames.")
        time_map = settings.time_map or TimeMap.linear(rate, settings.start_frame, float(capture.timestamps[0]))
        plan = plan_keys(capture.timestamps, capture.seen, time_map, settings.keys)
        first, last = _whole_range(plan)

        collection = made.own(bpy.data.collections.new(name))
        if settings.existing == "add":
            name = collection.name  # Blender made it unique
        scene.collection.children.link(collection)
        ob = build_armature(context, capture, name, collection, made)
        rotation, location = pose_keys(capture, plan, capture.local_rotation, capture.root)
        action = build_action(name, ob, capture, plan, rotation, location, made)
        add_confidence(ob, action, capture, plan)
        add_contacts(ob, action, capture, plan)
        use_action(ob, action)
        if settings.show_confidence:
            show_confidence(ob, True)
        before = _build_before(ob, capture, plan, rotation, name, made) if settings.before else None

        camera = None
        if settings.camera:
            camera = build_camera(scene, capture, f"{name} camera", collection, made)
            if settings.video is not None:
                add_background(camera, Path(settings.video), float(capture.fps), time_map, first, last, made)
            if scene.camera is None:
                made.set(scene, "camera", camera, "camera")
        if settings.set_range:
            # in this order, since Blender keeps the start before the end
            made.set(scene, "frame_end", max(last, scene.frame_start), "last frame")
            made.set(scene, "frame_start", first, "first frame")
            made.set(scene, "frame_end", last, "last frame")
        for block in (collection, ob, action, before, camera):
            if block is not None:
                block[TAG] = name
        if settings.capture_file is not None:
            ob[CAPTURE] = str(Path(settings.capture_file).resolve())
        if settings.markers:
            _add_markers(scene, name, capture, plan, made)
        result = ImportResult(collection, ob, action, before, camera, float(plan.frames[0]), float(plan.frames[-1]),
                              [(float(a), float(b)) for a, b in plan.gaps], made.changes, warnings)
        if earlier.collections or earlier.markers:
            _replace(scene, earlier, result)
            _name_anew(result, name)
    context.view_layer.update()
    return result


def _name_anew(result: ImportResult, name: str) -> None:
    """Take over the names that the earlier import held while this one was built."""
    for block in (result.collection, result.armature, result.armature.data, result.action):
        block.name = name
    if result.before is not None:
        result.before.name = f"{name} before"
    if result.camera is not None:
        result.camera.name = result.camera.data.name = f"{name} camera"


def _clip_name(capture: Capture, settings: ImportSettings) -> str:
    for path in (settings.video, capture.meta.get("video"), settings.capture_file):
        if path:
            return Path(str(path)).stem
    return "capture"


def _whole_range(plan: KeyPlan) -> tuple[int, int]:
    first = int(np.floor(plan.frames[0] + 1e-3))
    return first, max(first, int(np.ceil(plan.frames[-1] - 1e-3)))


def _build_before(ob, capture: Capture, plan: KeyPlan, near: np.ndarray, name: str, made: Transaction):
    """The uncorrected motion as an action of its own, or None where the correction changed nothing."""
    if np.allclose(capture.local_rotation, capture.local_rotation_tgt, atol=1e-6) and np.allclose(
        capture.root, capture.root_tgt, atol=1e-6
    ):
        return None
    rotation, location = pose_keys(capture, plan, capture.local_rotation_tgt, capture.root_tgt, near)
    action = build_action(f"{name} before", ob, capture, plan, rotation, location, made)
    add_before(ob, action)
    return action


# --------------------------------------------------------------------------- markers


def lost_label(name: str) -> str:
    return f"{name}: not seen"


def found_label(name: str) -> str:
    return f"{name}: seen again"


def _add_markers(scene: bpy.types.Scene, name: str, capture: Capture, plan: KeyPlan, made: Transaction) -> None:
    """Mark the start and end of every stretch in which the person was not seen."""
    spots = [(int(np.floor(a)) + 1, lost_label(name)) for a, _ in plan.gaps]
    spots += [(int(np.ceil(b)), found_label(name)) for _, b in plan.gaps]
    if not capture.seen[0]:
        spots.append((int(np.ceil(plan.frames[0])), found_label(name)))
    if not capture.seen[-1]:
        spots.append((int(np.floor(plan.frames[-1])) + 1, lost_label(name)))
    for frame, label in sorted(spots):
        marker = scene.timeline_markers.new(label, frame=frame)
        made.on_failure(lambda m=marker: scene.timeline_markers.remove(m))


# --------------------------------------------------------------------------- running again


def find_imports(scene: bpy.types.Scene, name: str | None = None) -> list[bpy.types.Collection]:
    """The collections in `scene` that imports made, of one clip's name or all."""
    return [c for c in scene.collection.children_recursive if TAG in c and name in (None, c[TAG])]


@dataclass
class _Earlier:
    """An earlier import of the same name, noted before the new one is built."""

    collections: list[bpy.types.Collection]
    markers: list[bpy.types.TimelineMarker]


def _find_earlier(scene: bpy.types.Scene, name: str) -> _Earlier:
    # markers carry no custom properties in Blender 5, so that their names must tell
    labels = {lost_label(name), found_label(name)}
    return _Earlier(find_imports(scene, name), [m for m in scene.timeline_markers if m.name in labels])


def _replace(scene: bpy.types.Scene, earlier: _Earlier, result: ImportResult) -> None:
    """Put the new armature and camera wherever the earlier ones were used, then delete those.

    Objects and collections that a person put into the old collection move to the new one, and
    the armature stays where it was moved to.
    """
    for old in earlier.collections:
        name = old[TAG]
        for ob in list(old.objects):
            if ob.get(TAG) != name:
                if ob.name not in result.collection.objects:
                    result.collection.objects.link(ob)
            elif ob.type == "ARMATURE":
                result.armature.parent = ob.parent
                result.armature.matrix_parent_inverse = ob.matrix_parent_inverse
                result.armature.matrix_basis = ob.matrix_basis
                _remove_object(ob, result.armature)
            else:
                _remove_object(ob, result.camera)
        for child in list(old.children):
            result.collection.children.link(child)
        bpy.data.collections.remove(old)
    for marker in earlier.markers:
        scene.timeline_markers.remove(marker)


def _remove_object(ob: bpy.types.Object, successor: bpy.types.Object | None) -> None:
    """Delete an object of ours with the data and the actions that nothing else uses."""
    if successor is not None:
        ob.user_remap(successor)
    leftovers = [ob.data]
    if ob.type == "CAMERA":
        leftovers += [b.image for b in ob.data.background_images if b.image]
    for owner in (ob, ob.data):
        if animation := owner.animation_data:
            leftovers += [animation.action] if animation.action else []
            leftovers += [s.action for track in animation.nla_tracks for s in track.strips if s.action]
    bpy.data.objects.remove(ob)
    for block in dict.fromkeys(leftovers):
        if block.users == 0:
            bpy.data.batch_remove([block])
