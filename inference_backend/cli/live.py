"""gentg live: poses while the camera runs."""

from __future__ import annotations

import argparse
import contextlib
import math
import threading
from pathlib import Path
from typing import Any

from gentg_blender.core.contract import EstimateSettings, GentgError

from .settings import add_body_and_lens
from .terminal import Terminal, with_terminal

HELP = """\
Lift a camera or a video while it runs, each frame from the past alone, and print a line of JSON a frame.

  gentg live 0                                     the first camera, JSON lines on stdout, until Ctrl-C
  gentg live 0 -o take.npz --preview take.mp4      a recording; 'gentg lift take.npz -o walk.npz' refines it
  gentg live walk.mp4 -o walk.jsonl                a file, as fast as it goes, every frame
  gentg live walk.mp4 --realtime --udp 127.0.0.1:9763

Frames that come while the machine is busy are dropped, never queued. docs/live.md describes the lines."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a camera's number, from 0, or a video file")
    out = parser.add_argument_group("what to write")
    out.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="a .jsonl or .npz instead of lines on stdout"
    )
    out.add_argument(
        "--preview",
        type=Path,
        metavar="FILE.mp4",
        help="the images with the skeleton over them (takes time of its own)",
    )
    out.add_argument(
        "--udp", metavar="HOST:PORT", help="send the lines as datagrams too, for a program that listens there"
    )
    out.add_argument(
        "--axes",
        choices=("world", "camera"),
        default="world",
        help="of the lines: Z up on the floor, or the camera's (default: world)",
    )
    what = parser.add_argument_group("what to estimate")
    what.add_argument("--seconds", type=float, metavar="S", help="end after so many seconds of the source")
    what.add_argument(
        "--realtime", action="store_true", help="play a file at its own speed, dropping frames when too slow"
    )
    what.add_argument(
        "--detector",
        default="mediapipe",
        metavar="NAME",
        help="mediapipe (default), or the folder of an RTMPose model",
    )
    add_body_and_lens(what)
    what.add_argument(
        "--smoothing",
        type=float,
        metavar="S",
        help="time constant of what rests, in seconds; fast motion is smoothed less (default: 0.05)",
    )
    what.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="where the network runs (default: auto)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary, only errors")


def run(args: argparse.Namespace) -> int:
    return with_terminal("live", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    import torch

    from inference_backend.live import sinks, sources
    from inference_backend.live.lifter import SMOOTH, LiveLifter
    from inference_backend.live.session import run_live
    from inference_backend.pipeline.camera import focal_px_from_mm, intrinsics
    from inference_backend.pipeline.inputs import open_detector
    from inference_backend.video.probe import probe

    settings = _settings(args)
    torch.set_num_threads(1)  # one frame is little work: more threads only take time from the detector
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:
        camera = stored = None
        if args.source.isdecimal():
            if args.realtime:
                raise GentgError("bad_request", "--realtime is for files: a camera has no other speed.")
            camera = sources.Camera(int(args.source))
            stack.callback(camera.close)
            size = camera.size
        else:
            info = probe(Path(args.source))
            size, stored = info.size, info.focal_px
        if args.focal_mm is not None:
            settings.focal_px = focal_px_from_mm(args.focal_mm, size)
        lens = intrinsics(settings, size, stored)
        if lens.warning:
            terminal.say(f"Note: {lens.warning}")
        detector = open_detector(args.detector)
        stack.callback(detector.close)
        smoothing = SMOOTH if args.smoothing is None else args.smoothing
        lifter = LiveLifter(
            lens.K, detector.layout, height=args.height, smoothing=smoothing, device=args.device
        )

        stream = sinks.Stream(args.source, args.axes, detector.layout, size, lens.K, lifter.tgt.sha256)
        takers = _sinks(args, terminal, stream, stopped)
        if camera is not None:
            images: Any = sources.Newest(camera.images(detector.max_size, stopped), stopped)
        else:
            images = sources.file_images(
                Path(args.source), detector.max_size, lambda text: terminal.say(f"Note: {text}")
            )
            if args.realtime:
                images = sources.Newest(sources.paced(images, stopped), stopped)

        def work():
            return run_live(images, size, detector, lifter, takers, stopped, seconds=args.seconds,
                            dropped=lambda: getattr(images, "dropped", 0))  # fmt: skip

        summary = _in_thread(work, stopped)
    s = summary.to_dict()
    if summary.frames:
        terminal.say(
            f"{summary.frames} frames in {summary.wall:.1f} s, {summary.seen} with a person, {summary.dropped} dropped"
            + (f", {summary.thinned} passed over" if summary.thinned else "")
            + f"; latency {1000 * s['latency_median']:.0f} ms median, {1000 * s['latency_p95']:.0f} ms p95"
        )  # fmt: skip
    if terminal.cancelled.is_set():
        raise GentgError("cancelled", "Stopped. What came before is kept." if summary.frames else "Stopped.")
    return 0


def _settings(args: argparse.Namespace) -> EstimateSettings:
    """Checked as everywhere; only camera and height are used. Raises GentgError("bad_request")."""
    if args.seconds is not None and not args.seconds > 0:
        raise GentgError("bad_request", "--seconds must be above 0.")
    if args.smoothing is not None and not 0 <= args.smoothing <= 2:
        raise GentgError("bad_request", "--smoothing lies between 0 and 2 seconds.")
    settings = EstimateSettings(height=args.height, fov=None if args.fov is None else math.radians(args.fov))
    settings.check()
    return settings


def _sinks(args: argparse.Namespace, terminal: Terminal, stream: Any, stopped: threading.Event) -> list:
    """Lines first: nothing else may delay them. Raises GentgError for names and addresses that cannot be."""
    from inference_backend.live import sinks

    suffix = None if args.out is None else args.out.suffix.lower()
    if suffix not in (None, ".jsonl", ".npz"):
        raise GentgError("bad_request", "The output ends with .jsonl or .npz.", file=args.out)
    if args.preview is not None and args.preview.suffix.lower() != ".mp4":
        raise GentgError("bad_request", "The preview ends with .mp4.", file=args.preview)
    for path in (args.out, args.preview):
        if path is not None and not path.absolute().parent.is_dir():
            raise GentgError(
                "not_writable",
                "The folder does not exist.",
                file=path,
                hint="Make it, or choose another with -o.",
            )
    out: list = []
    if args.udp is not None:
        host, _, port = args.udp.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise GentgError(
                "bad_request",
                f"--udp wants HOST:PORT, not '{args.udp}'.",
                hint="For example --udp 127.0.0.1:9763",
            )
        out.append(sinks.Datagrams(stream, host.strip("[]"), int(port)))
    if suffix is None:
        out.insert(0, sinks.JsonLines(stream, terminal.out, stopped))
    elif suffix == ".jsonl":
        out.insert(0, sinks.LinesFile(stream, args.out, stopped))
    else:
        out.append(sinks.Recording(stream, args.out))
    if args.preview is not None:
        out.append(sinks.Preview(stream, args.preview))
    return out


def _in_thread(work, stopped: threading.Event) -> Any:
    """Run `work()`; Ctrl-C then ends it between two frames, so that everything written is whole."""
    done: dict[str, Any] = {}

    def target() -> None:
        try:
            done["value"] = work()
        except BaseException as error:  # passed on to the caller's thread
            done["error"] = error
        finally:
            finished.set()

    finished = threading.Event()
    threading.Thread(target=target, name="gentg-live-lift").start()
    while not finished.is_set():
        try:
            finished.wait(0.1)  # not join(): interrupted, it takes a running thread for an ended one
        except KeyboardInterrupt:
            stopped.set()
    if "error" in done:
        raise done["error"]
    return done["value"]
