"""The command line, one file a command: parses, calls, prints. May import: everything of the backend, lazily.

A command's module has `HELP` (one line), `add_arguments(parser)` and `run(args) -> int` (the exit code), and imports
what is slow inside `run`, so that `gentg --help` is instant.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from inference_backend import __version__

# name -> (module, one line for `gentg --help`), in the order of the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "estimate": ("estimate", "video in, animation out: capture file, .blend, .fbx, preview"),
    "people": ("people", "who is in a clip, to choose one for 'estimate --person'"),
    "lift": ("lift", "2D keypoints in, capture file out"),
    "live": ("live", "a camera or a clip lifted while it runs, frame by frame"),
    "detector": ("detector", "fetch the models of another 2D detector"),
    "doctor": ("doctor", "what is installed, what is wrong, and how to mend it"),
    "benchmark": ("benchmark", "time and memory of every stage on this machine"),
    "train": ("train", "train TGT, GPC or a baseline on motion capture"),
    "export": ("export", "write a network as ONNX, TorchScript or exported program"),
    "evaluate": ("evaluate", "score captures, the pipeline or the networks against references"),
    "visualize": ("visualize", "a capture as mp4, gif or png: 2D, 3D and a reference side by side"),
    "serve": ("serve", "answer requests of Blender over stdin and stdout"),
}

_EXIT_CODES = """\
exit codes: 0 all went well, 1 a bug or failures of several kinds, 2 wrong usage, 3 no such file, 4 not a video,
5 no person found, 6 model file missing or damaged, 7 bad keypoint file, 8 cannot write, 9 Blender missing or failed,
10 package missing, 11 out of memory, 130 Ctrl-C, 143 terminated"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else ""
    if name not in COMMANDS:
        return _top_level(argv)
    module = importlib.import_module(f".{COMMANDS[name][0]}", __name__)
    parser = argparse.ArgumentParser(
        prog=f"gentg {name}",
        description=module.HELP,
        epilog=_EXIT_CODES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return module.run(parser.parse_args(argv[1:]))


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help in columns that leave room for the text."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=110)


def _top_level(argv: list[str]) -> int:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="gentg",
        usage="gentg COMMAND [options]",
        description=f"Video of a person to animation for Blender.\n\ncommands:\n{listing}\n\n"
        "'gentg COMMAND --help' explains a command. To begin: gentg estimate clip.mp4 --blend",
        epilog=_EXIT_CODES,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"gentg {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.command:
        parser.error(f"there is no command '{args.command}'; there are {', '.join(COMMANDS)}")
    parser.print_help()
    return 2
