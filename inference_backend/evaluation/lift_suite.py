"""Lifting from 2D alone, scored: cases from any dataset, any number of methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from gentg_blender.core.skeleton import JOINTS
from inference_backend.evaluation.poses import Poses, Reference
from inference_backend.evaluation.score import Score, score
from inference_backend.keypoints.track import KeypointTrack
from inference_backend.lifting.lifted import Lifted

# Keypoints and intrinsics in, one result a method out, e.g. {"TGT": ..., "TGT + GPC": ...}.
Lift = Callable[[KeypointTrack, np.ndarray], dict[str, Lifted]]


@dataclass
class LiftCase:
    """One clip's 2D and its truth. `reference.groups` says what tables sort by (subject, action, layout, ...)."""

    track: KeypointTrack
    K: np.ndarray  # (3, 3)
    reference: Reference


def score_lifts(
    cases: Iterable[LiftCase], lift: Lift, joints: tuple[str, ...], *, root: str = "hips",
    done: Callable[[int], None] | None = None,
) -> dict[str, list[Score]]:  # fmt: skip
    """Method -> one Score a case. References without a floor: feet are not scored."""
    out: dict[str, list[Score]] = {}
    for number, case in enumerate(cases, 1):
        for method, lifted in lift(case.track, case.K).items():
            xyz = np.where(case.track.seen[:, None, None], lifted.joints + lifted.root[:, None], np.nan)
            poses = Poses(JOINTS, xyz, case.track.timestamps, case.track.frames, True, lifted.sigma)
            out.setdefault(method, []).append(score(poses, case.reference, joints, root=root, feet=False))
        if done:
            done(number)
    return out
