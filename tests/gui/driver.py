"""Runs inside Blender's GUI: plays a scenario by simulated mouse and keyboard events, a step at a time.

A scenario is a generator that yields the seconds to wait before it goes on; Blender draws and handles events
meanwhile. Buttons are found as a person finds them, by looking: the mouse is moved down a region, and Ctrl-C
over a button makes Blender copy the button's operator. Start Blender with --enable-event-simulate.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path

import bpy

Steps = Generator[float, None, None]
STEP = 0.04


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def area(kind: str) -> bpy.types.Area:
    return next(a for a in window().screen.areas if a.type == kind)


def region(kind: str, what: str = "UI") -> bpy.types.Region:
    return next(r for r in area(kind).regions if r.type == what)


def mouse(x: int, y: int, kind: str = "MOUSEMOVE", value: str = "NOTHING") -> None:
    window().event_simulate(kind, value, x=int(x), y=int(y))


def click(x: int, y: int) -> Steps:
    mouse(x - 3, y)
    yield STEP
    mouse(x, y)
    yield STEP
    mouse(x, y, "LEFTMOUSE", "PRESS")
    yield STEP
    mouse(x, y, "LEFTMOUSE", "RELEASE")
    clicked.append(time.monotonic())
    yield 4 * STEP


clicked: list[float] = []  # when each click ended, which is when a button acts


def key(name: str, x: int, y: int, **modifiers: bool) -> Steps:
    window().event_simulate(name, "PRESS", x=int(x), y=int(y), **modifiers)
    yield STEP
    window().event_simulate(name, "RELEASE", x=int(x), y=int(y), **modifiers)
    yield STEP


def find_button(
    kind: str, operator: str, *, at: float = 0.5, start: int = 0
) -> Generator[float, None, tuple[int, int] | None]:
    """Window coordinates of the first button of `operator` from the top of the sidebar of an editor, or None."""
    r = region(kind)
    x = int(r.x + at * r.width)
    for y in range(r.y + r.height - 6 - start, r.y + 2, -9):
        bpy.context.window_manager.clipboard = ""
        mouse(x - 2, y)
        yield 0.02
        mouse(x, y)
        yield 0.03
        window().event_simulate("C", "PRESS", ctrl=True, x=x, y=y)
        window().event_simulate("C", "RELEASE", ctrl=True, x=x, y=y)
        yield 0.03
        if bpy.context.window_manager.clipboard.startswith(f"bpy.ops.{operator}("):
            return x, y
    return None


def press_button(kind: str, operator: str, *, at: float = 0.5) -> Steps:
    """Click a button of the sidebar. Fails if it is not there."""
    found = yield from find_button(kind, operator, at=at)
    assert found is not None, f"no button of {operator} in the sidebar of {kind}"
    yield from click(*found)


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> Steps:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        yield 0.05


def show_sidebar(kind: str, category: str = "GenTG") -> Steps:
    area(kind).spaces[0].show_region_ui = True
    yield 1.5  # an undrawn region has no categories
    region(kind).active_panel_category = category
    area(kind).tag_redraw()
    yield 0.5


def widen_sidebar(kind: str, by: int) -> Steps:
    """Drag the sidebar's left edge, as people do to read it."""
    r = region(kind)
    x, y = r.x, r.y + r.height // 3
    mouse(x - 1, y)
    yield 0.1
    mouse(x, y)
    yield 0.2
    mouse(x, y, "LEFTMOUSE", "PRESS")
    yield 0.1
    for i in range(1, 6):
        mouse(x - by * i // 5, y)
        yield 0.05
    mouse(x - by, y, "LEFTMOUSE", "RELEASE")
    yield 0.4


def screenshot(name: str) -> Steps:
    """The whole screen as NAME.png. Blender's own screenshot is black with software OpenGL; X's is not."""
    folder = os.environ.get("GENTG_SHOTS")
    yield 0.4
    if folder:
        file = str(Path(folder, f"{name}.png"))
        subprocess.run(["import", "-window", "root", file], check=True)
        few = ["+dither", "-colors", "256", "-strip"]  # a quarter of the size
        subprocess.run(["convert", file, *few, f"PNG8:{file}"], check=True)
        yield 0.1


def panel_image(name: str, kind: str) -> Steps:
    """The sidebar of an editor as panel-NAME.png, down to its last panel."""
    overlay = getattr(area(kind).spaces[0], "overlay", None)  # the 3D View's floor shines through below it
    if overlay is not None:
        overlay.show_overlays = False
    yield from part_image(f"panel-{name}", region(kind), empty_below=True)
    if overlay is not None:
        overlay.show_overlays = True


def part_image(
    name: str, part: bpy.types.Region | bpy.types.Area, *, of: bpy.types.Window | None = None, skip: int = 0,
    empty_below: bool = False,
) -> Steps:  # fmt: skip
    """A part of a window of Blender's as NAME.png, without its first `skip` rows and what is `empty_below` it."""
    folder, inside = os.environ.get("GENTG_SHOTS"), of or window()
    if not folder:
        return
    mouse(5, 5)  # away from the panels, where it would light up a button or raise a tooltip
    for _ in range(3):  # panels find their heights while they are drawn
        part.tag_redraw()
        yield 0.4
    file, width, height = str(Path(folder, f"{name}.png")), part.width, part.height - skip
    top = window().height - inside.y - part.y - part.height + skip  # the first window fills X's screen
    grab = ["-crop", f"{width}x{height}+{inside.x + part.x}+{top}", "+repage", "-strip"]
    subprocess.run(["import", "-window", "root", *grab, file], check=True)
    if empty_below:  # but for the tabs on the right and the editor's rounded edge
        part_of = f"{width // 2}x{height - 12}+6+0"
        look = ["-crop", part_of, "+repage", "-fuzz", "3%", "-format", "%@", "info:"]
        found = subprocess.run(["convert", file, *look], check=True, capture_output=True)
        _, used, _, y = (int(n) for n in re.split(r"[x+]", found.stdout.decode()))
        crop = f"{width}x{min(height, y + used + 8)}+0+0"
        subprocess.run(["convert", file, "-crop", crop, "+repage", "-strip", file], check=True)
    yield 0.1


def unfold(*panels: str) -> None:
    """Show panels unfolded that are drawn folded at first; parents before children."""
    for name in panels:
        panel = getattr(bpy.types, name)
        bpy.utils.unregister_class(panel)
        panel.bl_options = set()
        bpy.utils.register_class(panel)


def only_3d_view() -> Steps:
    """Close the sequencer and the timeline, so that the 3D View's sidebar has room."""
    for kind in ("SEQUENCE_EDITOR", "DOPESHEET_EDITOR"):
        with bpy.context.temp_override(window=window(), area=area(kind)):
            bpy.ops.screen.area_close()
        yield 0.5


class Heartbeat:
    """The longest pause between two calls of a 5 ms timer: what a person feels as a freeze."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, None
        bpy.app.timers.register(self._beat)

    def _beat(self) -> float | None:
        now = time.perf_counter()
        if self._last is not None:
            self.longest = max(self.longest, now - self._last)
        self._last = now
        return 0.005 if self._last is not None else None

    def reset(self) -> float:
        longest, self.longest, self._last = self.longest, 0.0, time.perf_counter()
        return longest


def play(scenario: Callable[[dict], Steps], report_path: str) -> None:
    """Run the scenario, write {"ok", "error", ...} as JSON, and end Blender."""
    report: dict = {"ok": False}
    steps = scenario(report)

    def advance() -> float | None:
        try:
            return next(steps)
        except StopIteration:
            report["ok"] = True
        except BaseException:
            report["error"] = traceback.format_exc()
            print(report["error"], file=sys.stderr, flush=True)
            try:
                for _ in screenshot("failed"):
                    pass
            except Exception as error:
                print(error, file=sys.stderr)
        Path(report_path).write_text(json.dumps(report), encoding="utf-8")
        bpy.ops.wm.quit_blender()
        return None

    bpy.app.timers.register(advance, first_interval=1.5)
