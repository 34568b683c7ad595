"""Arguments of `gentg_blender/batch.py` and of `blender --command gentg`, which are the same."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from .core.contract import PROMINENT, EstimateSettings, GentgError, atomic_file, encode, message
from .core.delivery import FILES, SUFFIXES, Delivery, add_delivery
from .job.find_python import PYTHON_VARIABLE

NAME = "gentg"
ROOT = Path(__file__).resolve().parent.parent  # holds gentg_blender and inference_backend
EXPORT = "export"  # first word for finished captures
_DEFAULT = EstimateSettings()
_HELP = """\
Turn clips of a person, or captures made of them, into armatures, without opening a window.

  {prog} CLIP... --out DIR --fbx --blend             estimate, then write DIR/CLIP.fbx and DIR/CLIP.blend
  {prog} FOLDER --out DIR --fbx                      every video of a folder
  {prog} --capture walk.npz --fbx walk.fbx           only import and export
  {prog} export CAPTURE... --out DIR --bvh --glb     the same for many, or for folders of captures
  {prog} export DIR --out OUT --retarget hero.blend --fbx --export-preset unreal
                                                     each on your own rig

One clip that fails does not stop the others. The last line on stdout, and DIR/gentg_summary.json, are the
summary as JSON. Exit code: 0 when all succeeded, 1 when any failed, 2 for wrong arguments."""


def build_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=_HELP.format(prog=prog),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="videos, or folders of videos")
    parser.add_argument("--capture", nargs="+", type=Path, default=[], metavar="NPZ",
                        help="import these captures instead of estimating clips")  # fmt: skip
    parser.add_argument("--clip", type=Path, metavar="FILE",
                        help="video to show behind the camera of a single --capture (default: the one it was made of)")  # fmt: skip
    parser.add_argument("--name", help="name of collection, armature and action (default: the clip's)")
    out = parser.add_argument_group("what to write")
    out.add_argument("-o", "--out", type=Path, metavar="DIR", help="folder for the results")
    for kind, (_, text) in FILES.items():
        out.add_argument(f"--{kind}", nargs="?", const=True, metavar="FILE", help=text)
    out.add_argument("--summary", type=Path, metavar="FILE", help="where the summary goes (default: in DIR)")
    add_delivery(parser)
    what = parser.add_argument_group("how to estimate")
    what.add_argument("--start", type=float, metavar="S", help="begin at this second of the video")
    what.add_argument("--end", type=float, metavar="S", help="end at this second")
    what.add_argument("--person", type=_person, metavar=f"N|{PROMINENT}",
                      help=f"whom to follow, by the numbers of 'gentg people' (default: {_DEFAULT.person})")  # fmt: skip
    what.add_argument("--height", type=float, metavar="M", help="the person's standing height in metres")
    lens = what.add_mutually_exclusive_group()
    lens.add_argument(
        "--focal-mm", type=float, metavar="MM", help="lens in mm on a 36 mm sensor across the longer side"
    )
    lens.add_argument("--fov", type=float, metavar="DEG", help="horizontal field of view in degrees")
    what.add_argument("--detector", metavar="NAME", help=f"default: {_DEFAULT.detector}")
    what.add_argument("--quality", choices=("fast", "balanced", "best"), help=f"default: {_DEFAULT.quality}")
    what.add_argument("--correction", type=float, metavar="0..1", help="amount of the generative correction")
    what.add_argument(
        "--smoothing", type=float, metavar="S", help=f"in seconds, default: {_DEFAULT.smoothing}"
    )
    what.add_argument(
        "--no-foot-lock", dest="foot_lock", action="store_false", default=None, help="let planted feet move"
    )
    what.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), help=f"default: {_DEFAULT.device}")
    what.add_argument("--runtime", choices=("torch", "onnx"), help=f"default: {_DEFAULT.runtime}")
    what.add_argument("--seed", type=int, help="the same seed gives the same result")
    what.add_argument(
        "--sequence-fps", type=float, metavar="FPS", help="the clips are image sequences of this rate"
    )
    what.add_argument("--backend-python", type=Path, metavar="FILE",
                      help=f"the backend's Python (default: ${PYTHON_VARIABLE}, else the one that was set up)")  # fmt: skip
    return parser


def _person(text: str) -> int | str:
    """What --person takes."""
    if text == PROMINENT:
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number from 1 on nor '{PROMINENT}'")
    return int(text)


def main(argv: list[str], prog: str = f"blender --command {NAME}") -> int:
    """Run with these arguments and return the exit code. Argparse ends wrong ones with SystemExit(2)."""
    from . import headless

    parser = build_parser(prog)
    exporting = argv[:1] == [EXPORT]
    args = parser.parse_args(argv[1:] if exporting else argv)
    outcomes: list[headless.Outcome] = []
    try:
        if exporting:
            _take_captures(args)
        items = _items(args)
        report = args.summary or (args.out / "gentg_summary.json" if args.out else None)
        queue = None if args.capture else _queue(args)
    except GentgError as error:
        parser.error(str(error))
    interrupted = False
    with _interruptible():
        try:
            for outcome in headless.run(items, _settings(args), queue, _say, Delivery.of(args)):
                outcomes.append(outcome)
                for text in outcome.warnings:
                    _say(f"{outcome.name}: note: {text}")
                if outcome.error is not None:
                    _say(f"GentgError: {outcome.name}: {_text(outcome.error)}")
        except KeyboardInterrupt:
            interrupted = True
            _say("Cancelled.")
    result = headless.summary(outcomes, len(items) - len(outcomes))
    line = encode(message("summary", **result))
    if report is not None and not _write(report, line):
        return 1
    sys.stdout.flush()
    print(line.decode("utf-8"), end="", flush=True)
    failed = result["failed"] or result["not_started"]
    if queue is not None and not failed:
        shutil.rmtree(_logs(args), ignore_errors=True)
    return 130 if interrupted else int(bool(failed))


def _take_captures(args: argparse.Namespace) -> None:
    """`export`: what stands there are captures and folders of them. Raises GentgError."""
    from .headless import find_captures

    if args.capture or not args.clips:
        raise GentgError("bad_request", "export takes captures", hint=f"{EXPORT} CAPTURE... --out DIR --fbx")
    args.capture, args.clips = find_captures(args.clips), []


def _items(args: argparse.Namespace) -> list[Any]:
    """What to do, checked before anything is begun. Raises GentgError("bad_request")."""
    from .headless import Item, find_clips

    def refuse(why: str, hint: str = "") -> None:
        raise GentgError("bad_request", why, hint=hint)

    for kind, suffix in SUFFIXES.items():
        value = getattr(args, kind)
        if isinstance(value, str) and Path(value).suffix.lower() != suffix:
            refuse(
                f"'{value}' does not end with {suffix}", f"Put the clips before the options: CLIP... --{kind}"
            )
    if bool(args.clips) == bool(args.capture):
        refuse("give clips to estimate or --capture with captures to import, one of the two")
    wanted = [kind for kind in FILES if getattr(args, kind)]
    if not wanted:
        refuse(f"nothing to write: add --{', --'.join(FILES)}")
    Delivery.of(args).check(wanted)
    if args.capture:
        given = [
            f"--{n.replace('_', '-')}"
            for n in (*_setting_names(), "sequence_fps")
            if getattr(args, n) is not None
        ]
        if given:
            refuse(f"{', '.join(given)} would have no effect on a finished capture")
        sources = [(path, path.stem) for path in args.capture]
    else:
        if args.clip:
            refuse("--clip goes with --capture")
        if args.out is None:
            refuse("say with --out where the captures go")
        clips = find_clips(args.clips, args.sequence_fps is not None)
        who = f"_person{args.person}" if isinstance(args.person, int) else ""
        sources = [(path, (path.stem.rstrip("#_.- ") or path.stem) + who) for path in clips]
    if len(sources) > 1 and (
        args.name or args.clip or any(isinstance(getattr(args, kind), str) for kind in wanted)
    ):
        refuse(
            "--name, --clip and file names for what is written go with one clip only",
            "For several give --out DIR.",
        )
    items, taken = [], {}
    for path, stem in sources:
        name = args.name or stem
        if (other := taken.setdefault(name.casefold(), path)) is not path:
            refuse(
                f"{other} and {path} would be written to the same files", "Rename one, or use two folders."
            )
        files = {kind: _output(args, kind, stem) for kind in wanted}
        if args.capture:
            items.append(Item(name, args.clip, path, files))
        else:
            items.append(Item(name, path, args.out / f"{stem}.npz", files, sequence_fps=args.sequence_fps))
    return items


def _output(args: argparse.Namespace, kind: str, stem: str) -> Path:
    """The file that an option such as --fbx asks for. Raises GentgError("bad_request")."""
    value = getattr(args, kind)
    if value is True:
        if args.out is None:
            raise GentgError("bad_request", f"--{kind} needs a file name, or --out a folder")
        return args.out / (stem + SUFFIXES[kind])
    return Path(value)


def _setting_names() -> list[str]:
    known = {f.name for f in fields(EstimateSettings)}
    return [n for n in ("start", "end", "person", "height", "fov", "focal_mm", "detector", "quality", "correction", "smoothing",
                        "foot_lock", "device", "runtime", "seed") if n in known or n == "focal_mm"]  # fmt: skip


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What was chosen; the rest is the backend's own default."""
    values = {n: getattr(args, n) for n in _setting_names() if getattr(args, n) is not None}
    if "fov" in values:
        values["fov"] = math.radians(values["fov"])
    return values


# --------------------------------------------------------------------------- backend


def _queue(args: argparse.Namespace) -> Any:
    from .job.client import BackendCommand
    from .job.jobs import JobQueue

    EstimateSettings.from_dict({k: v for k, v in _settings(args).items() if k not in ("focal_mm", "person")})
    command = BackendCommand(find_backend_python(args.backend_python), ROOT, _logs(args))
    command.check()
    return JobQueue(lambda: command)


def _logs(args: argparse.Namespace) -> Path:
    return args.out.resolve() / "gentg_logs"


def find_backend_python(named: Path | None = None) -> Path:
    """The named interpreter, else that of PYTHON_VARIABLE, else the environment that belongs to this copy:
    for an installed extension that of its preferences, for a clone its .venv.

    Raises GentgError("missing_dependency") naming what was looked for.
    """
    chosen = named or os.environ.get(PYTHON_VARIABLE)
    if chosen:
        path = Path(chosen)
        if not path.is_file():
            raise GentgError("missing_dependency", "The backend's Python is not there.", file=path,
                             hint=f"Correct --backend-python or {PYTHON_VARIABLE}.")  # fmt: skip
        return path.absolute()  # not resolved: a venv's interpreter is a link whose place matters
    if __package__.startswith("bl_ext."):
        from .ui.backend import command

        return command().python
    path = ROOT / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if path.is_file():
        return path
    raise GentgError("missing_dependency", "The backend's Python environment was not found.", file=path,
                     hint=f"Run `make` in the clone, or name another with --backend-python or {PYTHON_VARIABLE}.")  # fmt: skip


# --------------------------------------------------------------------------- talking


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _text(error: dict[str, Any]) -> str:
    return str(GentgError(error["code"], error["message"], file=error["file"], hint=error["hint"]))


def _write(path: Path, line: bytes) -> bool:
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(line)
    except GentgError as error:
        _say(f"GentgError: the summary: {error}")
        return False
    return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and termination end the backend too; Blender's Python leaves both to the system."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(n, stop) for n in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


_command: Any = None


def register() -> None:
    import bpy

    global _command
    _command = bpy.utils.register_cli_command(NAME, main)


def unregister() -> None:
    import bpy

    global _command
    if _command is not None:
        bpy.utils.unregister_cli_command(_command)
        _command = None
