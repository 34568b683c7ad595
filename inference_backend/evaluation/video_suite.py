"""From video files to scores: the whole pipeline on clips with a reference, beside the detector's own 3D."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gentg_blender.core.contract import GentgError
from inference_backend.evaluation.poses import Poses, Reference
from inference_backend.evaluation.readers import read_poses, read_reference
from inference_backend.evaluation.report import mean_score
from inference_backend.evaluation.score import Score, score

OURS, BASELINE = "GenTG", "MediaPipe 3D"

# metric -> (limit, True: a ratio of our mean to the baseline's; False: our mean itself), as the product promises.
LIMITS: dict[str, tuple[float, bool]] = {
    "mpjpe": (0.75, True), "p_mpjpe": (0.75, True), "accel_error": (10.0, False), "skate": (0.4, False),
    "bone_std": (0.05, False), "swap": (0.0, False),
}  # fmt: skip


@dataclass(frozen=True)
class VideoCase:
    """A clip, its reference and the camera in it; `baseline`: another system's result file, if there is one."""

    video: Path
    reference: Path
    camera: str | None = None
    baseline: Path | None = None

    @property
    def name(self) -> str:
        return self.video.stem if self.camera is None else f"{self.video.parent.name}/{self.camera}"


def find_cases(folder: str | Path) -> list[VideoCase]:
    """Every clip below `folder` that has a reference beside it. Raises GentgError when there is none.

    Two forms: NAME/NAME.mp4 with NAME/gt.npz, and CAMERA.mp4 with reference_3d.npz whose cameras have those names.
    A result of another system is looked for in baselines/mediapipe/NAME.npz beside NAME/.
    """
    folder, cases = Path(folder), []
    for path in sorted(folder.rglob("gt.npz")):
        video = path.parent / f"{path.parent.name}.mp4"
        if video.is_file():
            other = path.parent.parent / "baselines" / "mediapipe" / f"{video.stem}.npz"
            cases.append(VideoCase(video, path, None, other if other.is_file() else None))
    for path in sorted(folder.rglob("reference_3d.npz")):
        with np.load(path, allow_pickle=False) as z:
            cameras = z["cam_names"].tolist()
        cases += [
            VideoCase(path.parent / f"{c}.mp4", path, c)
            for c in cameras
            if (path.parent / f"{c}.mp4").is_file()
        ]
    if not cases:
        raise GentgError(
            "no_such_file",
            "The folder holds no clip with a reference.",
            file=folder,
            hint="A clip lies beside its gt.npz or reference_3d.npz.",
        )
    return cases


def run_cases(cases: list[VideoCase], estimate: Callable[[VideoCase, Reference], Path],
              baseline: Callable[[VideoCase], Poses]) -> Iterator[tuple[VideoCase, dict[str, Score]]]:  # fmt: skip
    """Score each case: `estimate` gives our capture file, `baseline` the detector's own 3D where no file has it."""
    for case in cases:
        reference = read_reference(case.reference, case.camera)
        reference.clip = case.name
        other = read_poses(case.baseline) if case.baseline else baseline(case)
        yield (
            case,
            {
                OURS: score(read_poses(estimate(case, reference)), reference),
                BASELINE: score(other, reference),
            },
        )


@dataclass(frozen=True)
class Verdict:
    """One promise and whether it holds for `about`, a clip or a set of clips."""

    about: str
    metric: str
    value: float
    limit: float
    is_ratio: bool

    @property
    def holds(self) -> bool:
        return bool(self.value <= self.limit)  # False for NaN

    def __str__(self) -> str:
        what = f"{self.metric} {'/ ' + BASELINE if self.is_ratio else ''}".strip()
        return f"{'met   ' if self.holds else 'MISSED'}  {self.about}: {what} {self.value:.3g} (at most {self.limit:g})"


def suite_verdicts(cases: list[VideoCase], ours: list[Score], theirs: list[Score]) -> list[Verdict]:
    """The promises of LIMITS: on the mean of the clips with a gt.npz, and for every camera of a real scene alone."""
    together = [i for i, case in enumerate(cases) if case.camera is None]
    groups = {"mean of the clips with exact truth": together} if together else {}
    groups |= {case.name: [i] for i, case in enumerate(cases) if case.camera is not None}
    return [
        v
        for name, at in groups.items()
        for v in verdicts([ours[i] for i in at], [theirs[i] for i in at], name)
    ]


def verdicts(ours: list[Score], theirs: list[Score], about: str = "mean") -> list[Verdict]:
    """The promises of LIMITS, on means over clips."""
    out = []
    for metric, (limit, is_ratio) in LIMITS.items():
        value = mean_score(ours).values.get(metric, np.nan)
        if is_ratio:
            value /= mean_score(theirs).values[metric]
        out.append(Verdict(about, metric, value, limit, is_ratio))
    return out
