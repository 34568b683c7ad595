"""gentg detector: fetch the models of another 2D detector."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from .terminal import Terminal, with_terminal

HELP = """\
Download the two models of an RTMPose detector (.onnx files, or .zip files that hold them), check their SHA-256 and
open them once. You choose the sources, agree to the download, and answer for the models' licences.

  gentg detector models --get https://.../rtmdet.zip SHA256 --get https://.../rtmpose.zip SHA256
  gentg estimate walk.mp4 --detector models"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the models go")
    parser.add_argument(
        "--get", nargs=2, action="append", required=True, metavar=("URL", "SHA256"),
        help="an https address and the checksum that its publisher states; once for each model",
    )  # fmt: skip
    parser.add_argument("-y", "--yes", action="store_true", help="agree to the download without being asked")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only errors")


def run(args: argparse.Namespace) -> int:
    return with_terminal("detector", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from gentg_blender.core.contract import GentgError
    from inference_backend.keypoints.download import download_model, unpack_onnx
    from inference_backend.keypoints.rtmpose import RtmPose

    targets: list[tuple[str, str, Path]] = []
    for url, digest in args.get:
        target = args.folder / unquote(PurePosixPath(urlsplit(url).path).name)
        if target.suffix.lower() not in (".onnx", ".zip") or target.parent != args.folder:
            raise GentgError("bad_request", f"The address must end with the name of an .onnx or .zip: {url}")
        if target in [other for *_, other in targets]:
            raise GentgError("bad_request", f"Two addresses end with the same name: {target.name}")
        targets.append((url, digest, target))
    consent = args.yes or _agrees([url for url, *_ in targets], terminal)
    for url, digest, target in targets:
        download_model(url, digest, target, consent=consent)
        if target.suffix.lower() == ".zip":
            unpack_onnx(target, target.with_suffix(""))  # a folder each: published zips use the same names
        terminal.say(f"{target}: the checksum is right")
    RtmPose.open(args.folder).close()
    terminal.say(f"Use it with: gentg estimate CLIP --detector {args.folder}")
    return 0


def _agrees(urls: list[str], terminal: Terminal) -> bool:
    """Ask on a terminal; elsewhere nobody has agreed."""
    if not sys.stdin.isatty():
        return False
    listed = "\n".join(f"  {url}" for url in urls)
    print(
        f"Download now?\n{listed}\n[y/N] ", end="", file=terminal.err, flush=True
    )  # stdout's own goes to the log
    return sys.stdin.readline().strip().lower() in ("y", "yes")
