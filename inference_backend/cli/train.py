"""gentg train: train a network, resuming an interrupted run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gentg_blender.core.contract import GentgError

from .terminal import Terminal, with_terminal

HELP = """\
Train a network on motion capture: the run's folder holds its checkpoint and TensorBoard log.

An interrupted run goes on where it stopped when the same command is given again. Settings stand in a YAML file
(configs/train/) and can be overridden: gentg train tgt --config configs/train/tgt_cpu.yaml --set optim.minutes=10
On several GPUs: torchrun --nproc-per-node N -m inference_backend train ...

  gentg train compare --config configs/train/compare.yaml

trains TGT, GPC, every baseline and TGT's ablations from scratch on equal samples and equal time, at low priority, skips
what is done, and writes report.md and report.json into the comparison's folder after every run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("tgt", "gpc", "e2e", "baseline", "compare"),
                        help="what to train")  # fmt: skip
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="settings that replace the file's, such as optim.minutes=10",
    )
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="settings; without it the defaults of the code"
    )
    parser.add_argument(
        "--ship", type=Path, metavar="DIR", help="afterwards write the weights and their hashes there"
    )
    parser.add_argument("--profile", type=Path, metavar="FILE", help="time 5 steps with PyTorch's profiler, write its "
                        "table there, and stop")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    return with_terminal("train", lambda terminal: _run(args, terminal))


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    if args.kind == "compare":
        return _compare(args, terminal)
    from inference_backend.training import builders
    from inference_backend.training.config import load_config
    from inference_backend.training.ship import ship

    config = load_config(args.config, [*args.overrides, f"kind={args.kind}"])
    runner = builders.build(config)
    if args.profile:
        args.profile.write_text(builders.profile(runner), encoding="utf-8")
        terminal.say(f"Profile: {args.profile}")
        return 0
    if runner.step:
        terminal.say(f"Going on at step {runner.step}.")
    figures = runner.run(terminal.err)
    terminal.say(f"{config.name}: {runner.step} steps in {runner.seconds / 60:.1f} minutes. "
                 + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))  # fmt: skip
    if args.ship:
        for name, digest in ship(runner.folder, args.ship, Path(config.data.motion)).items():
            terminal.say(f"{name}.safetensors {digest}")
    return 0


def _compare(args: argparse.Namespace, terminal: Terminal) -> int:
    from inference_backend.evaluation.comparison import Comparison
    from inference_backend.training.compare import load_compare, plan, train

    if args.ship or args.profile:
        raise GentgError("bad_request", "--ship and --profile are for one network, not for compare.")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise GentgError("bad_request", "compare runs in one process.", hint="Start it without torchrun.")
    config = load_compare(args.config, args.overrides)
    if hasattr(os, "nice"):
        os.nice(config.niceness)
    comparison, runs = Comparison(config), plan(config)
    for number, planned in enumerate(runs, 1):
        did = train(planned, lambda text, n=number: terminal.say(f"[{n}/{len(runs)}] {text}"))
        comparison.add(planned)
        if did:
            comparison.write()
    comparison.measure(runs, terminal.say)
    path = comparison.write()
    print(path.read_text(encoding="utf-8"), file=terminal.out)
    terminal.say(f"Report: {path}")
    return 0
