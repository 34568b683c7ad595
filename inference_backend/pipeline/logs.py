"""The log file of a run, and keeping libraries' chatter out of stdout and the terminal."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import sys
import time
from pathlib import Path

from gentg_blender.core.contract import os_error

from .folders import cache_folder

KEPT_LOGS = 20
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_log(name: str) -> Path:
    """Open a fresh log file for everything that logs in this process; older ones beyond the last 20 go.

    Raises GentgError if the folder cannot be written to.
    """
    folder = cache_folder() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.log"))[: -KEPT_LOGS + 1]:
            old.unlink(missing_ok=True)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}.log"
        handler = logging.FileHandler(path, encoding="utf-8", errors="replace")
    except OSError as error:
        raise os_error(error, folder) from error
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.getLogger(__name__).info("%s", " ".join(sys.argv))
    return path


def keep_stdout() -> io.BufferedWriter:
    """Take stdout away from everybody else: returns it as a binary stream; file descriptor 1 becomes 2.

    C libraries write to the descriptor, so replacing `sys.stdout` alone is not enough.
    """
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def keep_terminal(log: Path) -> tuple[io.TextIOWrapper, io.TextIOWrapper]:
    """Take stdout and stderr away from libraries: returns both as text streams; whatever else is written goes to `log`.

    MediaPipe and FFmpeg print from C++, which would tear the progress bars.
    """
    streams = []
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        own = os.fdopen(os.dup(number), "w", encoding=stream.encoding, errors="replace", buffering=1)
        streams.append(own)
    with open(log, "ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    faulthandler.enable(streams[1])  # a crash in C must not vanish into the log
    return streams[0], streams[1]
