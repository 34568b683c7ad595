"""A stand-in for the backend that speaks its protocol: the clip's name says what happens to it.

good*, sequences: the capture named by GENTG_TEST_CAPTURE is "estimated"; nobody*: no person; crash*: the process dies;
slow*: works until it is cancelled. Started through a launcher, see test_batch.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path


def send(kind, **values):
    print(json.dumps({"type": kind, "protocol": 1, **values}), flush=True)


def main():
    send("hello", version="0", pid=os.getpid(), log="", commands=["estimate", "people"])
    for line in sys.stdin:
        msg = json.loads(line)
        if msg["type"] == "shutdown":
            return
        if msg["type"] != "request":
            continue
        params = msg["params"]
        name = Path(params["clip"]).name
        with open(os.environ["GENTG_TEST_LOG"], "a", encoding="utf-8") as log:
            log.write(json.dumps({"pid": os.getpid(), "command": msg["command"], **params}) + "\n")
        send("progress", id=msg["id"], stage="detect", done=1, total=2, fraction=0.5, eta=1.0)
        if msg["command"] == "people":
            people = [
                {"number": n, "share": 1.0, "seed": {"time": 0.5 * n, "box": [n, 0, n + 9, 20]}}
                for n in (1, 2)
            ]
            send("result", id=msg["id"], result={"people": people, "sampled": 3, "image_size": [64, 48]})
        elif name.startswith("good") or "sequence_fps" in params:
            shutil.copy(os.environ["GENTG_TEST_CAPTURE"], params["capture"])
            send(
                "result",
                id=msg["id"],
                result={"warnings": ["made up"], "outputs": {"capture": params["capture"]}},
            )
        elif name.startswith("crash"):
            os._exit(7)
        elif name.startswith("slow"):
            time.sleep(600)
        else:
            send("error", id=msg["id"], code="no_person", message="No person was found.", file=params["clip"],
                 hint="Film one.", log="")  # fmt: skip


main()
