"""Runs inside Blender's GUI: draws the Clean-up and Retarget panels unfolded, presses steps and takes them back.

blender --factory-startup --enable-event-simulate --python cleanup_panel.py -- REPORT.json
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import bpy

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT),
    *(str(ROOT / "tests" / n) for n in ("blender", "blender_retarget", "retarget", "gui")),
]
sys.dont_write_bytecode = True

from driver import panel_image  # noqa: E402

import gentg_blender  # noqa: E402

bpy.context.preferences.view.show_splash = False
report: dict = {"done": False}


def steps() -> Iterator[float]:
    from case_retarget import build, make_rig, source

    from gentg_blender.ui import panels, panels_cleanup, panels_result, panels_retarget

    for cls in (*panels_cleanup.CLASSES, panels_retarget.GENTG_PT_retarget):
        cls.bl_options = set()  # unfolded
    for cls in (panels.GENTG_PT_view3d, panels_result.GENTG_PT_results):
        cls.bl_options = {"DEFAULT_CLOSED"}
    gentg_blender.register()
    walk, _ = source(2.0)
    target = build(make_rig("mixamo", 1.5, 0.5, 3)[0])
    target.location.x = 1.0
    settings = bpy.context.scene.gentg_retarget
    settings.target, settings.match = target, "REACH"
    bpy.context.view_layer.objects.active = walk
    window = bpy.context.window_manager.windows[0]
    view = next(a for a in window.screen.areas if a.type == "VIEW_3D")
    view.spaces.active.show_region_ui = True
    yield 1.0
    next(r for r in view.regions if r.type == "UI").active_panel_category = "GenTG"
    yield 1.0

    def playing() -> str:
        return bpy.data.objects["walk"].animation_data.action.name

    drawn = []
    original = panels_cleanup.GENTG_PT_contacts.draw
    panels_cleanup.GENTG_PT_contacts.draw = lambda self, context: (
        original(self, context),
        drawn.append(playing()),
    )
    with bpy.context.temp_override(window=window, area=view):
        bpy.ops.ed.undo_push(message="before")
        bpy.context.scene.gentg_cleanup.hands = 0.3
        # the third argument is what a button does: one undo step for the operator
        bpy.ops.gentg.smooth("INVOKE_DEFAULT", True)
        report["smoothed"] = playing()
        bpy.ops.gentg.in_place("INVOKE_DEFAULT", True)
        report["in_place"] = playing()
    view.tag_redraw()
    yield 1.0
    yield from panel_image("cleanup", "VIEW_3D")
    with bpy.context.temp_override(window=window, area=view):
        bpy.ops.ed.undo()
        report["undone"] = playing()
        bpy.ops.ed.undo()
        report["undone_twice"] = playing()
    yield 0.5
    report["drawn"] = drawn
    report["done"] = True


def tick() -> float | None:
    try:
        return next(running)
    except StopIteration:
        pass
    except Exception:
        report["error"] = traceback.format_exc()
    Path(arguments[0]).write_text(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)


arguments = sys.argv[sys.argv.index("--") + 1 :]
running = steps()
bpy.app.timers.register(tick, first_interval=2.0)
