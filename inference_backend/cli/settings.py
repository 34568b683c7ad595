"""Options that stand for `EstimateSettings`, shared by the commands that lift."""

from __future__ import annotations

import argparse
import math
from typing import Any

from gentg_blender.core.contract import EstimateSettings

_DEFAULT = EstimateSettings()


def add_body_and_lens(group: argparse._ArgumentGroup) -> None:
    """--height, and --focal-mm or --fov."""
    group.add_argument(
        "--height", type=float, metavar="M", help="the person's standing height in metres (default: 1.72)"
    )
    lens = group.add_mutually_exclusive_group()
    lens.add_argument(
        "--focal-mm",
        type=float,
        metavar="MM",
        help="lens in mm on a 36 mm sensor across the longer side, as in Blender's camera",
    )
    lens.add_argument("--fov", type=float, metavar="DEG", help="horizontal field of view in degrees")


def add_settings(parser: argparse.ArgumentParser, video: bool = True) -> None:
    """`video` False leaves out what only a clip has."""
    what = parser.add_argument_group("what to estimate")
    if video:
        add_clip_settings(what)
        what.add_argument(
            "--person",
            type=int,
            metavar="N",
            help="follow this person, as 'gentg people' numbers them (default: the most prominent)",
        )
    add_body_and_lens(what)
    what.add_argument("--quality", choices=("fast", "balanced", "best"), default=_DEFAULT.quality)
    what.add_argument(
        "--correction",
        type=float,
        default=_DEFAULT.correction,
        metavar="0..1",
        help="amount of the generative correction (default: %(default)s)",
    )
    what.add_argument(
        "--smoothing",
        type=float,
        default=_DEFAULT.smoothing,
        metavar="S",
        help="smoothing in seconds (default: %(default)s)",
    )
    what.add_argument("--no-foot-lock", dest="foot_lock", action="store_false", help="let planted feet move")
    what.add_argument(
        "--seed",
        type=int,
        default=_DEFAULT.seed,
        help="the same seed gives the same result (default: %(default)s)",
    )
    what.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default=_DEFAULT.device,
        help="where the networks run (default: %(default)s)",
    )
    what.add_argument(
        "--runtime",
        choices=("torch", "onnx"),
        default=_DEFAULT.runtime,
        help="what runs them (default: %(default)s)",
    )


def add_clip_settings(group: argparse._ArgumentGroup) -> None:
    """Which part of a clip, and what finds people in it."""
    group.add_argument("--start", type=float, metavar="S", help="begin at this second of the video")
    group.add_argument("--end", type=float, metavar="S", help="end at this second")
    group.add_argument(
        "--detector",
        default=_DEFAULT.detector,
        metavar="NAME",
        help="mediapipe (default), or the folder of an RTMPose model",
    )


def settings_from(args: argparse.Namespace) -> dict[str, Any]:
    """Values for `EstimateSettings.from_dict`; `--focal-mm` and `--person` need the clip and are left to the caller."""
    names = (
        "start",
        "end",
        "detector",
        "height",
        "quality",
        "correction",
        "smoothing",
        "foot_lock",
        "seed",
        "device",
        "runtime",
    )
    values = {name: getattr(args, name) for name in names if hasattr(args, name)}
    if getattr(args, "fov", None) is not None:
        values["fov"] = math.radians(args.fov)
    return values
