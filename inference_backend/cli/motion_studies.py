"""Studies of `gentg evaluate --motion`: hidden limbs, uncertainty, networks side by side, live lifting. Each gives content for
JSON, markdown texts and the exit code."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gentg_blender.core.contract import EstimateSettings, GentgError

from .terminal import Terminal

STUDIES = ("hidden_limbs", "coverage", "networks", "live")
Study = tuple[dict[str, Any], list[str], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("studies of --motion (one of)").add_mutually_exclusive_group()
    group.add_argument("--hidden-limbs", action="store_true", help="hide an arm or both legs for 0.3 to 1 s: TGT, TGT "
                       "+ low-pass, TGT + GPC at several thresholds")  # fmt: skip
    group.add_argument("--coverage", action="store_true", help="is the uncertainty true, with a noise model that "
                       "nothing was trained on and with the training's own")  # fmt: skip
    group.add_argument("--networks", nargs="*", type=Path, metavar="RUN", help="the shipped networks beside those of "
                       "training runs (folders with checkpoint.pt): errors, size, MACs, time")  # fmt: skip
    group.add_argument("--live", action="store_true", help="lifting live, each frame from the past alone, beside "
                       "lifting offline")  # fmt: skip
    how = parser.add_argument_group("how to study")
    how.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed makes other films (default: 0)"
    )
    how.add_argument("--thresholds", nargs="+", type=float, metavar="M", help="--hidden-limbs: uncertainty in metres from "
                     "which GPC resamples a joint (default: several, and the one in use)")  # fmt: skip
    how.add_argument(
        "--runs",
        type=int,
        default=15,
        metavar="N",
        help="--networks: repetitions of the timing, 0 to leave it out",
    )


def chosen(args: argparse.Namespace) -> str | None:
    """The study asked for. Raises GentgError for one without motion."""
    asked = [s for s in STUDIES if getattr(args, s) not in (None, False)]
    if asked and not args.motion:
        raise GentgError("bad_request", f"--{asked[0].replace('_', '-')} needs --motion FILE.npz")
    return asked[0] if asked else None


def run(study: str, args: argparse.Namespace, settings: EstimateSettings, terminal: Terminal) -> Study:
    """Raises GentgError."""
    studies = {"hidden_limbs": _hidden_limbs, "coverage": _coverage, "networks": _networks, "live": _live}
    return studies[study](args, settings, terminal)


def _subjects(args: argparse.Namespace) -> tuple[str, ...]:
    from inference_backend.training.config import DataConfig

    return tuple(args.subjects or DataConfig().held_out_subjects)


def _one(args: argparse.Namespace) -> dict[str, Any]:
    """Layout and frame rate, of which a study takes one."""
    if len(args.layouts) > 1 or len(args.rates) > 1:
        raise GentgError("bad_request", "A study takes one layout and one frame rate.")
    return {"layout": args.layouts[0], "rate": args.rates[0]}


def _one_noise(args: argparse.Namespace, default: str) -> str:
    noises = args.noise or [default]
    if len(noises) > 1:
        raise GentgError("bad_request", "This study takes one noise level.")
    return noises[0]


def _hidden_limbs(args: argparse.Namespace, settings: EstimateSettings, terminal: Terminal) -> Study:
    from inference_backend.evaluation import hidden_limbs, motion_suite

    if settings.correction <= 0:
        raise GentgError("bad_request", "--hidden-limbs compares with GPC: --correction must be above 0.")
    noise = _one_noise(args, "open")
    case = motion_suite.MotionCase(noise=noise, **_one(args))
    clips = motion_suite.held_out(args.motion, _subjects(args))
    films = list(
        motion_suite.motion_cases(clips, case, args.count, frames=hidden_limbs.FRAMES, seed=args.seed)
    )
    cases = hidden_limbs.hide_limbs(films, args.seed)
    thresholds = tuple(args.thresholds or hidden_limbs.THRESHOLDS)
    figures = hidden_limbs.compare(cases, settings, thresholds, terminal.say)
    found = hidden_limbs.verdicts(figures)
    about = hidden_limbs.describe(cases, settings) | {"noise": noise, "seed": args.seed, **_one(args)}
    parts = ", ".join(f"{n} x {part}" for part, n in about["hidden_parts"].items())
    text = (
        f"{about['clips']} clips of {hidden_limbs.FRAMES} frames of held-out people, noise '{noise}', seed {args.seed}; hidden for "
        f"0.3 to 1 s: {parts}.\nThe low-pass is tuned on the first half of the clips; figures are of the other "
        f"{about['reported']}, 17 main joints, correction {settings.correction:g}."
    )
    content = {"about": about, "figures": [asdict(f) for f in figures], "verdicts": found}
    return content, [text, hidden_limbs.table(figures), "\n".join(found)], 0


def _coverage(args: argparse.Namespace, settings: EstimateSettings, terminal: Terminal) -> Study:
    from inference_backend.evaluation import coverage, motion_suite
    from inference_backend.lifting.lifter import Lifter

    clips = coverage.not_calibrated_on(motion_suite.held_out(args.motion, _subjects(args)))
    lifter = Lifter(replace(settings, correction=0.0))
    pools = []
    for noise in args.noise or ["clean", "detector", "unseen"]:
        terminal.say(f"noise '{noise}'")
        case = motion_suite.MotionCase(noise=noise, **_one(args))
        films = motion_suite.motion_cases(clips, case, args.count, seed=args.seed)
        pools.append(coverage.pool(noise, films, lifter))
    found = [line for p in pools if p.noise == "unseen" for line in coverage.verdicts(p)]
    text = (
        f"TGT's uncertainty on {args.count} films for each noise model, of those held-out clips that did not calibrate it, seed "
        f"{args.seed}; 16 main joints from the pelvis.\n'unseen' is evaluation/unseen_noise.py, which nothing was trained on."
    )
    content = {"about": {"films": args.count, "seed": args.seed, **_one(args)},
               "noise": {p.noise: p.values | {"radii": p.radii} for p in pools}, "verdicts": found}  # fmt: skip
    return (
        content,
        [
            text,
            coverage.table(pools),
            coverage.radius_table(pools),
            coverage.joint_table(pools),
            "\n".join(found),
        ],
        0,
    )


def _networks(args: argparse.Namespace, settings: EstimateSettings, terminal: Terminal) -> Study:
    from inference_backend.evaluation import candidates, network_table

    found = candidates.shipped(settings.correction)
    names = [folder.name for folder in args.networks]
    for folder, name in zip(args.networks, names, strict=True):
        label = str(folder) if names.count(name) > 1 or name in ("TGT", "TGT + GPC") else name
        found += candidates.of_run(folder, args.motion, label, settings.correction)
    films = network_table.films_of(args.motion, _subjects(args), args.noise or ["clean", "detector"], args.count,
                                   seed=args.seed, **_one(args))  # fmt: skip
    rows = []
    for candidate in found:
        terminal.say(candidate.label)
        rows.append(network_table.row_of(candidate, films))
    if args.runs > 0:
        terminal.say("time")
        network_table.add_costs(rows, found, args.runs)
    about = {"films": args.count, "seed": args.seed, "correction": settings.correction, **_one(args)}
    return (
        {"about": about, "networks": network_table.as_json(rows)},
        [network_table.network_table(rows), network_table.NOTES],
        0,
    )


def _live(args: argparse.Namespace, settings: EstimateSettings, terminal: Terminal) -> Study:
    from inference_backend.evaluation import live_study, motion_suite

    noise = _one_noise(args, "detector")
    case = motion_suite.MotionCase(noise=noise, **_one(args))
    clips = motion_suite.held_out(args.motion, _subjects(args))
    films = list(motion_suite.motion_cases(clips, case, args.count, frames=live_study.FRAMES, seed=args.seed))
    rows = live_study.compare(films, replace(settings, correction=0.0), terminal.say)
    about = {"films": args.count, "noise": noise, "seed": args.seed, **_one(args)}
    text = (
        f"{args.count} films of {live_study.FRAMES} frames of held-out people, noise '{noise}', seed {args.seed}, known focal "
        f"length, 17 main joints from the pelvis, the first {live_study.WARM_UP:g} s left out."
    )
    return {"about": about, "figures": [asdict(r) for r in rows]}, [text, live_study.table(rows)], 0
