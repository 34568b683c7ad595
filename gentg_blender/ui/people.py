"""Choosing a person: the people that the backend found in a clip, with an image of each to pick from.

The list lives here, for as long as Blender runs; what was picked is kept with the scene, as a time and a place, so
that it needs no list.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews
from bpy.props import BoolProperty, IntProperty, StringProperty

from ..core.contract import PROMINENT, GentgError, PersonSeed
from ..job.jobs import Job, State
from ..tool import strips
from .operators_backend import report_error
from .session import Notice, redraw, scratch_folder, session
from .widgets import draw_text

_ICON_SCALE = 4.5  # of a thumbnail, in rows of the interface
_COLUMNS = 3


@dataclass(frozen=True)
class Candidate:
    """One person of the list."""

    number: int  # from 1, the most prominent first
    share: float  # of the images looked at, 0..1
    seed: PersonSeed
    icon: int  # id for Blender's interface; 0 where there is none


@dataclass
class _List:
    """The people of the clip that was looked through last."""

    clip: str = ""
    people: list[Candidate] = field(default_factory=list)
    folder: Path | None = None  # of the thumbnails, which Blender reads when it first draws them
    previews: Any = None

    def fill(self, clip: str, found: list[dict[str, Any]], folder: Path | None) -> None:
        """Take over a result of the command "people". Raises GentgError("bad_request") if it is none."""
        self.clear()
        self.clip, self.folder = clip, folder
        self.previews = bpy.utils.previews.new()
        for person in found:
            number = int(person["number"])
            image = person.get("thumbnail")
            icon = self.previews.load(f"person {number}", image, "IMAGE").icon_id if image else 0
            self.people.append(
                Candidate(number, float(person["share"]), PersonSeed.from_dict(person["seed"]), icon)
            )

    def clear(self) -> None:
        """Free the images and remove their files."""
        if self.previews is not None:
            bpy.utils.previews.remove(self.previews)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.clip, self.people, self.folder, self.previews = "", [], None, None


listed = _List()


# --------------------------------------------------------------------------- what an estimate needs


def person_setting(settings: bpy.types.PropertyGroup) -> str | dict[str, Any]:
    """`EstimateSettings.person` for the scene's choice. Raises GentgError when nobody has been picked."""
    if settings.person == "PROMINENT":
        return PROMINENT
    if not settings.picked_number:
        raise GentgError(
            "bad_request",
            "No person is picked.",
            hint="Press Find People and pick one, or choose Most Prominent.",
        )
    return PersonSeed(settings.picked_time, tuple(settings.picked_box)).to_dict()


def name_for(settings: bpy.types.PropertyGroup, title: str, clip: str) -> str:
    """What a clip's result is called; raises GentgError if the picked person is one of another clip."""
    if settings.person == "PROMINENT":
        return title
    if settings.picked_clip != clip:
        raise GentgError("bad_request", f"Person {settings.picked_number} was picked in another clip than {title}.",
                         file=clip, hint="Press Find People for this clip and pick one, or choose Most Prominent.")  # fmt: skip
    return f"{title} person {settings.picked_number}"


# --------------------------------------------------------------------------- operators


@dataclass
class _Search:
    """A job's context: what a finished search becomes."""

    clip: str
    failed: GentgError | None = None

    def ended(self, job: Job) -> None:
        try:
            if job.state is State.FAILED:
                raise job.error
            listed.fill(self.clip, (job.result or {}).get("people", []), job.scratch)
        except (GentgError, KeyError, TypeError, ValueError) as error:
            if not isinstance(error, GentgError):
                error = GentgError("internal", f"The backend's list of people cannot be read: {error!r}")
            self.failed = error
            session.notice(Notice.from_error(f"{job.title}: no people to pick from.", error))
            job.remove_scratch()
        redraw()


class GENTG_OT_find_people(bpy.types.Operator):
    """Look through the clip for everybody in it, to pick the person to animate"""

    bl_idname = "gentg.find_people"
    bl_label = "Find People"
    bl_options = {"REGISTER"}

    filepath: StringProperty(
        name="Clip", subtype="FILE_PATH", options={"SKIP_SAVE"},
        description="Video to look through; empty takes the selected movie strip",
    )  # fmt: skip
    wait: BoolProperty(
        name="Wait", options={"SKIP_SAVE"},
        description="Return only when the list is there. Always so when Blender runs in the background",
    )  # fmt: skip

    @classmethod
    def poll(cls, context):
        return bpy.types.GENTG_OT_estimate_pose.poll(context)

    def execute(self, context):
        try:
            job = _job(context, self.filepath)
        except GentgError as error:
            return report_error(self, error)
        session.submit(job)
        if bpy.app.background or self.wait:
            session.wait()
            if job.context.failed:
                return report_error(self, job.context.failed)
        elif context.window is not None:
            bpy.ops.gentg.escape("INVOKE_DEFAULT")
        return {"FINISHED"}


class GENTG_OT_pick_person(bpy.types.Operator):
    """Animate this person"""

    bl_idname = "gentg.pick_person"
    bl_label = "Pick Person"
    bl_options = {"REGISTER", "UNDO"}

    number: IntProperty(
        name="Number", min=1, default=1, description="Number of the person in the list that Find People made"
    )

    def execute(self, context):
        chosen = next((p for p in listed.people if p.number == self.number), None)
        if chosen is None:
            error = GentgError(
                "bad_request",
                f"There is no person {self.number} in the list.",
                hint="Press Find People first.",
            )
            return report_error(self, error)
        s = context.scene.gentg
        s.person, s.picked_number, s.picked_clip = "PICK", chosen.number, listed.clip
        s.picked_time, s.picked_box = chosen.seed.time, chosen.seed.box
        return {"FINISHED"}


def _job(context: bpy.types.Context, filepath: str) -> Job:
    """Raises GentgError for what cannot be looked through."""
    from .operators_estimate import clip_params  # which needs `name_for` from here
    from .properties import detector_setting

    settings = {"detector": detector_setting(context.scene.gentg)}
    if filepath:
        clip = Path(bpy.path.abspath(filepath))
        if not clip.is_file():
            raise GentgError(
                "no_such_file", "The clip is not there.", file=clip, hint="Choose a video under Clip."
            )
        params, title = {"clip": os.fspath(clip), "settings": settings}, clip.stem
    else:
        chosen = [s for s in strips.selected_strips(context) if not strips.unusable_reason(s)]
        if not chosen:
            raise GentgError("bad_request", "No strip is selected.", hint=strips.NO_STRIP)
        scene = strips.sequencer_scene(context)
        strip = strips.clip_strip(scene, chosen[0])
        params, title = clip_params(scene, strip, settings), strip.name
    scratch = scratch_folder()
    params["folder"] = os.fspath(scratch)
    return Job(f"People in {title}", "people", params, scratch, _Search(params["clip"]))


# --------------------------------------------------------------------------- drawing


def draw_person(
    layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, clip: str, filepath: str, width: int
) -> None:
    """The choice of the person for this clip; `filepath` is what the search gets ("" takes the strip)."""
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "person")
    if settings.person != "PICK" or not clip:
        return
    box = layout.box()
    mine = settings.picked_number if settings.picked_clip == clip else 0
    if listed.clip == clip:
        grid = box.grid_flow(row_major=True, columns=_COLUMNS, even_columns=True, align=True)
        for person in listed.people:
            cell = grid.column(align=True)
            cell.template_icon(icon_value=person.icon, scale=_ICON_SCALE)
            text = f"{person.number}: {person.share:.0%}"
            cell.operator(
                "gentg.pick_person", text=text, depress=person.number == mine
            ).number = person.number
        if not mine:
            draw_text(
                box,
                "Pick one. The figure is the share of the clip that shows this person.",
                icon="INFO",
                width=width,
            )
    elif mine:
        draw_text(box, f"Person {mine} is picked.", icon="CHECKMARK", width=width)
    box.operator(
        "gentg.find_people", text="Find Again" if listed.clip == clip else "Find People", icon="VIEWZOOM"
    ).filepath = filepath


def detach() -> None:
    """Free what Blender does not free itself; at unregistering."""
    listed.clear()


CLASSES = (GENTG_OT_find_people, GENTG_OT_pick_person)
