"""gentg export: the networks for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path

from .terminal import Terminal, with_terminal

HELP = """\
Write a network as ONNX, TorchScript or a PyTorch exported program. Batch and time axes stay free.

Inputs and outputs are plain tensors named in inference_backend/export/graphs.py."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", choices=("tgt", "gpc"))
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--format", choices=("onnx", "torchscript", "exported-program"), default="onnx")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="other weights than the shipped ones")


def run(args: argparse.Namespace) -> int:
    return with_terminal("export", lambda terminal: _run(args, terminal))


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from inference_backend.export.graphs import export
    from inference_backend.lifting.weights import load_weights

    export(load_weights(args.network, path=args.weights).model, args.out, args.format)
    terminal.say(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")
    return 0
