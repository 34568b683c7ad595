"""The built zip is dropped into Blender's window, in a fresh profile."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from driver import Steps, area, key, play, region, wait_for  # noqa: E402

REPORT = sys.argv[sys.argv.index("--") + 1 :][1]
NAME = "bl_ext.user_default.gentg"


def drop(report: dict) -> Steps:
    """Blender's drop handler, its dialog, Enter; the panel is there and the preferences draw."""
    window = bpy.context.window_manager.windows[0]
    assert NAME not in bpy.context.preferences.addons
    r = region("VIEW_3D", "WINDOW")
    x, y = r.x + 300, r.y + 300
    window.event_simulate("MOUSEMOVE", "NOTHING", x=x, y=y)
    yield 0.3
    with bpy.context.temp_override(window=window, area=area("VIEW_3D"), region=r):
        bpy.ops.extensions.package_install_files("INVOKE_DEFAULT", url=os.environ["GENTG_ZIP"])
    yield 1.0
    yield from key("RET", x, y)
    yield from wait_for(lambda: NAME in bpy.context.preferences.addons, "the extension is switched on", 30)
    report["enabled"] = hasattr(bpy.types, "GENTG_PT_sequencer")
    assert bpy.ops.gentg.open_preferences() == {"FINISHED"}
    yield 1.0


play(drop, REPORT)
