"""Runs the case files of this folder and of blender_retarget inside every Blender at hand."""

from pathlib import Path

import pytest
from environments import every_environment, run

HERE = Path(__file__).resolve().parent
CASES = sorted(p.name for p in HERE.glob("case_*.py"))
CASES += sorted(f"../blender_retarget/{p.name}" for p in (HERE.parent / "blender_retarget").glob("case_*.py"))


@every_environment
@pytest.mark.parametrize("case", CASES)
def test_case(environment, case):
    done = run(environment.script(HERE / "run_in_blender.py", case))
    said = done.stdout[-6000:] + done.stderr[-3000:]
    assert done.returncode == 0, said
    lines = done.stdout.splitlines()
    assert any(line.startswith("PASS ") for line in lines) and not any(
        line.startswith("FAIL ") for line in lines
    ), said
