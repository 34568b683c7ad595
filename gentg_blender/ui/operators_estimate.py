"""Estimate Pose: from strips or a file to jobs, and from finished jobs to animation."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..core.contract import Capture, GentgError
from ..core.filming_check import check_filming
from ..core.strip import StripSpan
from ..core.timing import TimeMap, scene_rate
from ..job.jobs import Job
from ..job.task import Task
from ..tool import strips
from ..tool.result import ImportResult, ImportSettings, import_capture
from . import backend
from .operators_backend import report_error
from .properties import estimate_settings
from .session import Notice, redraw, scratch_folder, session

CAPTURES = "captures"  # folder in the user folder that keeps result files


@dataclass
class JobContext:
    """What a finished job needs to become animation. Names, not RNA: undo replaces those."""

    scene: str
    settings: ImportSettings
    warnings: tuple[str, ...] = ()
    failed: GentgError | None = None
    result: ImportResult | None = None


class GENTG_OT_estimate_pose(bpy.types.Operator):
    """Estimate the person's motion in the selected movie strips, and animate an armature with it"""

    bl_idname = "gentg.estimate_pose"
    bl_label = "Estimate Pose"
    bl_options = {"REGISTER"}

    filepath: StringProperty(
        name="Clip", subtype="FILE_PATH", options={"SKIP_SAVE"},
        description="Video to estimate; empty takes the selected movie strips",
    )  # fmt: skip
    wait: BoolProperty(
        name="Wait", options={"SKIP_SAVE"},
        description="Return only when the animation is there. Always so when Blender runs in the background",
    )  # fmt: skip

    @classmethod
    def poll(cls, context):
        problem = backend.problem()
        if problem:
            cls.poll_message_set(f"{problem} See the GenTG preferences.")
        elif session.task_running:
            cls.poll_message_set("The backend is being set up.")
            return False
        return not problem

    def execute(self, context):
        try:
            settings = estimate_settings(context)
            jobs = [_file_job(context, Path(bpy.path.abspath(self.filepath)), settings)] if self.filepath else _strip_jobs(context, settings)
        except GentgError as error:
            return report_error(self, error)
        waiting = session.busy
        for job in jobs:
            session.submit(job)
        if bpy.app.background or self.wait:
            session.wait()
            failures = [j.context.failed for j in jobs if j.context.failed]
            for error in failures:
                self.report({"ERROR"}, str(error))
            return {"CANCELLED"} if failures else {"FINISHED"}
        if waiting:
            self.report({"INFO"}, "Queued: it starts when the running estimate is done.")
        if context.window is not None:
            bpy.ops.gentg.escape("INVOKE_DEFAULT")
        return {"FINISHED"}


class GENTG_OT_escape(bpy.types.Operator):
    """Listens for Esc while an estimate runs"""

    bl_idname = "gentg.escape"
    bl_label = "Cancel Estimate with Esc"
    bl_options = {"INTERNAL"}

    _listening = False  # one listener is enough, however many jobs are queued

    def invoke(self, context, _event):
        if GENTG_OT_escape._listening:
            return {"CANCELLED"}
        GENTG_OT_escape._listening = True
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, _context, event):
        if not session.busy:
            GENTG_OT_escape._listening = False
            return {"FINISHED"}
        if event.type == "ESC" and event.value == "PRESS":
            session.cancel()
            GENTG_OT_escape._listening = False
            return {"CANCELLED"}
        return {"PASS_THROUGH"}

    def cancel(self, _context):
        GENTG_OT_escape._listening = False


# --------------------------------------------------------------------------- making jobs


def _strip_jobs(context: bpy.types.Context, settings: dict) -> list[Job]:
    """One job a selected strip. Raises GentgError for the first that cannot be estimated."""
    chosen = strips.selected_strips(context)
    if not chosen:
        raise GentgError("bad_request", "No strip is selected.", hint=strips.NO_STRIP)
    scene = strips.sequencer_scene(context)
    return [_strip_job(context, scene, strips.clip_strip(scene, s), settings) for s in chosen]


def _strip_job(context: bpy.types.Context, scene: bpy.types.Scene, strip: strips.ClipStrip, settings: dict) -> Job:
    span = strip.span
    params = {"clip": os.fspath(strip.clip), "settings": {**settings, "start": span.start, "end": span.end}}
    if strip.image_sequence:
        params["sequence_fps"] = scene_rate(scene.render.fps, scene.render.fps_base)
    time_map, warnings = _in_scene(span, scene, context.scene)
    return _job(context, Path(strip.name).stem or strip.clip.stem, params, time_map, not strip.image_sequence, (*strip.warnings, *warnings))


def _in_scene(span: StripSpan, strip_scene: bpy.types.Scene, scene: bpy.types.Scene) -> tuple[TimeMap, tuple[str, ...]]:
    """The strip's map in the frames of the scene that gets the armature.

    Since 5.0 the sequencer can show another scene than the 3D View; the two run side by side in seconds.
    """
    a = scene_rate(strip_scene.render.fps, strip_scene.render.fps_base)
    b = scene_rate(scene.render.fps, scene.render.fps_base)
    if abs(a - b) < 1e-6:
        return span.time_map, ()
    m = span.time_map
    scaled = TimeMap((m.frames - 1) * b / a + 1, m.times, (m.first - 1) * b / a + 1, (m.last - 1) * b / a + 1)
    return scaled, (f"The sequencer's scene runs at {a:.4g} frames a second, {scene.name} at {b:.4g}: the keys keep the strip's time.",)


def _file_job(context: bpy.types.Context, clip: Path, settings: dict) -> Job:
    """The whole clip, from the chosen first frame on, at the scene's own rate."""
    if not clip.is_file():
        raise GentgError("no_such_file", "The clip is not there.", file=clip, hint="Choose a video under Clip.")
    return _job(context, clip.stem, {"clip": os.fspath(clip), "settings": settings}, None, True, ())


def _job(context, title: str, params: dict, time_map: TimeMap | None, has_video: bool, warnings: tuple[str, ...]) -> Job:
    s = context.scene.gentg
    scratch = scratch_folder()
    params["capture"] = os.fspath(scratch / "capture.npz")
    settings = ImportSettings(
        name=title, start_frame=s.start_frame, time_map=time_map, existing=s.existing.lower(), before=s.before,
        markers=s.markers, camera=s.add_camera, video=params["clip"] if s.show_clip and s.add_camera and has_video else None,
    )  # fmt: skip
    return Job(title, "estimate", params, scratch, JobContext(context.scene.name, settings, warnings))


# --------------------------------------------------------------------------- finished jobs


def _on_job_done(job: Job, task: Task) -> None:
    """The result is read: make the animation, in one undo step."""
    context: JobContext = job.context
    try:
        if task.error is not None:
            raise task.error
        scene = bpy.data.scenes.get(context.scene)
        if scene is None:
            raise GentgError("bad_request", f"The scene {context.scene} is not there any more, so nothing was imported.")
        capture: Capture = task.value
        context.settings.capture_file = _keep(job)
        with _window_of(scene):
            context.result = import_capture(bpy.context, capture, context.settings)
            if not bpy.app.background:
                bpy.ops.ed.undo_push(message=f"Estimate Pose: {job.title}")
        session.findings[job.title] = check_filming(capture)
        _tell(job, context)
    except GentgError as error:
        context.failed = error
        session.notice(Notice.from_error(f"{job.title}: no animation was made.", error))
    finally:
        job.remove_scratch()
        redraw()


def _window_of(scene: bpy.types.Scene):
    """A context in which `scene` is the current one; operators run from a timer have none."""
    for window in bpy.context.window_manager.windows:
        if window.scene == scene:
            return bpy.context.temp_override(window=window)
    return bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0])


def _keep(job: Job) -> Path:
    """Move the result file out of the temporary folder: retargeting and checks read it later."""
    folder = backend.user_folder() / CAPTURES
    # Clips of the same name in different folders keep a file each, and so does every result that is kept.
    stem = f"{bpy.path.clean_name(job.title)}-{zlib.crc32(job.params['clip'].encode('utf-8')):08x}"
    path, number = folder / f"{stem}.npz", 2
    while job.context.settings.existing == "add" and path.exists():
        path, number = folder / f"{stem}-{number}.npz", number + 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(job.params["capture"], path)
    except OSError:
        import shutil  # another disk

        try:
            shutil.move(job.params["capture"], path)
        except OSError as error:
            raise GentgError("not_writable", f"The result cannot be kept: {error.strerror or error}", file=path) from error
    return path


def _tell(job: Job, context: JobContext) -> None:
    result, made = job.result or {}, context.result
    frames, seconds = result.get("frames", 0), job.seconds
    line = f"Frames {made.first_frame:g} to {made.last_frame:g}, made in {seconds:.1f} s."
    if result.get("cached"):
        line += f" Taken from the cache: {', '.join(result['cached'])}."
    gaps = (f"{len(made.gaps)} gap{'s' if len(made.gaps) > 1 else ''} without the person, marked in the timeline.",) if made.gaps else ()
    warnings = (*context.warnings, *made.warnings, *result.get("warnings", ()))
    level = "WARNING" if warnings else "INFO"
    session.notice(Notice(level, f"{job.title}: animated{f' from {frames} frames' if frames else ''}.", (line, *gaps, *warnings)))


session.on_job_done = _on_job_done

CLASSES = (GENTG_OT_estimate_pose, GENTG_OT_escape)
