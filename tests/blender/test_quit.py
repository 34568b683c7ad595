"""Blender ends in the middle of an estimate: the backend ends with it, and what it started."""

import signal
import time
from pathlib import Path

import pytest
from environments import ROOT, every_environment, run

BEGIN = f"""
import sys, os
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "blender")!r}]
import bpy
from pathlib import Path
from case_ui import add_strip, fake_backend
from case_strip_states import begin_run
add_strip("walk", 1)
fake = fake_backend(Path(sys.argv[-2]), "frames=2000,pause=0.02,child")
session = fake.__enter__()
print("PIDS", *begin_run(session), flush=True)
"""
ENDS = {
    "the script ends": "",
    "sys.exit": "sys.exit(3)",
    "an error": "raise ValueError('on purpose')",
    "quit": "bpy.ops.wm.quit_blender()",
}


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 3
    stat = Path(f"/proc/{pid}/stat")
    while time.monotonic() < deadline:
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@every_environment
@pytest.mark.parametrize("how", ENDS)
def test_nothing_outlives_blender(environment, how, tmp_path):
    if how == "quit" and not environment.is_blender:
        pytest.skip("the bpy module has no program to quit")
    script = tmp_path / "begin.py"
    script.write_text(BEGIN + ENDS[how])
    done = run(environment.script(script, tmp_path, "x"))
    assert done.returncode != -signal.SIGSEGV, done.stderr[-2000:]
    line = next((x for x in done.stdout.splitlines() if x.startswith("PIDS ")), None)
    assert line is not None, done.stdout[-2000:] + done.stderr[-2000:]
    _, backend, child, scratch = line.split(" ", 3)
    assert gone(int(backend)) and gone(int(child)), "a process outlived Blender"
    assert not Path(scratch).exists()
