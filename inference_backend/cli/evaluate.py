"""gentg evaluate: score captures, the pipeline or the networks against references."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentg_blender.core.contract import EstimateSettings, GentgError

from . import motion_studies
from .terminal import Terminal, with_terminal

if TYPE_CHECKING:
    import numpy as np

    from inference_backend.evaluation.lift_suite import Lift
    from inference_backend.evaluation.poses import Poses, Reference
    from inference_backend.evaluation.score import Score
    from inference_backend.evaluation.video_suite import VideoCase
    from inference_backend.keypoints.track import KeypointTrack
    from inference_backend.lifting.lifted import Lifted

HELP = """\
Score captures, the whole pipeline or the networks against a reference. Lengths in mm, speeds in m/s.

  gentg evaluate --pair walk.npz gt.npz                 one result against one reference
  gentg evaluate --pair walk.npz reference_3d.npz --camera cam01
  gentg evaluate --video-suite videos/                  estimate every clip that has a reference, beside MediaPipe's own 3D
  gentg evaluate --motion cmu_mocap.npz                 held-out motion, random cameras, modelled detectors
  gentg evaluate --motion cmu_mocap.npz --hidden-limbs  GPC on and off on limbs hidden for a while, by threshold
  gentg evaluate --motion cmu_mocap.npz --coverage      is the uncertainty true, also on noise unlike the training's
  gentg evaluate --motion cmu_mocap.npz --networks runs/compare/samples/*    trained runs beside the shipped networks
  gentg evaluate --h36m data_3d_h36m.npz data_2d_h36m_gt.npz --cameras cameras.json
  gentg evaluate --mpi3dhp data_test_3dhp.npz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to evaluate (one of)").add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--pair",
        nargs=2,
        type=Path,
        metavar=("RESULT.npz", "REFERENCE.npz"),
        help="a result file and its reference",
    )
    what.add_argument(
        "--video-suite",
        type=Path,
        metavar="DIR",
        help="a folder of clips with gt.npz or reference_3d.npz beside them",
    )
    what.add_argument("--motion", type=Path, metavar="FILE.npz", help="motion capture in the training format")
    what.add_argument(
        "--h36m",
        nargs=2,
        type=Path,
        metavar=("DATA_3D.npz", "DATA_2D.npz"),
        help="Human3.6M as VideoPose3D prepares it",
    )
    what.add_argument(
        "--mpi3dhp",
        type=Path,
        metavar="PATH",
        help="data_test_3dhp.npz or the folder with TS1/annot_data.mat",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--camera", metavar="NAME", help="--pair: which of the reference's cameras filmed the result"
    )
    how.add_argument(
        "--known-focal", action="store_true", help="--video-suite: give the clip's true focal length"
    )
    how.add_argument("--clips", nargs="+", metavar="NAME", help="--video-suite: only these clips")
    how.add_argument("--keep", type=Path, metavar="DIR", help="--video-suite: keep the capture files there")
    how.add_argument(
        "--check", action="store_true", help="--video-suite: exit code 1 unless every promised limit is met"
    )
    how.add_argument(
        "--subjects", nargs="+", metavar="ID", help="--motion: subjects (default: those held out of training)"
    )
    how.add_argument(
        "--layouts", nargs="+", default=["blazepose33"], metavar="NAME", help="--motion: detector layouts"
    )
    how.add_argument("--noise", nargs="+", metavar="LEVEL", help="--motion: clean, detector, poor, open (detector "
                     "without things in the way), unseen (another noise model); default: clean detector, or as the study says")  # fmt: skip
    how.add_argument(
        "--rates", nargs="+", type=float, default=[30.0], metavar="FPS", help="--motion: frame rates"
    )
    how.add_argument(
        "--count", type=int, default=64, metavar="N", help="--motion: films of each kind (default: 64)"
    )
    how.add_argument(
        "--cameras", type=Path, metavar="FILE.json", help="--h36m: the dataset's camera calibration"
    )
    how.add_argument(
        "--joints", type=int, choices=(16, 17), default=17, help="--h36m: 17 joints, or 16 without the nose"
    )
    how.add_argument("--correction", type=float, metavar="AMOUNT", help="amount of GPC's correction, 0 to 1 (default: "
                     f"{EstimateSettings().correction:g}; 1 for --hidden-limbs and --networks)")  # fmt: skip
    how.add_argument(
        "--quality", choices=("fast", "balanced", "best"), default="balanced", help="of the lift"
    )
    how.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="for the networks"
    )
    motion_studies.add_arguments(parser)
    out = parser.add_argument_group("output")
    out.add_argument("--all-metrics", action="store_true", help="every metric instead of the usual ones")
    out.add_argument("--per-joint", action="store_true", help="also a table by joint")
    out.add_argument("--json", type=Path, metavar="FILE", help="write everything for programs")
    out.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    out.add_argument("-q", "--quiet", action="store_true", help="no progress, only the tables")


def run(args: argparse.Namespace) -> int:
    return with_terminal("evaluate", lambda terminal: _run(args, terminal), quiet=args.quiet)


def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    from inference_backend.evaluation import report

    study = motion_studies.chosen(args)
    if args.correction is None:
        args.correction = 1.0 if study in ("hidden_limbs", "networks") else EstimateSettings().correction
    if study:
        content, tables, code = motion_studies.run(study, args, _settings(args), terminal)
    else:
        suite = _pair if args.pair else _video_suite if args.video_suite else _lift_suite
        methods, tables, code = suite(args, terminal)
        content = report.as_json(methods)
    text = "\n\n".join(tables)
    print(text, file=terminal.out)
    if args.markdown:
        report.write(args.markdown, text)
    if args.json:
        report.write(args.json, content)
    return code


_Result = tuple[dict[str, "list[Score]"], list[str], int]


def _metrics(args: argparse.Namespace) -> tuple[str, ...]:
    from inference_backend.evaluation.report import METRICS, SHORT

    return tuple(METRICS) if args.all_metrics else SHORT


def _tables(methods: dict[str, list[Score]], args: argparse.Namespace, group: str) -> list[str]:
    """For each method a table by `group` with the mean, and if wanted one by joint."""
    from inference_backend.evaluation.report import joint_table, mean_score, table

    out, means = [], []
    for method, scores in methods.items():
        mean = mean_score(scores)
        means.append((method, mean))
        rows = [(s.groups[group], s) for s in scores]
        out.append(
            f"{method}\n\n" + table(rows + ([("mean", mean)] if len(rows) > 1 else []), _metrics(args), group)
        )
    if args.per_joint:
        out += [joint_table(means, "mpjpe"), joint_table(means, "p_mpjpe")]
    return out


def _pair(args: argparse.Namespace, _terminal: Terminal) -> _Result:
    from inference_backend.evaluation.readers import read_poses, read_reference
    from inference_backend.evaluation.score import score

    result, reference = args.pair
    methods = {result.name: [score(read_poses(result), read_reference(reference, args.camera))]}
    return methods, _tables(methods, args, "clip"), 0


def _settings(args: argparse.Namespace, **more: Any) -> EstimateSettings:
    return EstimateSettings.from_dict(
        {"correction": args.correction, "quality": args.quality, "device": args.device, **more}
    )


def _video_suite(args: argparse.Namespace, terminal: Terminal) -> _Result:
    import tempfile

    from inference_backend.evaluation.video_suite import BASELINE, OURS, find_cases, run_cases, suite_verdicts
    from inference_backend.pipeline.estimate import Estimator
    from inference_backend.pipeline.outputs import Outputs
    from inference_backend.pipeline.reporter import Reporter

    cases = find_cases(args.video_suite)
    if args.clips:
        unknown = set(args.clips) - {c.name for c in cases}
        if unknown:
            raise GentgError(
                "bad_request",
                f"There is no clip {', '.join(sorted(unknown))}.",
                file=args.video_suite,
                hint=f"There are {', '.join(c.name for c in cases)}.",
            )
        cases = [c for c in cases if c.name in args.clips]
    estimator = Estimator()
    with tempfile.TemporaryDirectory(prefix="gentg-") as temporary:
        folder = args.keep or Path(temporary)

        def estimate(case: VideoCase, reference: Reference) -> Path:
            known = {"focal_px": float(reference.camera.K[0, 0])} if args.known_focal else {}
            capture = folder / f"{case.name.replace('/', '_')}.npz"
            with terminal.progress(case.name) as listener:
                estimator.estimate(
                    case.video,
                    Outputs(capture),
                    _settings(args, **known),
                    Reporter(listener, terminal.cancelled),
                )
            return capture

        def baseline(case: VideoCase) -> Poses:
            return _detector_3d(case.video, estimator.detector(_settings(args)), terminal)

        methods: dict[str, list[Score]] = {OURS: [], BASELINE: []}
        for _, scores in run_cases(cases, estimate, baseline):
            for method, value in scores.items():
                methods[method].append(value)
    found = suite_verdicts(cases, methods[OURS], methods[BASELINE])
    tables = _tables(methods, args, "clip") + ["\n".join(map(str, found))]
    return methods, tables, int(args.check and not all(v.holds for v in found))


def _detector_3d(video: Path, detector: Any, terminal: Terminal) -> Poses:
    """What the detector itself says in 3D, as add-ons that use nothing else would show it."""
    import numpy as np

    from gentg_blender.core.skeleton import JOINTS
    from inference_backend.evaluation.poses import Poses
    from inference_backend.keypoints.detect import detect_video
    from inference_backend.pipeline.reporter import Reporter

    with terminal.progress(f"{video.name}, detector alone") as listener:
        track = detect_video(video, detector, None, None, Reporter(listener, terminal.cancelled))
    if track.world is None:
        raise GentgError("internal", "The detector gives no 3D of its own.", file=video)
    world = np.where(track.seen[:, None, None], track.world, np.nan)
    return Poses(JOINTS, world, track.timestamps, track.frames, absolute=False)


def _lift_suite(args: argparse.Namespace, terminal: Terminal) -> _Result:
    from gentg_blender.core.skeleton import MAIN_JOINTS
    from inference_backend.evaluation import h36m, motion_suite, mpi3dhp
    from inference_backend.evaluation.lift_suite import score_lifts
    from inference_backend.evaluation.report import grouped
    from inference_backend.training.config import DataConfig

    joints, root, group = MAIN_JOINTS, "pelvis", "action"
    if args.motion:
        root, group = "hips", "kind"
        clips = motion_suite.held_out(args.motion, tuple(args.subjects or DataConfig().held_out_subjects))
        kinds = [
            motion_suite.MotionCase(la, no, ra)
            for la in args.layouts
            for no in args.noise or ["clean", "detector"]
            for ra in args.rates
        ]
        cases = (
            c for kind in kinds for c in motion_suite.motion_cases(clips, kind, args.count, seed=args.seed)
        )
    elif args.h36m:
        if args.cameras is None:
            raise GentgError(
                "bad_request",
                "Human3.6M needs its camera calibration.",
                hint="Give it with --cameras FILE.json",
            )
        cases = h36m.h36m_cases(*args.h36m, args.cameras, joints=args.joints)
        joints = h36m.JOINTS_16 if args.joints == 16 else h36m.JOINTS_17
    else:
        cases, group = mpi3dhp.mpi3dhp_cases(args.mpi3dhp), "sequence"
    methods = score_lifts(
        cases,
        _lifter(args),
        joints,
        root=root,
        done=lambda n: terminal.say(f"{n} clips") if n % 32 == 0 else None,
    )
    if args.motion:
        for scores in methods.values():
            for s in scores:
                s.groups["kind"] = f"{s.groups['layout']}, {s.groups['noise']}, {s.groups['rate']} fps"
    by_group = {m: grouped(scores, group, by_frames=True) for m, scores in methods.items()}
    return methods, _tables(by_group, args, group), 0


def _lifter(args: argparse.Namespace) -> Lift:
    from inference_backend.lifting.lifter import Lifter

    lifter = Lifter(_settings(args))

    def lift(track: KeypointTrack, K: np.ndarray) -> dict[str, Lifted]:
        result = lifter.lift(track, K)
        out = {"TGT": result.tgt}
        if args.correction > 0:
            out["TGT + GPC"] = result.corrected
        return out

    return lift
