"""Retargeting to a rig that CloudRig itself generated, in the .blend file that $GENTG_CLOUDRIG names.

Neither the add-on (projects.blender.org, Mets/CloudRig) nor its rigs are part of this repository. The file is made
with the add-on on: Add > Armature > CloudRig Metarigs > Cloud Human, Generate CloudRig, save; 2.1.20 was tried.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "blender")]
from environments import every_environment, run  # noqa: E402

HERE = Path(__file__).resolve().parent


@every_environment
def test_real_cloudrig(environment):
    if not (file := os.environ.get("GENTG_CLOUDRIG")):
        pytest.skip("no CloudRig: set GENTG_CLOUDRIG to a .blend with a rig that it generated")
    runner = HERE.parent / "blender" / "run_in_blender.py"
    done = run(environment.script(runner, "../blender_retarget/real_cloudrig.py"), GENTG_CLOUDRIG=file)
    assert done.returncode == 0 and "FAIL " not in done.stdout, done.stdout[-6000:] + done.stderr[-3000:]
