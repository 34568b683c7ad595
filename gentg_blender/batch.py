"""Headless entry, run as a script by Blender or by a Python that has the bpy module.

    blender -b --python-exit-code 1 --python gentg_blender/batch.py -- CLIP... --out DIR --fbx
    python gentg_blender/batch.py -- --capture walk.npz --fbx walk.fbx

`-- --help` lists the arguments; they are also those of `blender --command gentg`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def run_script() -> None:
    """Put the package on the path, run, and end the process with the exit code."""
    folder = Path(__file__).resolve().parent
    # Python puts the script's own folder first, where `core` or `job` would shadow others' modules
    sys.path[:] = [str(folder.parent), *(p for p in sys.path if Path(p or ".").resolve() != folder)]
    from gentg_blender.cli import main

    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    try:
        code = main(arguments, prog="gentg_blender/batch.py --")
    except SystemExit as end:  # argparse: --help or wrong arguments
        code = end.code if isinstance(end.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    _end(code)


def _end(code: int) -> None:
    """Leave with this exit code. The bpy module of 4.5 hangs in a normal exit when an add-on left a
    class registered, so that its process is ended at once, without the temporary folder it made."""
    import bpy

    if bpy.app.binary_path:
        sys.exit(code)
    folder = Path(bpy.app.tempdir)
    if folder.name.startswith("blender_"):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(code)


if __name__ == "__main__":
    run_script()
