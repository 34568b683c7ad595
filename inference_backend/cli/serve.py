"""gentg serve: the JSON-lines server of docs/contract.md."""

from __future__ import annotations

import argparse

HELP = "Answer requests of Blender over stdin and stdout, one JSON object a line (docs/contract.md)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    import logging
    import sys

    from inference_backend.pipeline.logs import keep_stdout, start_log
    from inference_backend.pipeline.server import Server, commands

    sink = keep_stdout()  # before anything can print
    log = start_log("serve")
    logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))
    Server(sys.stdin.buffer, sink, log, commands()).run()
    return 0
