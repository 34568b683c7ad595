"""A stand-in for "a Python 3.11" whose packages cost nothing: python fake_python.py LAUNCHER ARGUMENTS...

It answers what Set Up Backend asks of an interpreter: what it is, `-m venv`, `-m pip install`, and in the end
`-m inference_backend serve`, for which it starts the scripted backend. GENTG_FAKE_PIP names a file that gets a line
for every package whose installation has begun, and one when it is done; GENTG_FAKE_PAUSE is how long each takes.
"""

import os
import re
import shutil
import sys
import time
from pathlib import Path

SERVER = Path(__file__).resolve().parents[1] / "job" / "fake_server.py"


def note(text: str) -> None:
    with open(os.environ["GENTG_FAKE_PIP"], "a", encoding="utf-8") as log:
        log.write(text + "\n")


def main(launcher: str, arguments: list[str]) -> int:
    if "-c" in arguments:  # job.find_python asks for version, bits, venv, whether it is an environment
        print(f"[[3, 11, 9], 64, true, {str('venv' in Path(launcher).parts).lower()}]")
        return 0
    module = arguments[arguments.index("-m") + 1]
    if module == "venv":
        python = Path(arguments[-1], "bin", "python")
        python.parent.mkdir(parents=True)
        shutil.copy(launcher, python)
        return 0
    if module == "pip":
        requirement = Path(arguments[arguments.index("--requirement") + 1]).read_text(encoding="utf-8")
        name = re.search(r"^([A-Za-z0-9._-]+)\s*(\[.*\])?==", requirement, re.M)[1]
        note(f"begun {name}")
        print(f"Downloading {name}-1-py3-none-any.whl (12.3 MB)", flush=True)
        time.sleep(float(os.environ.get("GENTG_FAKE_PAUSE", "0")))
        note(f"done {name}")
        print(f"Successfully installed {name}")
        return 0
    if module == "inference_backend":
        os.execv(sys.executable, [sys.executable, str(SERVER)])
    print(f"the stand-in knows nothing of {module}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
