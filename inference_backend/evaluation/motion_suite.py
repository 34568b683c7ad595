"""Held-out motion capture, filmed by random cameras and seen by a modelled detector, at known focal length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINTS
from inference_backend.evaluation.lift_suite import LiftCase
from inference_backend.evaluation.poses import Camera, Reference
from inference_backend.evaluation.unseen_noise import detect_unseen
from inference_backend.keypoints.track import KeypointTrack
from inference_backend.networks.tgt import FAMILIES
from inference_backend.training.config import GeneratorConfig, as_recorded
from inference_backend.training.generator import Batch, Generator
from inference_backend.training.motion import MotionClip
from inference_backend.training.setup import motion_of

# What the generator does to exact projections, by name.
NOISE: dict[str, dict[str, float]] = {
    "clean": dict(noise=0.0, occlusion=0.0, swap=0.0, frame_drop=0.0),
    "detector": dict(noise=1.0, fault_free=0.0),
    "open": dict(noise=1.0, occlusion=0.0, fault_free=0.0),  # nothing but the body itself hides joints
    "unseen": dict(noise=0.0, occlusion=0.0, swap=0.0, frame_drop=0.0),  # unseen_noise.py makes the errors
    "poor": dict(noise=2.0, occlusion=0.9, swap=0.3, frame_drop=0.3, fault_free=0.0),
}
FRAMES = 64  # of a film
BATCH = 16  # films generated at once
_IMAGE_SIZE = (1920, 1080)
_FOCAL = 1600.0  # pixels; any value does, since what is lifted is divided by it again


@dataclass(frozen=True)
class MotionCase:
    """One cell of the table."""

    layout: str = "blazepose33"
    noise: str = "detector"
    rate: float = 30.0

    def __post_init__(self) -> None:
        if self.layout not in FAMILIES:
            raise GentgError(
                "bad_request",
                f"The layout {self.layout!r} is unknown.",
                hint=f"Known: {', '.join(FAMILIES)}.",
            )
        if self.noise not in NOISE:
            raise GentgError(
                "bad_request",
                f"The noise level {self.noise!r} is unknown.",
                hint=f"Known: {', '.join(NOISE)}.",
            )
        if not 1.0 <= self.rate <= 240.0:
            raise GentgError("bad_request", "A frame rate lies between 1 and 240.")


def held_out(path: str | Path, subjects: tuple[str, ...]) -> list[MotionClip]:
    """The clips of `subjects` in a motion file. Raises GentgError."""
    clips = motion_of(path)
    known = {c.subject for c in clips}
    if unknown := sorted(set(subjects) - known):
        raise GentgError(
            "bad_request",
            f"The motion file has no subject {', '.join(unknown)}.",
            file=path,
            hint=f"It has {', '.join(sorted(known))}.",
        )
    return [c for c in clips if c.subject in subjects]


def motion_cases(
    clips: list[MotionClip], case: MotionCase, count: int, *, frames: int = FRAMES, seed: int = 0
) -> Iterator[LiftCase]:
    """`count` films of `case`, the same for the same seed, grouped by layout, noise and rate."""
    for _, cases in motion_films(clips, case, count, frames=frames, seed=seed):
        yield from cases


def motion_films(clips: list[MotionClip], case: MotionCase, count: int, *, frames: int = FRAMES,
                 seed: int = 0) -> Iterator[tuple[Batch, list[LiftCase]]]:  # fmt: skip
    """The same films as batches of the generator, on the CPU, each with its clips one by one.

    Bodies have their subject's own proportions at the generator's standard height, motion its own speed.
    """
    config = replace(as_recorded(GeneratorConfig()), frames=frames, frame_rates=[case.rate], speed_spread=0.0,
                     body_spread=0.0, focal_error=0.0, **NOISE[case.noise])  # fmt: skip
    generator = Generator(clips, config, torch.device("cpu"), seed)
    groups = {"layout": case.layout, "noise": case.noise, "rate": f"{case.rate:g}"}
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        batch = generator.batch(size, torch.full((size,), FAMILIES.index(case.layout)))
        if case.noise == "unseen":
            batch = detect_unseen(batch, seed + start)
        label = f"{case.layout} {case.noise} {case.rate:g} fps"
        yield batch, [_case(batch, i, f"{label} #{start + i}", case, groups) for i in range(size)]


def _case(batch: Batch, i: int, label: str, case: MotionCase, groups: dict[str, str]) -> LiftCase:
    K = np.array([[_FOCAL, 0, _IMAGE_SIZE[0] / 2], [0, _FOCAL, _IMAGE_SIZE[1] / 2], [0, 0, 1.0]])
    confidence = batch.confidence[i].double().numpy()
    pixels = batch.points[i].double().numpy() * _FOCAL + K[:2, 2]
    keypoints = np.concatenate([np.where(confidence[..., None] > 0, pixels, 0.0), confidence[..., None]], -1)
    times = batch.times[i].double().numpy()
    count = len(times)
    frames, seen = np.arange(count), (confidence > 0).any(1)
    track = KeypointTrack(keypoints, case.layout, times, frames, seen, _IMAGE_SIZE, case.rate)
    # The camera is the world here: the truth comes in camera axes, and feet are not scored.
    still = Camera(np.repeat(np.eye(3)[None], count, 0), np.zeros((count, 3)), K, None, _IMAGE_SIZE)
    truth = batch.xyz[i].double().numpy()
    return LiftCase(track, K, Reference(JOINTS, truth, times, frames, still, label, None, dict(groups)))
