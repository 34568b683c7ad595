"""gentg lift: from 2D keypoints alone."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .settings import add_settings, settings_from
from .terminal import Terminal, with_terminal

HELP = """\
Lift 2D keypoints of one person to a capture file.

KEYPOINTS.npz holds `keypoints` (T,K,3: x, y in pixels, confidence; 0 = missing), `layout` (coco17, halpe26,
wholebody133, blazepose33 or h36m17), `image_size` (width, height), `fps` or `timestamps` (T seconds), and, if known,
the camera `K` (3,3). docs/contract.md has the details."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keypoints", type=Path, metavar="KEYPOINTS.npz")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT.npz", help="the capture file to write"
    )
    add_settings(parser, video=False)
    parser.add_argument("--no-cache", action="store_true", help="neither use nor keep earlier lifts")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only errors")


def run(args: argparse.Namespace) -> int:
    return with_terminal("lift", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from inference_backend.keypoints.track import load_keypoints
    from inference_backend.pipeline.camera import focal_px_from_mm
    from inference_backend.pipeline.estimate import Estimator
    from inference_backend.pipeline.jobs import lift_command
    from inference_backend.pipeline.reporter import Reporter

    began, settings = time.monotonic(), settings_from(args)
    if args.focal_mm is not None:
        settings["focal_px"] = focal_px_from_mm(args.focal_mm, load_keypoints(args.keypoints).image_size)
    params = {
        "keypoints": str(args.keypoints),
        "capture": str(args.out),
        "settings": settings,
        "cache": not args.no_cache,
    }
    with terminal.progress(args.keypoints.name) as listener:
        result = lift_command(Estimator(), params, Reporter(listener, terminal.cancelled))
    for warning in result["warnings"]:
        terminal.say(f"Note: {warning}")
    terminal.say(f"{result['frames']} frames in {time.monotonic() - began:.1f} s: {args.out}")
    return 0
