"""Estimate Pose: from strips or a file to jobs. What becomes of finished ones is in import_queue.py."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..core.contract import GentgError
from ..core.strip import StripSpan
from ..core.timing import TimeMap, scene_rate
from ..job.jobs import Job
from ..tool import strips
from ..tool.result import ImportSettings, check_scene
from . import backend
from .import_queue import JobContext
from .operators_backend import report_error
from .people import name_for
from .properties import estimate_settings, lens_setting
from .session import Notice, scratch_folder, session

_NOT_STARTED = "The estimate was not started."


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

    clicked = False  # the panel beside the button says what is wrong: a pop-up would only cover it

    def invoke(self, context, _event):
        self.clicked = True
        return self.execute(context)

    def execute(self, context):
        try:
            settings = estimate_settings(context)
            jobs = (
                [_file_job(context, Path(bpy.path.abspath(self.filepath)), settings)]
                if self.filepath
                else _strip_jobs(context, settings)
            )
        except GentgError as error:
            session.put_away(_NOT_STARTED)
            session.notice(Notice.from_error(_NOT_STARTED, error))
            return report_error(self, error, "WARNING" if self.clicked else "ERROR")
        session.put_away(_NOT_STARTED)
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


def _strip_job(
    context: bpy.types.Context, scene: bpy.types.Scene, strip: strips.ClipStrip, settings: dict
) -> Job:
    params = clip_params(scene, strip, settings)
    time_map, warnings = _in_scene(strip.span, scene, context.scene)
    return _job(
        context, Path(strip.name).stem or strip.clip.stem, params, time_map, (*strip.warnings, *warnings)
    )


def clip_params(scene: bpy.types.Scene, strip: strips.ClipStrip, settings: dict) -> dict:
    """A request's parameters that name a strip's clip and the part of it that the strip shows."""
    params = {
        "clip": os.fspath(strip.clip),
        "settings": {**settings, "start": strip.span.start, "end": strip.span.end},
    }
    if strip.image_sequence:
        params["sequence_fps"] = scene_rate(scene.render.fps, scene.render.fps_base)
    return params


def _in_scene(
    span: StripSpan, strip_scene: bpy.types.Scene, scene: bpy.types.Scene
) -> tuple[TimeMap, tuple[str, ...]]:
    """The strip's map in the frames of the scene that gets the armature.

    Since 5.0 the sequencer can show another scene than the 3D View; the two run side by side in seconds.
    """
    a = scene_rate(strip_scene.render.fps, strip_scene.render.fps_base)
    b = scene_rate(scene.render.fps, scene.render.fps_base)
    if abs(a - b) < 1e-6:
        return span.time_map, ()
    m = span.time_map
    scaled = TimeMap((m.frames - 1) * b / a + 1, m.times, (m.first - 1) * b / a + 1, (m.last - 1) * b / a + 1)
    return scaled, (
        f"The sequencer's scene runs at {a:.4g} frames a second, {scene.name} at {b:.4g}: the keys keep the strip's time.",
    )


def _file_job(context: bpy.types.Context, clip: Path, settings: dict) -> Job:
    """The whole clip, from the chosen first frame on, at the scene's own rate."""
    if not clip.is_file():
        raise GentgError(
            "no_such_file", "The clip is not there.", file=clip, hint="Choose a video under Clip."
        )
    return _job(context, clip.stem, {"clip": os.fspath(clip), "settings": settings}, None, ())


def _job(context, title: str, params: dict, time_map: TimeMap | None, warnings: tuple[str, ...]) -> Job:
    check_scene(context.scene)
    s = context.scene.gentg
    title = name_for(s, title, params["clip"])
    params["settings"] = {**params["settings"], **lens_setting(s, params["clip"])}
    scratch = scratch_folder()
    params["capture"] = os.fspath(scratch / "capture.npz")
    settings = ImportSettings(
        name=title, start_frame=s.start_frame, time_map=time_map, existing=s.existing.lower(), before=s.before,
        markers=s.markers, camera=s.add_camera, video=params["clip"] if s.show_clip and s.add_camera else None,
        sequence="sequence_fps" in params,
    )  # fmt: skip
    return Job(title, "estimate", params, scratch, JobContext(context.scene.name, settings, warnings))


CLASSES = (GENTG_OT_estimate_pose, GENTG_OT_escape)
