"""Pieces that several panels draw."""

from __future__ import annotations

import textwrap

import bpy

from .session import session

_ICON = {"INFO": "INFO", "WARNING": "ERROR", "ERROR": "CANCEL"}


def panel_width(context: bpy.types.Context) -> int:
    """Letters that fit into one line of the region: Blender cuts longer labels off instead of wrapping."""
    scale = context.preferences.system.ui_scale
    return max(24, int((context.region.width if context.region else 300) / (7.2 * scale)) - 5)


def draw_text(layout: bpy.types.UILayout, text: str, *, icon: str = "NONE", width: int) -> None:
    """A text over as many lines as it needs, the first with the icon."""
    column = layout.column(align=True)
    for paragraph in text.splitlines() or [""]:
        for line in textwrap.wrap(paragraph, width, break_long_words=True) or [""]:
            column.label(text=line, icon=icon)
            icon = "BLANK1" if icon != "NONE" else "NONE"


def draw_set_up(layout: bpy.types.UILayout) -> None:
    """The button of the set-up; where no Python was found, one that downloads it too, after asking."""
    text = "Download Python and Set Up" if session.no_python else "Set Up Backend"
    button = layout.operator("gentg.setup_backend", text=text, icon="IMPORT")
    button.mode, button.download_python = "INSTALL", session.no_python


def draw_notices(layout: bpy.types.UILayout, width: int = 90) -> None:
    """What happened, until it is put away."""
    for index, notice in enumerate(session.notices):
        box = layout.box()
        row = box.row()
        draw_text(row, notice.title, icon=_ICON[notice.level], width=width - 6)
        row.operator("gentg.dismiss", text="", icon="X", emboss=False).index = index
        for line in notice.lines:
            draw_text(box, line, icon="BLANK1", width=width)
        if notice.file:
            box.operator("gentg.show_log", icon="TEXT").path = notice.file


def draw_jobs(layout: bpy.types.UILayout, width: int) -> None:
    """The running job with its bar, and those that wait."""
    for job in session.queue.jobs:
        box = layout.box()
        row = box.row()
        row.label(text=job.title, icon="PLAY" if job.state.active else "TIME")
        row.operator("gentg.cancel", text="" if not job.state.active else "Cancel", icon="X").job = job.id
        if job.state.active:
            box.progress(factor=job.progress.fraction, text=f"{job.progress.fraction:.0%}")
            draw_text(
                box, "\n".join(filter(None, (job.progress.stage_text, job.progress.detail))), width=width
            )
        else:
            box.label(text="Waiting", icon="BLANK1")
    for arrival in session.arriving:
        box = layout.box()
        row = box.row()
        row.label(text=arrival.job.title, icon="PLAY")
        row.operator("gentg.cancel", text="Cancel", icon="X").job = arrival.job.id
        box.progress(factor=arrival.fraction, text=arrival.text)
