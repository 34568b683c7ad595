"""gentg benchmark."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .terminal import Terminal, with_terminal

HELP = """\
Measure every stage on this machine: CPU time per frame (all threads, median of several runs), the speed of the whole
run against the detector alone on frames that are already decoded, and peak memory. Nothing is cached or kept. Then
TGT and GPC beside published lifters: parameters, multiply-adds and wall time per frame of one window, on the CPU.

With --minutes the clip is repeated until it is that long, run through once, and memory is told along the way."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "clip", nargs="?", type=Path, metavar="CLIP", help="a video (default: the sample clip)"
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="repetitions (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="measure memory on a clip of this length instead"
    )
    parser.add_argument("--detector", default="mediapipe", metavar="NAME", help="as in gentg estimate")
    parser.add_argument("--quality", choices=("fast", "balanced", "best"), default="balanced")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.add_argument("--runtime", choices=("torch", "onnx"), default="torch")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only errors")


def run(args: argparse.Namespace) -> int:
    return with_terminal("benchmark", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from dataclasses import asdict

    from gentg_blender.core.contract import EstimateSettings, GentgError
    from inference_backend.pipeline.benchmark import measure, measure_memory
    from inference_backend.pipeline.folders import repository
    from inference_backend.pipeline.reporter import Reporter

    if args.runs < 1:
        raise GentgError("bad_request", "--runs must be at least 1")
    clip = args.clip or repository() / "samples" / "beam_walk.mp4"
    settings = EstimateSettings.from_dict(
        {"detector": args.detector, "quality": args.quality, "device": args.device, "runtime": args.runtime}
    )

    if args.minutes is not None:
        with terminal.progress(clip.name) as listener:
            figures = measure_memory(clip, settings, args.minutes, listener, terminal.cancelled)
        if args.json:
            print(json.dumps(figures, indent=2), file=terminal.out)
            return 0
        for minute, stage, memory in figures["memory"]:
            print(f"  {stage:<8} minute {minute:6.2f}   {memory / 1e6:7.0f} MB", file=terminal.out)
        print(f"{figures['frames']} frames, {figures['image_size'][0]}x{figures['image_size'][1]}: peak memory "
              f"{figures['peak_memory'] / 1e6:.0f} MB, {figures['frames'] / figures['seconds']:.1f} frames/s; from minute "
              f"{args.minutes / 10:g} to {args.minutes:g} of reading the clip, memory grows by {figures['growth'] / 1e6:.0f} MB",
              file=terminal.out)  # fmt: skip
        return 0

    from inference_backend.evaluation import candidates, cost  # needs torch, whose memory would count above

    def make_report() -> Reporter:
        return Reporter(cancelled=terminal.cancelled)

    figures = measure(
        clip, settings, args.runs, make_report, lambda i: terminal.say(f"run {i} of {args.runs}")
    )
    terminal.say("networks side by side")
    ours = [c for c in candidates.shipped() if c.label != "TGT, rigid"]  # which costs what TGT does
    costs = cost.measure([*ours, *candidates.untrained_baselines()], cost.any_window(), args.runs)
    if args.json:
        networks = {label: asdict(c) for label, c in costs.items()}
        print(json.dumps(figures | {"networks": networks}, indent=2), file=terminal.out)
        return 0
    say = lambda text: print(text, file=terminal.out)  # noqa: E731
    say(
        f"{figures['clip']}: {figures['frames']} frames, {figures['image_size'][0]}x{figures['image_size'][1]}, "
        f"{figures['cores']} cores, median of {args.runs} runs"
    )
    say("stage          CPU ms/frame")
    for stage, value in figures["cpu_ms_per_frame"].items():
        say(f"  {stage:<12} {value:10.2f}")
    say(f"  after detection (clean to write): {figures['after_detection_ms']:.2f} ms per frame")
    say(
        f"  TGT {figures['tgt_ms']:.2f} ms per frame, GPC {figures['gpc_ms']:.2f} ms per frame, "
        f"which drew {100 * figures['resampled']:.0f} % of the joints again"
    )
    say(f"detector alone on decoded frames: {figures['detector_fps']:.1f} frames/s")
    say(f"whole run: {figures['whole_fps']:.1f} frames/s, {figures['ratio']:.2f} times the detector alone")
    say(
        f"loading libraries and models, once: {figures['load_s']:.1f} s; peak memory {figures['peak_memory'] / 1e6:.0f} MB"
    )
    say(
        f"networks on one window of {cost.WINDOW} frames, batch 1, CPU; published lifters at their sizes, untrained:"
    )
    for line in cost.cost_lines(costs):
        say(line)
    gpc = costs["TGT + GPC"].ms_overlapped - costs["TGT"].ms_overlapped
    say(
        f"  overlapped by {cost.OVERLAP:.0%} TGT takes {costs['TGT'].ms_overlapped:.2f} ms per frame, and GPC {gpc:.2f} ms more with "
        f"{candidates.UNCERTAIN_SHARE:.0%} of the frames uncertain"
    )
    return 0
