"""What a person sees while a command works: progress, messages, errors with the log's path; and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gentg_blender.core.contract import GentgError
from gentg_blender.core.progress import STAGE_TEXT, Progress
from inference_backend.pipeline.children import end_children
from inference_backend.pipeline.errors import as_gentg_error
from inference_backend.pipeline.logs import keep_terminal, start_log

from .exits import CODES

_LINE_EVERY = 10.0  # seconds between two progress lines of one stage where no bar can be drawn
_STEPS = 1000  # resolution of the bar


class Terminal:
    """stdout for results, stderr for progress and errors; everything else goes to the log."""

    def __init__(self, out: TextIO, err: TextIO, log: Path, quiet: bool = False):
        self.out, self.err, self.log, self.quiet = out, err, log, quiet
        self.cancelled = threading.Event()
        self.signal: int | None = None

    @contextmanager
    def progress(self, title: str) -> Iterator[_Bar | _Lines | None]:
        """A listener for `Reporter`, drawn as a bar on a terminal and as lines elsewhere."""
        if self.quiet:
            yield None
            return
        view = _Bar(self.err, title) if _draws(self.err) else _Lines(self.err, title)
        try:
            yield view
        finally:
            view.close()

    def say(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.quiet:
            print(text, file=self.err, flush=True)

    def error(self, error: GentgError, title: str = "") -> None:
        """What went wrong, with which file, what to do, and where the log is."""
        print(f"{title + ': ' if title else ''}{error}", file=self.err)
        if error.code not in ("cancelled", "bad_request"):
            print(f"Log: {self.log}", file=self.err)
        self.err.flush()


def with_terminal(name: str, work, quiet: bool = False) -> int:
    """Run `work(terminal) -> exit code` with libraries silenced, a log, and errors told instead of thrown."""
    try:
        log = start_log(name)
    except GentgError as error:
        print(error, "\nSet GENTG_CACHE to a folder that you may write to.")
        return CODES[error.code]
    terminal = Terminal(*keep_terminal(log), log, quiet)
    with _signals(terminal):
        try:
            code = work(terminal)
        except (KeyboardInterrupt, Exception) as problem:
            error = as_gentg_error(problem)
            terminal.error(error)
            code = CODES[error.code]
    terminal.out.flush()
    if code == 130 and terminal.signal == signal.SIGTERM:
        return 143
    return code


@contextmanager
def _signals(terminal: Terminal) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the work once, cleanly; a second one ends the process at once."""

    def handle(number: int, _frame: object) -> None:
        if terminal.cancelled.is_set():
            end_children()
            os._exit(128 + number)
        terminal.signal = number
        # Both: an exception raised inside a callback of C code is lost, the flag is not.
        terminal.cancelled.set()
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, handle) for n in numbers}
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def _draws(stream: TextIO) -> bool:
    """Whether a bar can be drawn there: a terminal that knows its width."""
    try:
        return stream.isatty() and os.get_terminal_size(stream.fileno()).columns >= 40
    except OSError:
        return False


class _Bar:
    """One tqdm bar for the whole job: share done, stage, frames, time left."""

    def __init__(self, stream: TextIO, title: str):
        from tqdm import tqdm

        self._progress = Progress()
        self._bar = tqdm(
            total=_STEPS,
            file=stream,
            desc=title,
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar:24}| {postfix}",
        )

    def __call__(self, stage: str, done: int, total: int | None, fraction: float, eta: float | None) -> None:
        self._progress.update(
            {"stage": stage, "done": done, "total": total, "fraction": fraction, "eta": eta}
        )
        self._bar.n = round(self._progress.fraction * _STEPS)
        self._bar.set_postfix_str(self._progress.text, refresh=True)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """Plain lines for logs and pipes: one when a stage begins and one every ten seconds."""

    def __init__(self, stream: TextIO, title: str):
        self._stream, self._title, self._progress = stream, title, Progress()
        self._stage, self._told = "", 0.0

    def __call__(self, stage: str, done: int, total: int | None, fraction: float, eta: float | None) -> None:
        self._progress.update(
            {"stage": stage, "done": done, "total": total, "fraction": fraction, "eta": eta}
        )
        now = time.monotonic()
        if stage != self._stage:
            print(f"{self._title}: {STAGE_TEXT[stage]}", file=self._stream, flush=True)
        elif now - self._told >= _LINE_EVERY:
            print(f"{self._title}: {self._progress.text}", file=self._stream, flush=True)
        else:
            return
        self._stage, self._told = stage, now

    def close(self) -> None:
        pass
