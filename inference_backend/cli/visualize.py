"""gentg visualize: a capture as images, beside its clip and a reference."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from .terminal import Terminal, with_terminal

HELP = """\
Draw a capture: the clip with 2D and projected 3D, the 3D pose from a circling camera, and a reference or TGT alone.
Left is blue, right orange; grey and thin means uncertain; green rings are planted feet. --colour sigma shows the error
expected of each limb instead, from violet (0) to yellow (20 cm and more).

  gentg visualize walk.npz --video walk.mp4 -o walk_view.mp4
  gentg visualize walk.npz --video walk.mp4 --reference gt.npz -o walk_view.gif
  gentg visualize walk.npz -o walk_strip.png --count 8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("capture", type=Path, metavar="CAPTURE.npz")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="an .mp4, .gif or .png (a strip of moments)",
    )
    parser.add_argument(
        "--video",
        type=Path,
        metavar="CLIP",
        help="the clip the capture was made from (default: plain background)",
    )
    parser.add_argument(
        "--reference", type=Path, metavar="FILE.npz", help="poses for the third panel (default: TGT alone)"
    )
    parser.add_argument("--camera", metavar="NAME", help="which of the reference's cameras filmed the clip")
    parser.add_argument(
        "--height", type=int, default=540, metavar="PX", help="height of the panels (default: 540)"
    )
    parser.add_argument(
        "--turn",
        type=float,
        default=17.0,
        metavar="DEG",
        help="degrees a second the 3D view turns (default: 17)",
    )
    parser.add_argument(
        "--count", type=int, default=6, metavar="N", help="moments in a png strip (default: 6)"
    )
    parser.add_argument(
        "--colour",
        choices=("side", "sigma"),
        default="side",
        help="limbs by side, or by how many cm they may be off (default: side)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only errors")


def run(args: argparse.Namespace) -> int:
    return with_terminal("visualize", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from gentg_blender.core.contract import GentgError, load_capture
    from inference_backend.pipeline.reporter import Reporter
    from inference_backend.preview.visualize import Other, View, visualize

    if not 64 <= args.height <= 2160 or args.count < 1:
        raise GentgError("bad_request", "The height lies between 64 and 2160 pixels, the count above 0.")
    capture, other = load_capture(args.capture), None
    if args.reference:
        from inference_backend.evaluation.readers import read_reference

        reference = read_reference(args.reference, args.camera)
        poses = dict(zip(reference.frames.tolist(), reference.in_camera(), strict=True))
        other = Other("reference", reference.names, poses)
    with terminal.progress(args.out.name) as listener:
        visualize(capture, args.out, video=args.video, other=other, view=View(args.height, math.radians(args.turn), args.count, args.colour),
                  report=Reporter(listener, terminal.cancelled))  # fmt: skip
    terminal.say(f"{args.out}")
    return 0
