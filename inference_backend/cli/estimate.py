"""gentg estimate: one clip, several, or folders of them."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentg_blender.core.contract import GentgError
from gentg_blender.core.delivery import FILES, Delivery, add_delivery

from .exits import exit_code
from .settings import add_settings, settings_from
from .terminal import Terminal, with_terminal

if TYPE_CHECKING:
    from inference_backend.pipeline.estimate import Estimator

HELP = """\
Find the person in a video, lift the pose to 3D, make limbs rigid and feet planted, and write the animation.

  gentg estimate walk.mp4                               walk.npz, the capture file, in this folder
  gentg estimate walk.mp4 -o out --blend --fbx          also out/walk.blend and out/walk.fbx
  gentg estimate walk.mp4 --preview --still             the skeleton drawn over the person
  gentg estimate duel.mp4 --person 2                    the second of the people that 'gentg people duel.mp4' lists
  gentg estimate takes/ -o out --fbx --json             all clips of a folder, a summary for programs
  gentg estimate walk.mp4 --retarget hero.blend:rig --fbx --export-preset unreal
                                                        on your own character, for Unreal

Captures that are there already are exported by Blender itself: gentg_blender/batch.py -- export CAPTURE..."""

VIDEO_SUFFIXES = frozenset(
    ".mp4 .mov .m4v .mkv .webm .avi .mpg .mpeg .mts .m2ts .wmv .flv .ogv .3gp .mxf .ts".split()
)
# option -> what it writes; each takes a file name or, left empty, one beside the capture
EXTRA = {
    **{kind: text for kind, (_, text) in FILES.items()},
    "preview": "mp4 of the clip with the skeleton over the person",
    "still": "png of one frame of the preview",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from inference_backend.pipeline.outputs import SUFFIXES

    parser.add_argument(
        "clips",
        nargs="+",
        metavar="CLIP",
        help="a video, a folder of videos, or images such as shot_####.png",
    )
    out = parser.add_argument_group("what to write")
    out.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for the results (default: this folder)",
    )
    for name, text in EXTRA.items():
        out.add_argument(f"--{name}", nargs="?", const=True, metavar=f"FILE{SUFFIXES[name]}", help=text)
    out.add_argument("--json", action="store_true", help="print a summary for programs on stdout")
    add_delivery(parser)
    add_settings(parser)
    run_ = parser.add_argument_group("running")
    run_.add_argument("--sequence-fps", type=float, metavar="FPS", help="frame rate of an image sequence")
    run_.add_argument(
        "--blender",
        metavar="PATH",
        help="Blender that writes what needs one (default: $GENTG_BLENDER, blender, bpy)",
    )
    run_.add_argument(
        "--no-cache", action="store_true", help="neither use nor keep earlier detections and lifts"
    )
    run_.add_argument("-q", "--quiet", action="store_true", help="no progress, only errors")


def run(args: argparse.Namespace) -> int:
    return with_terminal("estimate", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from inference_backend.pipeline.errors import as_gentg_error
    from inference_backend.pipeline.estimate import Estimator
    from inference_backend.pipeline.jobs import estimate_command
    from inference_backend.pipeline.reporter import Reporter

    clips = find_clips(args.clips, args.sequence_fps)
    jobs = [(clip, _params(args, clip, several=len(clips) > 1)) for clip in clips]
    _refuse_collisions(jobs)
    estimator, summary = Estimator(), []
    for clip, params in jobs:
        began, error = time.monotonic(), None
        try:
            if args.focal_mm is not None:
                params["settings"]["focal_px"] = _focal_px(clip, args)
            if args.person is not None:
                params["settings"]["person"] = _person(estimator, params, args.person, clip, terminal)
            with terminal.progress(clip.name) as listener:
                result = estimate_command(estimator, params, Reporter(listener, terminal.cancelled))
            _tell(terminal, clip, result, time.monotonic() - began)
            summary.append({"clip": str(clip), "ok": True, **result})
        except (KeyboardInterrupt, Exception) as problem:
            error = as_gentg_error(problem)
            terminal.error(error, title=clip.name if len(jobs) > 1 else "")
            summary.append({"clip": str(clip), "ok": False, "error": {
                "code": error.code, "message": error.message, "file": error.file, "hint": error.hint,
                "log": str(terminal.log)}})  # fmt: skip
        if error is not None and error.code == "cancelled":
            break
    failed = [s["error"]["code"] for s in summary if not s["ok"]]
    if args.json:
        print(json.dumps({"clips": summary, "done": len(summary) - len(failed), "failed": len(failed),
                          "not_started": len(jobs) - len(summary)}, indent=2, ensure_ascii=False), file=terminal.out)  # fmt: skip
    elif len(jobs) > 1:
        terminal.say(f"{len(summary) - len(failed)} of {len(jobs)} clips done, {len(failed)} failed")
    return exit_code(failed)


def find_clips(names: list[str], sequence_fps: float | None = None) -> list[Path]:
    """Files as they are, folders as the videos in them, by name. Raises GentgError for an empty folder."""
    clips: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir() and sequence_fps is None:
            found = sorted(
                p
                for p in path.iterdir()
                if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file() and p.name[0] != "."
            )
            if not found:
                raise GentgError(
                    "no_such_file",
                    "The folder holds no video.",
                    file=path,
                    hint="Give --sequence-fps if it holds the images of an image sequence.",
                )
            clips += found
        else:
            clips.append(path)
    return clips


def _params(args: argparse.Namespace, clip: Path, several: bool) -> dict[str, Any]:
    from inference_backend.pipeline.outputs import SUFFIXES

    stem = clip.stem.rstrip("#_.- ") or clip.stem
    stem += f"_person{args.person}" if args.person is not None else ""
    params: dict[str, Any] = {
        "clip": str(clip), "capture": str(args.out / f"{stem}.npz"), "settings": settings_from(args),
        "cache": not args.no_cache, "sequence_fps": args.sequence_fps, "blender": args.blender,
    }  # fmt: skip
    for name in EXTRA:
        value = getattr(args, name)
        if value is True:
            params[name] = str(args.out / (f"{stem}_preview" if name == "preview" else stem)) + SUFFIXES[name]
        elif value is not None:
            if several:
                raise GentgError("bad_request", f"--{name} with a file name goes with one clip only.",
                                 hint=f"For several clips leave the name out and choose a folder: -o DIR --{name}")  # fmt: skip
            if Path(value).suffix.lower() in VIDEO_SUFFIXES and name != "preview":
                raise GentgError("bad_request", f"--{name} took the clip '{value}' for its file name.",
                                 hint=f"Put the clips before the options: gentg estimate {value} --{name}")  # fmt: skip
            params[name] = value
    delivery = Delivery.of(args)
    delivery.check([kind for kind in FILES if kind in params])
    params |= {name: value for name, value in vars(delivery).items() if value}
    return params


def _refuse_collisions(jobs: list[tuple[Path, dict[str, Any]]]) -> None:
    taken: dict[str, Path] = {}
    for clip, params in jobs:
        other = taken.setdefault(params["capture"], clip)
        if other is not clip:
            raise GentgError("bad_request", f"{other} and {clip} would both be written to {params['capture']}.",
                             hint="Rename one of them, or run them into different folders.")  # fmt: skip


def _focal_px(clip: Path, args: argparse.Namespace) -> float:
    from inference_backend.pipeline.camera import focal_px_from_mm
    from inference_backend.pipeline.inputs import open_source
    from inference_backend.video.probe import probe

    return focal_px_from_mm(args.focal_mm, probe(open_source(clip, args.sequence_fps)).size)


def _person(
    estimator: Estimator, params: dict[str, Any], number: int, clip: Path, terminal: Terminal
) -> dict[str, Any]:
    """The person of this number as the setting names them. Raises GentgError."""
    from inference_backend.pipeline.jobs import people_command
    from inference_backend.pipeline.reporter import Reporter

    wanted = {name: params[name] for name in ("clip", "sequence_fps", "settings", "cache")}
    with terminal.progress(clip.name) as listener:
        people = people_command(estimator, wanted, Reporter(listener, terminal.cancelled))["people"]
    if not 1 <= number <= len(people):
        raise GentgError("no_person", f"There is no person {number}: {len(people)} found in the clip.", file=clip,
                         hint=f"See who is who with: gentg people {clip} -o DIR")  # fmt: skip
    return people[number - 1]["seed"]


def _tell(terminal: Terminal, clip: Path, result: dict[str, Any], seconds: float) -> None:
    for warning in result["warnings"]:
        terminal.say(f"Note: {warning}")
    lost = result["frames"] - result["seen"]
    gaps = f", the person is not seen in {lost} of them" if lost else ""
    speed = result["frames"] / seconds if seconds else math.inf
    terminal.say(
        f"{clip.name}: {result['frames']} frames{gaps}, {seconds:.1f} s ({speed:.0f} frames a second)"
    )
    for path in result["outputs"].values():
        terminal.say(f"  {path}")
