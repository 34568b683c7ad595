"""Runs inside Blender's GUI: plays a scenario by simulated mouse and keyboard events, a step at a time.

A scenario is a generator that yields the seconds to wait before it goes on; Blender draws and handles events
meanwhile. Buttons are found as a person finds them, by looking: the mouse is moved down a region, and Ctrl-C
over a button makes Blender copy the button's operator. Start Blender with --enable-event-simulate.
"""

from __future__ import annotations

import json
import os
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
    """Blender's own screenshot is black with software OpenGL; X's is not."""
    folder = os.environ.get("GENTG_SHOTS")
    yield 0.4
    if folder:
        subprocess.run(["import", "-window", "root", str(Path(folder, f"{name}.png"))], check=True)
        yield 0.1


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
