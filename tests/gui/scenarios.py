"""The scenarios, run inside Blender's GUI by driver.play. Arguments after --: scenario, report file, clip."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from driver import (  # noqa: E402
    Heartbeat,
    Steps,
    click,
    clicked,
    find_button,
    key,
    only_3d_view,
    panel_image,
    play,
    press_button,
    region,
    screenshot,
    show_sidebar,
    unfold,
    wait_for,
    widen_sidebar,
)

NAME, REPORT, CLIP = sys.argv[sys.argv.index("--") + 1 :][:3]
SEQ = "SEQUENCE_EDITOR"


def gentg():
    """Our modules under the name that Blender gave the installed extension."""
    package = next(m for m in sys.modules if m.endswith(".gentg_blender") and m.startswith("bl_ext."))
    return sys.modules[package + ".ui.session"].session


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def datablocks() -> dict[str, list[str]]:
    return {
        k: sorted(b.name for b in getattr(bpy.data, k))
        for k in ("objects", "armatures", "actions", "cameras", "collections", "images")
    }


def armatures() -> list[bpy.types.Object]:
    return [o for o in bpy.context.scene.objects if o.type == "ARMATURE"]


def key_frames(ob) -> tuple[float, float]:
    return tuple(ob.animation_data.action.frame_range)


def prepare(report: dict) -> Steps:
    """A 3D View above, a sequencer below, both with our tab."""
    window = bpy.context.window_manager.windows[0]
    view = max((a for a in window.screen.areas if a.type == "VIEW_3D"), key=lambda a: a.width * a.height)
    with bpy.context.temp_override(
        window=window, area=view, region=next(r for r in view.regions if r.type == "WINDOW")
    ):
        bpy.ops.screen.area_split(direction="HORIZONTAL", factor=0.5)
    yield 0.3
    low = min((a for a in window.screen.areas if a.type == "VIEW_3D"), key=lambda a: a.y)
    low.type = SEQ
    low.spaces[0].view_type = "SEQUENCER"
    low.spaces[0].timeline_overlay.show_strip_source = False  # no path of this machine in the images
    yield 0.5
    yield from show_sidebar(SEQ)
    yield from show_sidebar("VIEW_3D")
    yield from widen_sidebar(SEQ, 90)
    yield from widen_sidebar("VIEW_3D", 90)


def add_clip(start: int = 10, **_) -> bpy.types.Strip:
    from driver import area

    scene = bpy.context.scene
    scene.render.fps = 60
    window, a = bpy.context.window_manager.windows[0], area(SEQ)
    window.workspace.sequencer_scene = scene
    with bpy.context.temp_override(
        window=window, area=a, region=next(r for r in a.regions if r.type == "WINDOW")
    ):
        bpy.ops.sequencer.movie_strip_add(
            filepath=CLIP, frame_start=start, channel=2, sound=False, move_strips=False
        )
        bpy.ops.sequencer.view_all()
        bpy.ops.ed.undo_push(message="clip added")
    return scene.sequence_editor.active_strip


def estimate(report: dict) -> Steps:
    """Select, press, get animation; undo and redo; a second run; queue."""
    session = gentg()
    yield from prepare(report)
    strip = add_clip()
    before = datablocks()
    heart = Heartbeat()
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.busy, "the click starts an estimate", 5)
    heart.reset()
    yield from wait_for(
        lambda: session.queue.current and session.queue.current.progress.fraction > 0.4, "progress"
    )
    report["longest_pause_running"] = heart.reset()
    yield from wait_for(lambda: not session.busy, "the result")
    assert len(armatures()) == 1, session.notices
    first, last = key_frames(armatures()[0])
    report["frames"] = [first, last, strip.left_handle, strip.right_handle]
    assert first >= strip.left_handle and last <= strip.right_handle
    report["ticks"] = asdict(session.ticks)

    after = datablocks()
    r = region("VIEW_3D", "WINDOW")
    x, y = r.x + r.width // 3, r.y + r.height // 2
    yield from key("Z", x, y, ctrl=True)
    yield 0.5
    assert datablocks() == before, (datablocks(), before)
    yield from key("Z", x, y, ctrl=True, shift=True)
    yield 0.5
    assert datablocks() == after and len(armatures()) == 1

    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.busy, "a second run", 5)
    pid = session.queue.backend.pid
    yield from wait_for(lambda: not session.busy, "the second result")
    assert session.queue.backend.pid == pid, "the backend stayed warm"
    assert len(armatures()) == 1, "the second run replaces the first"
    bpy.context.scene.gentg.existing = "ADD"
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.busy, "a third run", 5)
    yield from wait_for(lambda: not session.busy, "the third result")
    assert len(armatures()) == 2, "the third run keeps both"
    report["backend"] = session.queue.backend.pid


def undo_and_redo(before) -> Steps:
    """One undo step takes all that came since `before`, and redo brings it back."""
    after = datablocks()
    r = region("VIEW_3D", "WINDOW")
    yield from key("Z", r.x + 200, r.y + 200, ctrl=True)
    yield 1.0
    assert datablocks() == before, "one undo step takes all of it"
    yield from key("Z", r.x + 200, r.y + 200, ctrl=True, shift=True)
    yield 1.0
    assert datablocks() == after


def long(report: dict) -> Steps:
    """A capture of ten minutes: Blender goes on while it comes in; cancelled in the middle, nothing is left."""
    session = gentg()
    yield from prepare(report)
    bpy.context.scene.render.fps = 30
    bpy.context.scene.gentg.clip = CLIP
    bpy.ops.ed.undo_push(message="set up")
    before = datablocks()
    heart = Heartbeat()
    for finish in (False, True):
        yield from press_button("VIEW_3D", "gentg.estimate_pose")
        yield from wait_for(
            lambda: session.arriving and session.arriving[0].fraction > 0.2, "the import", 120
        )
        assert {k: v for k, v in datablocks().items() if k not in ("actions", "images")} == {
            k: v for k, v in before.items() if k not in ("actions", "images")
        }
        if not finish:
            r = region("VIEW_3D", "WINDOW")
            yield from key("ESC", r.x + 200, r.y + 200)
            yield from wait_for(lambda: not session.busy, "Esc ends the import", 10)
            assert datablocks() == before
            bpy.ops.gentg.dismiss(index=0)
    heart.reset()
    yield from wait_for(lambda: not session.busy, "the result", 240)
    report["longest_pause"] = heart.reset()
    report["ticks"] = asdict(session.ticks)
    assert len(armatures()) == 1, session.notices
    report["frames"] = key_frames(armatures()[0])
    yield from undo_and_redo(before)


def saved(report: dict) -> Steps:
    """Import Capture with a file of ten minutes: the operator returns at once, Blender goes on, one undo step."""
    session = gentg()
    yield from prepare(report)
    bpy.context.scene.render.fps = 30
    bpy.ops.ed.undo_push(message="set up")
    before = datablocks()
    heart, began = Heartbeat(), time.perf_counter()
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        assert bpy.ops.gentg.import_capture(filepath=os.environ["GENTG_SAVED"]) == {"FINISHED"}
    report["returned"] = time.perf_counter() - began
    assert session.busy and not armatures()
    heart.reset()
    yield from wait_for(lambda: not session.busy, "the animation", 240)
    report["longest_pause"] = heart.reset()
    report["ticks"] = asdict(session.ticks)
    assert len(armatures()) == 1 and session.notices[0].level == "INFO", session.notices
    report["frames"] = key_frames(armatures()[0])
    yield from undo_and_redo(before)


def cancel(report: dict) -> Steps:
    """Cancel by the button and by Esc: no process, no data-block. Then kill -9: an error, and it works again."""
    session = gentg()
    yield from prepare(report)
    add_clip()
    before = datablocks()
    for how in ("button", "esc"):
        yield from press_button(SEQ, "gentg.estimate_pose")
        yield from wait_for(
            lambda: session.queue.current and session.queue.current.progress.done > 0, "progress"
        )
        pid = session.queue.backend.pid
        if how == "button":
            found = yield from find_button(SEQ, "gentg.cancel", at=0.8)
            assert found is not None, "no Cancel button"
            stop = click(*found)
        else:
            r = region("VIEW_3D", "WINDOW")
            stop = key("ESC", r.x + 200, r.y + 200)
        began = time.monotonic()
        yield from stop
        yield from wait_for(lambda pid=pid: not session.busy and not alive(pid), "the process is gone", 3)
        report[f"cancel_{how}"] = time.monotonic() - (clicked[-1] if how == "button" else began)
        assert datablocks() == before
        yield from panel_image("cancelled", SEQ)
        bpy.ops.gentg.dismiss(index=0)

    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.queue.current and session.queue.current.progress.done > 0, "progress")
    os.kill(session.queue.backend.pid, signal.SIGKILL)
    yield from wait_for(lambda: not session.busy, "the crash is noticed", 5)
    assert session.notices[0].level == "ERROR" and Path(session.notices[0].file).is_file()
    assert datablocks() == before
    yield from panel_image("crashed", SEQ)
    bpy.ops.gentg.dismiss(index=0)
    os.environ["GENTG_FAKE"] = os.environ.get("GENTG_FAKE_AFTER", os.environ.get("GENTG_FAKE", ""))
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.busy, "it starts again", 5)
    yield from wait_for(lambda: not session.busy, "it works again")
    assert len(armatures()) == 1
    report["backend"] = session.queue.backend.pid


def quit_running(report: dict) -> Steps:
    """Blender is quit while an estimate runs; the test looks for what is left."""
    session = gentg()
    yield from prepare(report)
    add_clip()
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.queue.current and session.queue.current.progress.done > 0, "progress")
    job = session.queue.current
    report["backend"], report["scratch"] = session.queue.backend.pid, str(job.scratch)
    report["child"] = int(Path(job.params["capture"] + ".child").read_text())
    assert alive(report["backend"]) and alive(report["child"])


def people(report: dict) -> Steps:
    """Find the people in the strip's clip, pick the second, estimate; the list goes when the extension does."""
    from driver import area

    session = gentg()
    listed = sys.modules[type(session).__module__.replace(".session", ".people")].listed
    yield from prepare(report)
    add_clip()
    settings = bpy.context.scene.gentg
    settings.person = "PICK"
    yield from press_button(SEQ, "gentg.find_people")
    yield from wait_for(lambda: session.busy, "the click starts a search", 5)
    yield from wait_for(lambda: not session.busy, "the list", 120)
    assert len(listed.people) == 2 and not armatures(), session.notices
    yield 0.5
    pick = yield from find_button(SEQ, "gentg.pick_person", at=0.5)
    assert pick is not None, "no button to pick the second person"
    yield from click(*pick)
    yield from wait_for(lambda: settings.picked_number == 2, "the click picks", 5)
    yield 0.5
    yield from panel_image("people", SEQ)
    report["icons"] = [p.icon for p in listed.people]
    report["ticks"] = asdict(session.ticks)
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area(SEQ)):
        bpy.ops.gentg.estimate_pose()
    yield from wait_for(lambda: not session.busy, "the result", 240)
    report["names"] = sorted(o.name for o in armatures())
    report["folder"] = str(listed.folder)


def gallery(report: dict) -> Steps:
    """Images for the documentation, with the real backend: queue, result over the clip, captures, retarget."""
    from driver import area

    session = gentg()
    unfold("GENTG_PT_retarget", "GENTG_PT_bone_map")
    yield from prepare(report)
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, 240
    strip = add_clip(start=1)
    scene.render.resolution_x, scene.render.resolution_y = (
        strip.elements[0].orig_width,
        strip.elements[0].orig_height,
    )
    scene.sequence_editor.strips.new_movie("second_take.mp4", CLIP, 3, 120).select = True
    yield from panel_image("ready", SEQ)
    scene.gentg.correction = 1.0  # for a before and after
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(
        lambda: session.queue.current and session.queue.current.progress.done > 10, "progress"
    )
    yield from panel_image("queue", SEQ)
    yield from wait_for(lambda: not session.busy, "the results", 240)
    assert len(armatures()) == 2, session.notices
    yield from panel_image("done", SEQ)
    while session.notices:
        bpy.ops.gentg.dismiss(index=0)
    ob = bpy.data.objects["beam_walk"]
    bpy.context.view_layer.objects.active = ob
    ob.select_set(True)
    bpy.data.collections["second_take"].hide_viewport = True
    scene.camera = bpy.data.objects["beam_walk camera"]
    scene.gentg_retarget.target = bpy.data.objects["second_take"]
    bpy.ops.gentg.recognise()
    scene.frame_set(50)
    yield from only_3d_view()
    window = bpy.context.window_manager.windows[0]
    with bpy.context.temp_override(window=window, area=area("VIEW_3D"), region=region("VIEW_3D", "WINDOW")):
        bpy.ops.view3d.view_camera()
        bpy.ops.view3d.view_center_camera()
        bpy.ops.object.mode_set(mode="POSE")  # which shows the bones' colors
        bpy.ops.pose.select_all(action="DESELECT")
    yield 1.0
    r = region("VIEW_3D")
    yield from click(r.x + 60, r.y + r.height - 14)  # folds Estimate Pose
    yield 0.5
    yield from screenshot("panel-result")


if __name__ == "__main__":
    play(
        {
            "estimate": estimate,
            "long": long,
            "saved": saved,
            "cancel": cancel,
            "quit": quit_running,
            "people": people,
            "gallery": gallery,
        }[NAME],
        REPORT,
    )
