"""The Clean-up panel in the real GUI: it draws, its buttons take the panel's values, each step is one undo step.

Needs GENTG_BLENDER and xvfb-run; skips loudly without them. GENTG_SHOTS=FOLDER keeps an image.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

BLENDER = os.environ.get("GENTG_BLENDER", "")
pytestmark = [
    pytest.mark.skipif(not BLENDER or not Path(BLENDER).is_file(), reason="GENTG_BLENDER names no Blender"),
    pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="no xvfb-run"),
]


def test_panels_draw_and_steps_are_undone_one_by_one(tmp_path):
    script = Path(__file__).resolve().parent / "cleanup_panel.py"
    command = ["xvfb-run", "-a", "-s", "-screen 0 1280x1800x24", BLENDER, "--factory-startup", "--enable-event-simulate", "--window-geometry",
               "0", "0", "1280", "1800", "--python", str(script), "--", str(tmp_path / "report.json")]  # fmt: skip
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "profile"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert (tmp_path / "report.json").is_file(), said
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["done"], report.get("error", said)
    assert "Traceback" not in said and "rna_uiItem" not in said, said
    assert report["smoothed"] == "walk smoothed" and report["in_place"] == "walk smoothed in place"
    assert (report["undone"], report["undone_twice"]) == ("walk smoothed", "walk")
    assert "walk smoothed in place" in report["drawn"], "the panel was not drawn"
