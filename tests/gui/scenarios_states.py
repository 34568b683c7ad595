"""The states that a panel says something in: no strip, no clip, a missing file, another version, what was found."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from driver import (  # noqa: E402
    Steps,
    click,
    find_button,
    only_3d_view,
    panel_image,
    part_image,
    play,
    press_button,
    region,
    wait_for,
)
from scenarios import SEQ, add_clip, armatures, gentg, prepare  # noqa: E402
from scenarios_setup import backend  # noqa: E402

PREFERENCES = 226  # rows above our preferences: what Blender tells of every extension, its path among it
NAME, REPORT, CLIP = sys.argv[sys.argv.index("--") + 1 :][:3]


def without(report: dict) -> Steps:
    """No backend: the panel and the preferences say how to get one; a backend of another version is told."""
    b = backend()
    yield from prepare(report)
    add_clip()
    assert "not set up yet" in b.problem() and not bpy.ops.gentg.estimate_pose.poll()
    bpy.ops.gentg.open_preferences()
    yield 1.5
    (preferences,) = (
        (w, a) for w in bpy.context.window_manager.windows for a in w.screen.areas if a.type == "PREFERENCES"
    )
    inside = next(r for r in preferences[1].regions if r.type == "WINDOW")
    yield from part_image("panel-preferences", inside, of=preferences[0], skip=PREFERENCES, empty_below=True)
    with bpy.context.temp_override(window=preferences[0]):
        bpy.ops.wm.window_close()
    yield 0.5

    bpy.context.preferences.system.use_online_access = True
    environment = b.environment()
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    marker = sys.modules[type(environment).__module__].Marker("", "", "an older lock", complete=True)
    environment._write(marker)
    assert "another version" in b.problem() and not bpy.ops.gentg.estimate_pose.poll()
    yield from panel_image("other-version", SEQ)
    assert (yield from find_button(SEQ, "gentg.setup_backend")) is not None
    environment.python.unlink()
    assert "Repair" in b.problem()
    environment.remove()
    assert not environment.folder.exists()


def messages(report: dict) -> Steps:
    """No strip, a strip of something else, a clip that is gone; then a result with its check and its contacts."""
    session = gentg()
    yield from prepare(report)
    scene = bpy.context.scene
    yield from panel_image("no-scene", SEQ)
    bpy.context.window_manager.windows[0].workspace.sequencer_scene = scene
    editor = scene.sequence_editor_create()
    yield from panel_image("no-strip", SEQ)
    color = editor.strips.new_effect("color", "COLOR", 1, 1, length=50)
    editor.active_strip = color
    yield from panel_image("not-a-movie", SEQ)
    editor.strips.remove(color)

    clip = Path.home() / "clips" / "walk.mp4"
    clip.parent.mkdir()
    shutil.copy(CLIP, clip)
    strip = add_clip()
    strip.filepath = str(clip)
    clip.unlink()
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.notices, "the message", 5)
    yield 1.0
    assert "not there any more" in session.notices[0].lines[0] and not session.busy
    yield from panel_image("missing-file", SEQ)
    shutil.copy(CLIP, clip)
    strip.name = "walk"
    yield from press_button(SEQ, "gentg.estimate_pose")
    yield from wait_for(lambda: session.busy, "it starts when the clip is back", 5)
    yield from wait_for(lambda: not session.busy, "the result", 60)
    assert len(armatures()) == 1 and all("not started" not in n.title for n in session.notices)

    (ob,) = armatures()
    bpy.context.view_layer.objects.active = ob
    assert "blurred" in ob["gentg_filming_check"] and ob.gentg_show_confidence
    while session.notices:
        bpy.ops.gentg.dismiss(index=0)
    yield from only_3d_view()
    r = region("VIEW_3D")
    yield from click(r.x + 60, r.y + r.height - 14)  # folds Estimate Pose
    yield 0.5
    yield from panel_image("captures", "VIEW_3D")


if __name__ == "__main__":
    play({"without": without, "messages": messages}[NAME], REPORT)
