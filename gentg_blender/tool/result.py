"""A capture into the scene: the one way in for the panel, scripts and the command line."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import bpy
import numpy as np

from ..core.contract import Capture, GentgError
from ..core.timing import KeyPlan, Keys, TimeMap, fps_and_base, plan_keys, scene_rate
from .action import Channel, add_properties, confidence_channels, contact_channels, pose_channels
from .armature import build_armature
from .before_after_layers import add_before
from .camera import add_background, build_camera, load_clip, match_resolution, turn_camera
from .colors import show_confidence
from .compat import use_action
from .incremental_action import IncrementalAction
from .transaction import Transaction

TAG = "gentg_clip"  # custom property of what an import made: the clip's name
CAPTURE = "gentg_capture"  # custom property of the armature: path of its result file
TIMES = "gentg_times"  # ... the TimeMap that its keys were set by, as JSON
KEYS = "gentg_keys"  # ... and at which times of it, one of core.timing.Keys
_DONE = object()


@dataclass
class ImportSettings:
    """How a capture comes into the scene. The scene itself is only changed where asked."""

    name: str = ""  # of the collection; "" takes the clip's, from the capture or `video`
    keys: Keys = "frames"  # whole scene frames, or the source's own sub-frame times
    start_frame: int = 1  # shows the capture's first sample, unless `time_map` says otherwise
    time_map: TimeMap | None = None  # of the strip that the capture belongs to
    existing: Literal["replace", "add"] = "replace"  # an earlier import of that name
    before: bool = True  # keep the uncorrected motion too, see tool.before_after_layers
    show_confidence: bool = True  # colour the bones by it, see tool.colors
    markers: bool = True  # mark where the person was not seen
    camera: bool = True
    video: str | os.PathLike | None = None  # clip to show behind the camera ...
    sequence: bool = False  # ... of which this is one image of many, numbered ones
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
    """Make collection, armature, action, camera and markers in `context.scene`, all at once.

    On any error the scene is left as it was (GentgError for what a person can mend). An earlier
    import of the same name is replaced where its armature and camera are used, so that
    constraints keep their targets, or kept beside the new one.
    """
    steps = CaptureImport(capture, settings)
    while (result := steps.step(context)) is None:
        pass
    context.view_layer.update()
    return result


def check_scene(scene: bpy.types.Scene) -> None:
    """Raises GentgError("bad_request") for a scene that nothing can be added to."""
    if not scene.is_editable:
        raise GentgError("bad_request", f"The scene {scene.name} is linked from another file, so nothing can be added to it.",
                         file=scene.library.filepath if scene.library else None,
                         hint="Switch the window to a scene of this file and estimate the clip from the 3D View's panel.")  # fmt: skip


class CaptureImport:
    """`import_capture` in steps of a few milliseconds, between which Blender can go on.

    The motion is written first, into actions that nothing uses; the scene is changed by the last step
    alone. An import that is discarded, or fails, leaves nothing. One that finds its actions gone or
    the scene's frame rate changed, by undo for instance, begins again.
    """

    def __init__(self, capture: Capture, settings: ImportSettings):
        self.capture, self.settings = capture, settings
        self.steps = 0
        self._drafts: list[IncrementalAction] = []
        self._image: int | None = None  # session's id of the clip's image, if it was loaded for this
        self._work: Iterator[None] | None = None
        self._rate = 0.0
        self._name = settings.name or _clip_name(capture, settings)

    @property
    def fraction(self) -> float:
        """How much of it is done, 0 to 1."""
        total = sum(d.total for d in self._drafts)
        if len(self._drafts) < 2 and self.settings.before:
            total *= 2
        return sum(d.written for d in self._drafts) / total if total else 0.0

    def step(self, context: bpy.types.Context) -> ImportResult | None:
        """Do the next bit in `context.scene`, which must be the same every time; the result after the last."""
        self.steps += 1
        try:
            check_scene(context.scene)
            rate = self._rate_in(context.scene)
            if self._work is None or self._rate != rate or not all(d.intact() for d in self._drafts):
                self.discard()
                self._rate, self._work = rate, self._write()
            if next(self._work, _DONE) is not _DONE:
                return None
            result = self._place(context)
            self._drafts.clear()
            self._image = None
            return result
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Take away what is made so far. Nothing is to take away after the last step."""
        for draft in self._drafts:
            draft.discard()
        self._drafts.clear()
        for image in [i for i in bpy.data.images if i.session_uid == self._image and not i.users]:
            bpy.data.images.remove(image)
        self._work = self._image = None

    # ------------------------------------------------------------------ the motion

    def _rate_in(self, scene: bpy.types.Scene) -> float:
        """Frames a second of the scene once the import is done."""
        if self.settings.set_rate:
            return scene_rate(*fps_and_base(float(self.capture.fps)))
        return scene_rate(scene.render.fps, scene.render.fps_base)

    def _write(self) -> Iterator[None]:
        c, s = self.capture, self.settings
        if s.camera and s.video is not None:
            image, new = load_clip(Path(s.video), s.sequence)
            self._image = image.session_uid if new else None
            yield
        self._time_map = s.time_map or TimeMap.linear(self._rate, s.start_frame, float(c.timestamps[0]))
        self._plan = plan = plan_keys(c.timestamps, c.seen, self._time_map, s.keys)
        yield
        channels = [
            *pose_channels(c, plan, c.local_rotation, c.root),
            *confidence_channels(c, plan),
            *contact_channels(c, plan),
        ]
        yield from self._draft(self._name, channels)
        if s.before and (yield from _correction_changed(c)):
            near = pose_channels(c, plan, c.local_rotation_tgt, c.root_tgt, near=c.local_rotation)
            yield from self._draft(f"{self._name} before", near)

    def _draft(self, name: str, channels: Iterable[Channel]) -> Iterator[None]:
        draft = IncrementalAction(name, channels)
        self._drafts.append(draft)
        yield
        yield from draft.write()

    # ------------------------------------------------------------------ the scene

    def _place(self, context: bpy.types.Context) -> ImportResult:
        """All that the scene sees, at once."""
        scene, capture, settings, name = context.scene, self.capture, self.settings, self._name
        earlier = _find_earlier(scene, name) if settings.existing == "replace" else _Earlier([], [])
        first, last = _whole_range(self._plan)
        with Transaction() as made:
            collection = made.own(bpy.data.collections.new(name))
            if settings.existing == "add":
                name = collection.name  # Blender made it unique
            scene.collection.children.link(collection)
            ob = build_armature(context, capture, name, collection, made)
            action = made.own(self._drafts[0].rename(name))
            add_properties(ob, capture)
            use_action(ob, action)
            if settings.show_confidence:
                show_confidence(ob, True)
            before = None
            if len(self._drafts) > 1:
                before = made.own(self._drafts[1].rename(f"{name} before"))
                add_before(ob, before)
            self._change_scene(scene, first, last, made)
            camera = self._add_camera(scene, name, collection, first, last, made) if settings.camera else None
            for block in (collection, ob, action, before, camera):
                if block is not None:
                    block[TAG] = name
            ob[TIMES], ob[KEYS] = self._time_map.to_json(), settings.keys
            if settings.capture_file is not None:
                ob[CAPTURE] = str(Path(settings.capture_file).resolve())
            if settings.markers:
                _add_markers(scene, name, capture, self._plan, made)
            result = ImportResult(
                collection, ob, action, before, camera, float(self._plan.frames[0]), float(self._plan.frames[-1]),
                [(float(a), float(b)) for a, b in self._plan.gaps], made.changes, self._warnings(),
            )  # fmt: skip
            if earlier.collections or earlier.markers:
                _replace(scene, earlier, result)
                _name_anew(result, name)
        return result

    def _change_scene(self, scene: bpy.types.Scene, first: int, last: int, made: Transaction) -> None:
        """What the settings ask for, and nothing else."""
        if self.settings.set_rate:
            fps, base = fps_and_base(float(self.capture.fps))
            made.set(scene.render, "fps", fps, "fps")
            made.set(scene.render, "fps_base", base, "fps_base")
        if self.settings.set_resolution:
            match_resolution(scene, self.capture, made)
        if self.settings.set_range:
            # in this order, since Blender keeps the start before the end
            made.set(scene, "frame_end", max(last, scene.frame_start), "last frame")
            made.set(scene, "frame_start", first, "first frame")
            made.set(scene, "frame_end", last, "last frame")

    def _add_camera(
        self, scene, name: str, collection, first: int, last: int, made: Transaction
    ) -> bpy.types.Object:
        camera = build_camera(scene, self.capture, f"{name} camera", collection, made)
        s = self.settings
        if self.capture.camera_turns:
            turn_camera(camera, self.capture, self._plan, made)
        if s.video is not None:
            add_background(
                camera, Path(s.video), s.sequence, float(self.capture.fps), self._time_map, first, last, made
            )
        if scene.camera is None:
            made.set(scene, "camera", camera, "camera")
        return camera

    def _warnings(self) -> list[str]:
        fps = float(self.capture.fps)
        if abs(self._rate - fps) <= 0.01 * self._rate or self.settings.time_map is not None:
            return []
        return [f"The clip runs at {fps:.2f} frames a second, the scene at {self._rate:.2f}: "
                "the motion keeps its speed, and its keys stand on the scene's frames."]  # fmt: skip


def _correction_changed(capture: Capture) -> Generator[None, None, bool]:
    """Whether there is a motion from before the correction that differs; a bone at a time."""
    for b in range(capture.local_rotation.shape[1]):
        if not np.allclose(capture.local_rotation[:, b], capture.local_rotation_tgt[:, b], atol=1e-6):
            return True
        yield
    return not np.allclose(capture.root, capture.root_tgt, atol=1e-6)


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


# --------------------------------------------------------------------------- markers


def lost_label(name: str) -> str:
    return f"{name}: not seen"


def found_label(name: str) -> str:
    return f"{name}: seen again"


def _add_markers(
    scene: bpy.types.Scene, name: str, capture: Capture, plan: KeyPlan, made: Transaction
) -> None:
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
