"""The backend as a server: JSON lines over stdio, one job at a time, models warm between jobs.

docs/contract.md describes the messages. Threads: the main thread works, one reader takes in lines so that a
cancellation is heard while a job runs.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gentg_blender.core.contract import GentgError, decode, encode, message
from inference_backend import __version__

from .children import end_children
from .errors import as_gentg_error
from .reporter import Reporter

GRACE = 5.0  # seconds that a job gets to stop once stdin has closed
_log = logging.getLogger(__name__)
Command = Callable[[dict[str, Any], Reporter], dict[str, Any]]


class Server:
    """Serves `commands` (name -> function of parameters and reporter) until shutdown or the end of `source`."""

    def __init__(
        self, source: io.BufferedReader, sink: io.BufferedWriter, log: Path, commands: dict[str, Command]
    ):
        self._source, self._sink, self._log_path, self._commands = source, sink, log, commands
        self._sink_lock = threading.Lock()
        self._jobs_lock = threading.Lock()  # over the next three
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancel: dict[str, threading.Event] = {}  # of every request that has not been answered
        self._running: str | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """Blocks until the end."""
        self._send(
            message(
                "hello",
                version=__version__,
                pid=os.getpid(),
                log=str(self._log_path),
                commands=sorted(self._commands),
            )
        )
        forward = _Forward(self)
        logging.getLogger("inference_backend").addHandler(forward)
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        try:
            while not self._stopping.is_set() and (request := self._waiting.get()) is not None:
                self._work(request)
        finally:
            logging.getLogger("inference_backend").removeHandler(forward)

    # ------------------------------------------------------------------ reader thread

    def _read(self) -> None:
        for line in self._source:
            if not line.strip():
                continue
            try:
                if self._take(decode(line)):
                    break
            except GentgError as error:
                self._fail(None, error)
        self._stop()

    def _take(self, msg: dict[str, Any]) -> bool:
        """Handle one message; True = shutdown."""
        kind = msg["type"]
        if kind == "shutdown":
            return True
        if not isinstance(msg.get("id"), str) or not msg["id"]:
            raise GentgError("bad_request", f"a {kind} message needs an id, a text")
        if kind == "request":
            with self._jobs_lock:
                if msg["id"] in self._cancel:
                    raise GentgError("bad_request", f"the id {msg['id']!r} is in use")
                self._cancel[msg["id"]] = threading.Event()
            self._waiting.put(msg)
        elif kind == "cancel":
            with self._jobs_lock:
                event = self._cancel.get(msg["id"])  # None: it has just been answered
                waits = event is not None and self._running != msg["id"]
                if waits:
                    del self._cancel[msg["id"]]
            if waits:
                self._fail(msg["id"], GentgError("cancelled", "Cancelled."))
            elif event is not None:
                event.set()
        else:
            raise GentgError("bad_request", f"unknown message type {kind!r}")
        return False

    def _stop(self) -> None:
        # The process must end even if the job does not listen, in a long call of a library for one.
        timer = threading.Timer(GRACE, self._end_now)
        timer.daemon = True
        timer.start()
        self._stopping.set()
        with self._jobs_lock:
            for event in self._cancel.values():
                event.set()
        self._waiting.put(None)

    def _end_now(self) -> None:
        _log.error("the job did not stop within %s s: ending the process", GRACE)
        end_children()
        os._exit(1)

    # ------------------------------------------------------------------ main thread

    def _work(self, request: dict[str, Any]) -> None:
        identity = request["id"]
        with self._jobs_lock:
            event = self._cancel.get(identity)
            if event is None:
                return  # cancelled while it waited, and answered
            self._running = identity

        def listen(stage: str, done: int, total: int | None, fraction: float, eta: float | None) -> None:
            self._send(
                message(
                    "progress",
                    id=identity,
                    stage=stage,
                    done=done,
                    total=total,
                    fraction=round(fraction, 4),
                    eta=None if eta is None else round(eta, 1),
                )
            )

        try:
            reporter = Reporter(listen, event)
            reporter.check()
            command = self._commands.get(request.get("command"))
            if command is None:
                raise GentgError("bad_request", f"unknown command {request.get('command')!r}")
            params = request.get("params", {})
            if not isinstance(params, dict):
                raise GentgError("bad_request", "params must be an object")
            answer = message("result", id=identity, result=command(params, reporter))
        except Exception as error:
            answer = None
            self._fail(identity, as_gentg_error(error))
        finally:
            with self._jobs_lock:
                self._running = None
                del self._cancel[identity]
        if answer is not None:
            self._send(answer)

    def _fail(self, identity: str | None, error: GentgError) -> None:
        self._send(
            message(
                "error",
                id=identity,
                code=error.code,
                message=error.message,
                file=error.file,
                hint=error.hint,
                log=str(self._log_path),
            )
        )

    def _send(self, msg: dict[str, Any]) -> None:
        with self._sink_lock:
            try:
                self._sink.write(encode(msg))
                self._sink.flush()
            except OSError as error:
                # Nobody listens any more; stdin closes with it, which ends the process.
                logging.getLogger("stdio").debug("not sent: %s", error)


class _Forward(logging.Handler):
    """Sends our own log records to Blender as `log` messages."""

    def __init__(self, server: Server):
        super().__init__(logging.INFO)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        level = {"CRITICAL": "error"}.get(record.levelname, record.levelname.lower())
        self._server._send(message("log", level=level, text=record.getMessage()))


def commands() -> dict[str, Command]:
    """The commands of docs/contract.md over one warm `Estimator`."""
    from .estimate import Estimator
    from .jobs import doctor_command, estimate_command, lift_command, people_command

    estimator = Estimator()
    return {
        "estimate": lambda params, report: estimate_command(estimator, params, report),
        "lift": lambda params, report: lift_command(estimator, params, report),
        "people": lambda params, report: people_command(estimator, params, report),
        "doctor": lambda params, report: doctor_command(params),
    }
