"""Retargeting to rigs that are not part of this repository, where the environment says where they lie.

$GENTG_CLOUDRIG: a .blend with a rig that CloudRig (projects.blender.org, Mets/CloudRig) generated. It is made with that
add-on on: Add > Armature > CloudRig Metarigs > Cloud Human, Generate CloudRig, save; 2.1.20 was tried.

$GENTG_MPFB: the folder src/mpfb/data/rigs/standard of MPFB (github.com/makehumancommunity/mpfb2), whose rigs have the
bones of MakeHuman, CMU's BVH files, the Unreal Mannequin and Mixamo on a human body.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "blender")]
from environments import every_environment, run  # noqa: E402

HERE = Path(__file__).resolve().parent


@every_environment
@pytest.mark.parametrize("name", ["cloudrig", "mpfb"])
def test_real_rigs(environment, name):
    variable = f"GENTG_{name.upper()}"
    if not (place := os.environ.get(variable)):
        pytest.skip(f"no rigs of {name}: set {variable}, as this file's head says")
    runner = HERE.parent / "blender" / "run_in_blender.py"
    done = run(environment.script(runner, f"../blender_retarget/real_{name}.py"), **{variable: place})
    assert done.returncode == 0 and "FAIL " not in done.stdout, done.stdout[-6000:] + done.stderr[-3000:]
