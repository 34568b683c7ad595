"""gentg serve: the JSON-lines server of docs/contract.md."""

from __future__ import annotations

import argparse

HELP = "Answer requests of Blender over stdin and stdout, one JSON object a line (docs/contract.md)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    import logging
    import sys

    from gentg_blender.core.contract import GentgError, encode, message
    from inference_backend.pipeline.logs import keep_stdout, start_log
    from inference_backend.pipeline.server import Server, commands

    from .exits import CODES

    sink = keep_stdout()  # before anything can print
    try:
        log = start_log("serve")
    except GentgError as error:
        sink.write(
            encode(
                message(
                    "error",
                    id=None,
                    code=error.code,
                    message=error.message,
                    file=error.file,
                    hint="Set GENTG_CACHE to a folder that you may write to.",
                    log=None,
                )
            )
        )
        sink.flush()
        return CODES[error.code]
    logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))
    Server(sys.stdin.buffer, sink, log, commands()).run()
    return 0
