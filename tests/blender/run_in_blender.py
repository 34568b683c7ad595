"""Runs case files inside Blender or the bpy module, which have no pytest.

    blender -b --factory-startup --python-exit-code 1 --python tests/blender/run_in_blender.py -- case_armature.py
    python tests/blender/run_in_blender.py case_armature.py        # Python that has bpy

Every function test_* of a case file is called with an empty scene; one with a parameter `tmp`
gets a fresh folder. DeprecationWarnings are errors. Exit code 1 if anything failed.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main(arguments: list[str]) -> int:
    import bpy

    sys.path[:0] = [str(ROOT), str(HERE)]
    sys.dont_write_bytecode = True
    warnings.simplefilter("error", DeprecationWarning)
    print(f"Blender {bpy.app.version_string}, Python {sys.version.split()[0]}", flush=True)
    failed = total = 0
    for name in arguments:
        file = HERE / name
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and inspect.isfunction(f)]
        for label, test in tests:
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            total += 1
            try:
                with tempfile.TemporaryDirectory() as folder:
                    test(**({"tmp": Path(folder)} if "tmp" in inspect.signature(test).parameters else {}))
            except Exception:
                failed += 1
                print(f"FAIL {file.stem}.{label}\n{traceback.format_exc()}", flush=True)
            else:
                print(f"PASS {file.stem}.{label}", flush=True)
    print(f"{total - failed} of {total} passed", flush=True)
    return 1 if failed or not total else 0


if __name__ == "__main__":
    code = main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # bpy 4.5 hangs at exit when an add-on left classes registered
