"""Set Up Backend by clicks, in a fresh profile, with a Python whose packages cost nothing (fake_python.py)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from driver import Steps, find_button, panel_image, play, press_button, wait_for  # noqa: E402
from scenarios import SEQ, add_clip, armatures, gentg, prepare  # noqa: E402

REPORT = sys.argv[sys.argv.index("--") + 1 :][1]


def backend():
    package = next(m for m in sys.modules if m.endswith(".gentg_blender") and m.startswith("bl_ext."))
    return sys.modules[package + ".ui.backend"]


def pip_log() -> list[str]:
    path = Path(os.environ["GENTG_FAKE_PIP"])
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def set_up(report: dict) -> Steps:
    """Offline there is no button. Online: set up, cancel, go on, estimate, remove, take an existing environment."""
    session, b = gentg(), backend()
    prefs, network = b.preferences(), bpy.context.preferences.system
    yield from prepare(report)
    add_clip()
    network.use_online_access = False
    assert not bpy.app.online_access
    prefs.base_python = os.environ["GENTG_FAKE_PYTHON"]
    yield from panel_image("offline", SEQ)
    assert (yield from find_button(SEQ, "gentg.setup_backend")) is None, "a button that would download"
    assert not bpy.ops.gentg.estimate_pose.poll()
    assert not pip_log() and not b.environment().folder.exists()

    network.use_online_access = True
    yield from panel_image("no-backend", SEQ)
    yield 0.3
    yield from press_button(SEQ, "gentg.setup_backend")
    yield from wait_for(lambda: session.task and session.task.fraction > 0.3, "progress of the set-up")
    os.environ["GENTG_FAKE_PAUSE"] = "60"  # the next package lasts until the Cancel button is found
    report["text"] = session.task.text
    yield from panel_image("setting-up", SEQ)
    assert not bpy.ops.gentg.estimate_pose.poll(), "not before the set-up is done"
    yield from press_button(SEQ, "gentg.cancel")
    yield from wait_for(lambda: not session.task_running, "the set-up stops", 5)
    os.environ["GENTG_FAKE_PAUSE"] = "0"
    first = b.environment().marker()
    assert first.installed and not first.complete and "cancelled" in session.notices[0].title
    assert "goes on where it stopped" in b.problem()
    yield from panel_image("interrupted", SEQ)
    bpy.ops.gentg.dismiss(index=0)

    yield from press_button(SEQ, "gentg.setup_backend")
    yield from wait_for(lambda: session.task_running, "the click goes on with it", 5)
    yield from wait_for(lambda: not session.task_running, "the set-up", 120)
    assert b.problem() == "" and b.environment().marker().complete, session.notices
    assert b.environment().marker().installed[: len(first.installed)] == first.installed
    done = [line.split()[1] for line in pip_log() if line.startswith("done")]
    assert len(done) == len(set(done)) == len(b.lock().requirements), "each package once, over both clicks"
    report["packages"], report["before_cancel"] = len(done), len(first.installed)
    bpy.ops.gentg.dismiss(index=0)

    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.busy, "the click starts an estimate", 5)
    yield from wait_for(lambda: not session.busy, "the result", 60)
    assert len(armatures()) == 1, session.notices
    assert session.queue.backend.command.python == b.environment().python

    folder = b.environment().folder
    (folder / "mine.txt").write_text("not GenTG's", encoding="utf-8")
    bpy.ops.gentg.setup_backend(mode="REMOVE")
    yield from wait_for(lambda: not session.task_running, "the removal", 20)
    assert [p.name for p in folder.iterdir()] == ["mine.txt"], "nothing but what is ours is removed"
    (folder / "mine.txt").unlink()
    assert "not set up yet" in b.problem()

    prefs.source = "EXISTING"
    assert "No environment is chosen" in b.problem()
    prefs.existing_python = os.environ["GENTG_FAKE_PYTHON"]
    assert b.problem() == ""
    while session.notices:
        bpy.ops.gentg.dismiss(index=0)
    assert (yield from find_button(SEQ, "gentg.setup_backend")) is None, "nothing to set up"
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.busy, "the click starts an estimate", 5)
    yield from wait_for(lambda: not session.busy, "the result", 60)
    assert str(session.queue.backend.command.python) == prefs.existing_python and len(armatures()) == 1
    report["backend"] = session.queue.backend.pid


if __name__ == "__main__":
    play(set_up, REPORT)
