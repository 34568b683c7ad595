"""From finished jobs and saved captures to animation: read on a thread, imported bit by bit, one undo step in the end."""

from __future__ import annotations

import os
import shutil
import threading
import time
import traceback
import zlib
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..core.contract import Capture, GentgError, load_capture
from ..core.filming_check import Finding, check_filming, findings_to_json
from ..job.jobs import Job, State
from ..job.task import Task
from ..tool.result import CaptureImport, ImportResult, ImportSettings
from . import backend
from .session import Notice, redraw, session

FINDINGS = "gentg_filming_check"  # custom property of the armature: what the check found, as JSON
CAPTURES = "captures"  # folder in the user folder that keeps result files


@dataclass
class JobContext:
    """What a finished job needs to become animation. Names, not RNA: undo replaces those."""

    scene: str
    settings: ImportSettings
    warnings: tuple[str, ...] = ()
    failed: GentgError | None = None
    result: ImportResult | None = None

    def ended(self, job: Job) -> None:
        """The backend is done with the job, well or badly."""
        try:
            if job.state is State.FAILED:
                raise job.error
            session.arriving.append(Arrival(job))
        except GentgError as error:
            self.fail(job, error)

    def fail(self, job: Job, error: GentgError) -> None:
        self.failed = error
        job.remove_scratch()
        session.notice(Notice.from_error(f"{job.title}: no animation was made.", error))


@dataclass(frozen=True)
class _Read:
    """What the thread brings."""

    capture: Capture
    findings: list[Finding]


class Arrival:
    """A finished job whose result is on its way into the scene. Starts a thread at once.

    The result is moved to where this extension keeps its captures; one that was `saved` before stays where it is.
    """

    def __init__(self, job: Job, saved: bool = False):
        """Raises GentgError when there is no place to keep the result."""
        self.job, self.context = job, job.context
        self.undo_seconds = 0.0
        folder = backend.user_folder() / CAPTURES
        self._file = None if saved else folder / f".{job.id}-{os.getpid()}.npz"
        self._task = Task(
            f"Reading {job.title}", lambda _report, cancelled, _log: _read(job, self._file, cancelled)
        )
        self._read: _Read | None = None
        self._import: CaptureImport | None = None

    @property
    def importing(self) -> bool:
        """Whether it is Blender's thread that works on it now."""
        return not self._task.running

    @property
    def text(self) -> str:
        return "Importing" if self._import is not None else "Reading the result"

    @property
    def fraction(self) -> float:
        return self._import.fraction if self._import is not None else 0.0

    @property
    def _did(self) -> str:
        return "Import Capture" if self._file is None else "Estimate Pose"

    def advance(self, seconds: float) -> bool:
        """Go on for about that long; returns whether it has come to its end, good or bad."""
        if self._task.running:
            return False
        deadline = time.perf_counter() + seconds
        try:
            if self._import is None:
                self._begin()
            scene = bpy.data.scenes.get(self.context.scene)
            if scene is None:
                raise GentgError(
                    "bad_request",
                    f"The scene {self.context.scene} is not there any more, so nothing was imported.",
                )
            with _window_of(scene):
                while self.context.result is None and time.perf_counter() < deadline:
                    self.context.result = self._import.step(bpy.context)
        except Exception as error:
            if not isinstance(error, GentgError):  # a bug must end as a message, not as a dead timer
                traceback.print_exc()
                error = GentgError(
                    "internal",
                    f"The import failed: {error!r}",
                    hint="Please report this with the console's output.",
                )
            self.discard()
            self.context.fail(self.job, error)
        return self.context.result is not None or self.context.failed is not None

    def finish(self) -> None:
        """Make what was imported one undo step, keep the result's file and tell the person."""
        if self.context.result is not None:
            armature = self.context.result.armature
            armature[FINDINGS] = findings_to_json(self._read.findings)
            if not bpy.app.background:
                began = time.perf_counter()
                with _window_of(bpy.data.scenes[self.context.scene]):
                    bpy.ops.ed.undo_push(message=f"{self._did}: {self.job.title}")
                self.undo_seconds = time.perf_counter() - began
            place = Path(self.context.settings.capture_file)
            _tell(self.job, self.context, () if self._file is None else _keep(self._file, place))
        self.job.remove_scratch()
        redraw()

    def discard(self, *, data: bool = True) -> None:
        """Give it up. `data` is False when Blender's data is gone already."""
        self._task.cancel()
        if data and self._import is not None:
            self._import.discard()
        self._import = None
        if self._file is not None:
            self._file.unlink(missing_ok=True)  # one that appears later, the thread removes
        self.job.remove_scratch()

    def _begin(self) -> None:
        if self._task.error is not None:
            raise self._task.error
        self._read = self._task.value
        if self._file is not None:
            self.context.settings.capture_file = _place_for(self.job)
        self._import = CaptureImport(self._read.capture, self.context.settings)


def arrival_of_saved(scene: bpy.types.Scene, path: Path, settings: ImportSettings) -> Arrival:
    """A capture file on its way into `scene`, which stays where it is. `settings` without its `capture_file`.
    To be put into `session.arriving`, and watched."""
    settings.capture_file = path
    job = Job(settings.name, "import", {"capture": str(path)}, context=JobContext(scene.name, settings))
    return Arrival(job, saved=True)


def _read(job: Job, file: Path | None, cancelled: threading.Event) -> _Read:
    """Load and judge the result, a second's work on a thread, and move it to `file`, on the disk where it is kept."""
    capture = load_capture(Path(job.params["capture"]))
    findings = check_filming(capture)
    if file is None:
        return _Read(capture, findings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(job.params["capture"], file)
    except OSError as error:
        raise GentgError(
            "not_writable", f"The result cannot be kept: {error.strerror or error}", file=file.parent
        ) from error
    if cancelled.is_set():
        file.unlink(missing_ok=True)
        raise GentgError("cancelled", "Cancelled.")
    return _Read(capture, findings)


def _place_for(job: Job) -> Path:
    """Where a job's result is kept: retargeting and checks read it later."""
    folder = backend.user_folder() / CAPTURES
    # Clips of the same name in different folders keep a file each, and so does every result that is kept.
    stem = f"{bpy.path.clean_name(job.title)}-{zlib.crc32(job.params['clip'].encode('utf-8')):08x}"
    path, number = folder / f"{stem}.npz", 2
    while job.context.settings.existing == "add" and path.exists():
        path, number = folder / f"{stem}-{number}.npz", number + 1
    return path


def _keep(file: Path, place: Path) -> tuple[str, ...]:
    """Give the result's file its name; a warning if that fails. Not before the import has worked."""
    try:
        os.replace(file, place)
    except OSError as error:
        return (f"The result's file could not be kept as {place}: {error.strerror or error}",)
    return ()


def _window_of(scene: bpy.types.Scene):
    """A context in which `scene` is the current one; operators run from a timer have none."""
    for window in bpy.context.window_manager.windows:
        if window.scene == scene:
            return bpy.context.temp_override(window=window)
    return bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0])


def _tell(job: Job, context: JobContext, further: tuple[str, ...]) -> None:
    result, made = job.result or {}, context.result
    frames, seconds = result.get("frames", 0), job.seconds
    line = f"Frames {made.first_frame:g} to {made.last_frame:g}"
    line += f", made in {seconds:.1f} s." if seconds else "."
    if result.get("cached"):
        line += f" Taken from the cache: {', '.join(result['cached'])}."
    gaps = (
        (
            f"{len(made.gaps)} gap{'s' if len(made.gaps) > 1 else ''} without the person, marked in the timeline.",
        )
        if made.gaps
        else ()
    )
    warnings = (*context.warnings, *made.warnings, *result.get("warnings", ()), *further)
    level = "WARNING" if warnings else "INFO"
    session.notice(
        Notice(
            level,
            f"{job.title}: animated{f' from {frames} frames' if frames else ''}.",
            (line, *gaps, *warnings),
        )
    )
