"""gentg people: who is in a clip."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .settings import add_clip_settings, settings_from
from .terminal import Terminal, with_terminal

HELP = """\
List the people in a clip, the most prominent first, so that one can be chosen for 'gentg estimate --person N'.

  gentg people duel.mp4                                 how often and where each is seen
  gentg people duel.mp4 -o faces                        also faces/duel_person1.jpg and so on"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a video, or images such as shot_####.png")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="write an image of each person there")
    parser.add_argument("--json", action="store_true", help="print the list for programs on stdout")
    add_clip_settings(parser.add_argument_group("where to look"))
    run_ = parser.add_argument_group("running")
    run_.add_argument("--sequence-fps", type=float, metavar="FPS", help="frame rate of an image sequence")
    run_.add_argument("--no-cache", action="store_true", help="neither use nor keep an earlier list")
    run_.add_argument("-q", "--quiet", action="store_true", help="no progress, only the list and errors")


def run(args: argparse.Namespace) -> int:
    return with_terminal("people", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from inference_backend.pipeline.estimate import Estimator
    from inference_backend.pipeline.jobs import people_command
    from inference_backend.pipeline.reporter import Reporter

    params = {
        "clip": args.clip, "sequence_fps": args.sequence_fps, "settings": settings_from(args), "cache": not args.no_cache,
        "folder": None if args.out is None else str(args.out),
    }  # fmt: skip
    with terminal.progress(Path(args.clip).name) as listener:
        result = people_command(Estimator(), params, Reporter(listener, terminal.cancelled))
    if args.json:
        print(json.dumps(result, indent=2, ensure_ascii=False), file=terminal.out)
        return 0
    width, height = result["image_size"]
    print(
        f"{len(result['people'])} found in {result['sampled']} images of {width} x {height}",
        file=terminal.out,
    )
    for person in result["people"]:
        x0, y0, x1, y1 = (round(v) for v in person["box"])
        line = f"{person['number']:3d}  in {person['share']:4.0%} of them, about at {x0},{y0} to {x1},{y1}"
        line += f", best seen at {person['seed']['time']:.2f} s"
        print(line + (f"  {person['thumbnail']}" if "thumbnail" in person else ""), file=terminal.out)
    return 0
