"""Operators for the backend itself: set up, doctor, cancel, stop."""

from __future__ import annotations

import os
import shlex
from urllib.parse import urlsplit

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty, StringProperty

from ..core.contract import GentgError
from ..job.find_python import NoPython, find_python, inspect_python
from ..job.process import run_lines
from ..job.task import Task
from . import backend, preferences
from .session import Notice, session


def report_error(operator: bpy.types.Operator, error: GentgError, level: str = "ERROR") -> set[str]:
    """Show an error where the person looks; the operator's return value. "WARNING" stays in the status bar, where
    "ERROR" makes a pop-up and, in a script, an exception."""
    operator.report({level}, str(error))
    return {"CANCELLED"}


class GENTG_OT_setup_backend(bpy.types.Operator):
    """Make the environment that runs the pose estimation: downloads packages into Blender's user folder"""

    bl_idname = "gentg.setup_backend"
    bl_label = "Set Up Backend"
    bl_options = {"REGISTER", "INTERNAL"}

    mode: EnumProperty(
        items=(
            ("INSTALL", "Install", "Install the backend, or go on where an installation stopped"),
            ("REPAIR", "Repair", "Remove the backend's environment and install it again"),
            ("REMOVE", "Remove", "Delete the backend's environment and give its disk space back"),
        ),
        default="INSTALL",
    )  # fmt: skip
    python: StringProperty(
        description="Python to make the environment from; empty takes the preferences' or finds one"
    )
    download_python: BoolProperty(
        description="Download Python 3.11 into Blender's user folder if the computer has none",
        options={"SKIP_SAVE"},
    )
    pip_options: StringProperty(
        description="Further words for pip, for example --no-index --find-links FOLDER", options={"SKIP_SAVE"}
    )

    @classmethod
    def description(cls, _context, properties) -> str:
        return {
            "INSTALL": "Make the environment that runs the pose estimation: downloads about 1 GB (a CUDA build: 3 GB) into Blender's user folder. "
                       "Needs no administrator's rights and leaves Blender's own Python alone",
            "REPAIR": "Remove the backend's environment and install it again",
            "REMOVE": "Delete the backend's environment and give its disk space back. Nothing else is touched",
        }[properties.mode] + (". Downloads Python 3.11 first, after asking" if properties.download_python else "")  # fmt: skip

    def invoke(self, context, event):
        if self.download_python and (build := backend.python_build()) is not None:
            where = urlsplit(build.url)
            return context.window_manager.invoke_confirm(
                self, event, title=f"Download Python {build.version}?", icon="QUESTION", confirm_text="Download",
                message=f"About 30 MB from {where.netloc}{where.path.partition('/releases')[0]} into Blender's user folder, "
                "checked before it is used. Remove deletes it again.",
            )  # fmt: skip
        if self.mode != "INSTALL":
            return context.window_manager.invoke_confirm(self, event)
        return self.execute(context)

    def execute(self, _context):
        if session.task_running:
            self.report({"WARNING"}, "A set-up is already running.")
            return {"CANCELLED"}
        if session.busy:
            self.report({"WARNING"}, "An estimate is running. Wait for it, or cancel it first.")
            return {"CANCELLED"}
        try:
            task = self._task()
        except GentgError as error:
            return report_error(self, error)
        session.start_task(task, _setup_done)
        if bpy.app.background:
            session.wait()
            if task.error is not None:
                return report_error(self, task.error)
        return {"FINISHED"}

    def _task(self) -> Task:
        environment, lock, prefs = backend.environment(), backend.lock(), backend.preferences()
        log = backend.user_folder() / "logs" / "setup.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        wanted = self.python or preferences.base_python(prefs)
        index = prefs.index.strip() if prefs is not None and prefs.build == "INDEX" else ""
        options, online, mode = tuple(shlex.split(self.pip_options)), bpy.app.online_access, self.mode
        session.queue.stop_backend()  # its files are in use
        own, build, download = backend.own_python(), backend.python_build(), self.download_python
        session.no_python = False

        def base_python(report, cancelled):
            if wanted:
                return inspect_python(wanted)
            try:
                return find_python(extra=[own.python])
            except NoPython:
                if not download or build is None:
                    raise
            return inspect_python(own.install(build, online=online, report=report, cancelled=cancelled))

        def work(report, cancelled, say):
            if mode == "REMOVE":
                report("Removing the backend", 0.1)
                environment.remove()
                own.remove()
                return
            report("Looking for Python 3.11", 0.0)
            base = base_python(lambda text, part: report(text, 0.04 * part), cancelled)
            say(f"Python: {base.path}")
            if mode == "REPAIR":
                environment.remove()
            environment.install(lock, base, index=index, online=online, report=report, cancelled=cancelled,
                                pip_options=options, log=say)  # fmt: skip

        return Task("Removing the backend" if mode == "REMOVE" else "Setting up the backend", work, log)


def _setup_done(task: Task) -> None:
    if task.error is None:
        session.notice(Notice("INFO", f"{task.title}: done."))
    elif task.error.code == "cancelled":
        session.notice(
            Notice("INFO", "The set-up was cancelled.", ("Set Up Backend goes on where it stopped.",))
        )
    else:
        session.no_python = isinstance(task.error, NoPython) and backend.python_build() is not None
        if task.error.file is None and task.log_path is not None and task.log_path.is_file():
            task.error.file = os.fspath(task.log_path)
        session.notice(Notice.from_error(f"{task.title} did not work.", task.error))


class GENTG_OT_doctor(bpy.types.Operator):
    """List what is installed, which device and models are used, what is wrong and how to mend it"""

    bl_idname = "gentg.doctor"
    bl_label = "Run the Doctor"
    bl_options = {"INTERNAL"}

    def execute(self, _context):
        if session.task_running:
            self.report({"WARNING"}, "Wait until the set-up has finished.")
            return {"CANCELLED"}
        try:
            command = backend.command()
        except GentgError as error:
            return report_error(self, error)
        from ..job.process import clean_environment

        def work(report, cancelled, say):
            report("The doctor is looking", 0.3)
            env = clean_environment(
                PYTHONPATH=os.fspath(command.root), PYTHONDONTWRITEBYTECODE="1", NO_COLOR="1"
            )
            lines: list[str] = []
            status = run_lines(
                [command.python, "-m", command.module, "doctor"], lines.append, cancelled=cancelled, env=env
            )
            return lines, status

        session.start_task(Task("Doctor", work), _doctor_done)
        if bpy.app.background:
            session.wait()
            for line in session.doctor:
                self.report({"INFO"}, line)
        return {"FINISHED"}


def _doctor_done(task: Task) -> None:
    if task.error is not None:
        session.notice(Notice.from_error("The doctor could not be run.", task.error))
        return
    lines, status = task.value
    session.doctor = [line for line in lines if line.strip()] or [
        f"The doctor said nothing and ended with status {status}."
    ]


class GENTG_OT_copy_doctor(bpy.types.Operator):
    """Copy the doctor's findings, to paste them into a report"""

    bl_idname = "gentg.copy_doctor"
    bl_label = "Copy"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        context.window_manager.clipboard = "\n".join(session.doctor)
        self.report({"INFO"}, "Copied.")
        return {"FINISHED"}


class GENTG_OT_cancel(bpy.types.Operator):
    """Stop now: ends the backend with everything it started and leaves the scene as it is"""

    bl_idname = "gentg.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    job: StringProperty(description="Which job; empty cancels everything", options={"SKIP_SAVE"})

    def execute(self, _context):
        job = session.find(self.job)
        if self.job and job is None:
            return {"CANCELLED"}  # it ended between the drawing and the click
        if not session.busy and not session.task_running:
            self.report({"INFO"}, "Nothing is running.")
            return {"CANCELLED"}
        session.cancel(job)
        return {"FINISHED"}


class GENTG_OT_stop_backend(bpy.types.Operator):
    """End the idle backend and give its memory back; it starts again when it is needed"""

    bl_idname = "gentg.stop_backend"
    bl_label = "Stop Backend"
    bl_options = {"INTERNAL"}

    def execute(self, _context):
        try:
            session.queue.stop_backend()
        except GentgError as error:
            return report_error(self, error)
        return {"FINISHED"}


class GENTG_OT_dismiss(bpy.types.Operator):
    """Put this message away"""

    bl_idname = "gentg.dismiss"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    index: IntProperty(options={"SKIP_SAVE"})

    def execute(self, _context):
        if 0 <= self.index < len(session.notices):
            del session.notices[self.index]
        return {"FINISHED"}


class GENTG_OT_show_log(bpy.types.Operator):
    """Open the log file"""

    bl_idname = "gentg.show_log"
    bl_label = "Show Log"
    bl_options = {"INTERNAL"}

    path: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})

    def execute(self, _context):
        if not os.path.isfile(self.path):
            self.report({"ERROR"}, f"The log is not there any more: {self.path}")
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=self.path)


CLASSES = (GENTG_OT_setup_backend, GENTG_OT_doctor, GENTG_OT_copy_doctor, GENTG_OT_cancel, GENTG_OT_stop_backend,
           GENTG_OT_dismiss, GENTG_OT_show_log)  # fmt: skip
