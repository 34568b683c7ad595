"""A scripted stand-in for `python -m inference_backend serve`, for tests of Blender's side only.

It speaks the protocol of docs/contract.md. What it does with a request is told by `params["fake"]`, or by
the environment variable GENTG_FAKE for clients that know nothing of it: a comma-separated list of

    frames=N      report N steps of `detect` (default 5)
    pause=S       seconds between the steps (default 0.01)
    child         start a child process that sleeps, its id in <capture>.child
    noise         print to stdout what is no message
    error=CODE    answer with that error
    crash         die like a segmentation fault after the steps
    hang          never answer, and ignore `cancel`
    old           speak another version of the protocol
    silent        send no hello
    capture=PATH  copy that file to the place asked for

The command `people` finds two, with an image each in `params["folder"]`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path


def say(kind: str, **values) -> None:
    protocol = 0 if "old" in options(os.environ.get("GENTG_FAKE", "")) else 1
    sys.stdout.buffer.write(
        (json.dumps({"type": kind, "protocol": protocol, **values}, ensure_ascii=False) + "\n").encode()
    )
    sys.stdout.buffer.flush()


def options(text: str) -> dict[str, str]:
    return dict((part.split("=", 1) + [""])[:2] for part in text.split(",") if part)


def answer(msg: dict) -> None:
    params, key = msg.get("params", {}), msg["id"]
    script = options(params.get("fake") or os.environ.get("GENTG_FAKE", ""))
    if msg["command"] == "doctor":
        say("result", id=key, result={"ok": True, "checks": []})
        return
    capture = params.get("capture")
    if "child" in script:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(capture + ".child").write_text(str(child.pid))
    if "noise" in script:
        print("a library prints: ünïcode", flush=True)
    frames = int(script.get("frames", 5))
    for i in range(frames):
        left = (frames - i - 1) * float(script.get("pause", 0.01))
        say(
            "progress",
            id=key,
            stage="detect",
            done=i + 1,
            total=frames,
            fraction=0.9 * (i + 1) / frames,
            eta=left,
        )
        time.sleep(float(script.get("pause", 0.01)))
    if "crash" in script:
        print("Fatal error: the fake has crashed as told", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    while "hang" in script:
        time.sleep(1)
    if "error" in script:
        say("error", id=key, code=script["error"], message=f"told to fail: {script['error']}", file=params.get("clip"),
            hint="a hint", log=None)  # fmt: skip
        return
    if msg["command"] == "people":
        say("result", id=key, result={"people": [person(n, Path(params["folder"])) for n in (1, 2)], "sampled": frames,
                                      "image_size": [640, 360]})  # fmt: skip
        return
    if "capture" in script:
        Path(capture).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(script["capture"], capture)
    say("log", level="warning", text="a warning of the fake")
    say("result", id=key, result={"outputs": {"capture": capture}, "frames": frames, "seen": frames, "duration": 1.0,
                                  "fps": 30.0, "warnings": ["a warning of the fake"], "timings": {}, "cached": [],
                                  "echo": params})  # fmt: skip


def person(number: int, folder: Path) -> dict:
    """One of the list, with an image of one colour: a PNG of 8 x 8 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    image = folder / f"person{number}.png"
    rows = (b"\0" + bytes([250 // number, 100, 50]) * 8) * 8
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
                        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))  # fmt: skip
    box = [100.0 * number, 20.0, 100.0 * number + 80.0, 320.0]
    return {
        "number": number,
        "share": 1.0 / number,
        "box": box,
        "seed": {"time": 0.5, "box": box},
        "thumbnail": str(image),
    }


def main() -> None:
    script = options(os.environ.get("GENTG_FAKE", ""))
    if "silent" not in script:
        say("hello", version="0.0", pid=os.getpid(), log="", commands=["doctor", "estimate"],
            environment={k: os.environ.get(k) for k in ("OCIO", "PYTHONPATH", "PYTHONUTF8")})  # fmt: skip
    for line in sys.stdin.buffer:
        msg = json.loads(line)
        if msg["type"] == "request":
            answer(msg)
        elif msg["type"] == "shutdown":
            return


if __name__ == "__main__":
    main()
