"""Detections, camera motions, lifts and lists of people as cache files, each with the warnings that came with it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gentg_blender.core.contract import PersonSeed
from inference_backend.keypoints.people import PeopleFound, Person
from inference_backend.keypoints.track import KeypointTrack, load_track, save_track
from inference_backend.lifting.lifted import Lifted
from inference_backend.video.camera_motion import CameraMotion

if TYPE_CHECKING:  # imports torch, which a cached detection does not need
    from inference_backend.lifting.lifter import LiftResult

_WARNINGS = "warnings.json"  # beside the arrays in a track's archive


def save_detection(track: KeypointTrack, warnings: list[str], path: Path) -> None:
    """Write to `path`."""
    save_track(path, track)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_WARNINGS, json.dumps(warnings))


def load_detection(path: Path) -> tuple[KeypointTrack, list[str]]:
    """Read from `path`; raises whatever a damaged file raises."""
    with zipfile.ZipFile(path) as archive:
        warnings = json.loads(archive.read(_WARNINGS))
    return load_track(path), warnings


def save_lift(result: LiftResult, path: Path) -> None:
    """Write to `path`."""
    arrays = {f"tgt.{f.name}": getattr(result.tgt, f.name) for f in fields(Lifted)}
    for f in fields(Lifted):  # what the correction left as it was is there already
        if getattr(result.corrected, f.name) is not getattr(result.tgt, f.name):
            arrays[f"corrected.{f.name}"] = getattr(result.corrected, f.name)
    notes = json.dumps(
        {"weights": result.weights, "warnings": result.warnings, "resampled": result.resampled}
    )
    with open(path, "wb") as stream:
        np.savez(stream, notes=np.array(notes), **arrays)


def load_lift(path: Path) -> LiftResult:
    """Read from `path`; raises whatever a damaged file makes numpy raise."""
    from inference_backend.lifting.lifter import LiftResult

    with np.load(path, allow_pickle=False) as archive:
        notes = json.loads(str(archive["notes"]))
        tgt = Lifted(**{f.name: archive[f"tgt.{f.name}"] for f in fields(Lifted)})
        changed = [f.name for f in fields(Lifted) if f"corrected.{f.name}" in archive]
        corrected = replace(tgt, **{name: archive[f"corrected.{name}"] for name in changed})
    return LiftResult(tgt, corrected, **notes)


def save_motion(motion: CameraMotion, path: Path) -> None:
    """Write to `path`."""
    with open(path, "wb") as stream:
        np.savez(stream, rotations=motion.rotations, confidence=motion.confidence)


def load_motion(path: Path) -> CameraMotion:
    """Read from `path`; raises whatever a damaged file makes numpy raise."""
    with np.load(path, allow_pickle=False) as archive:
        return CameraMotion(archive["rotations"], archive["confidence"])


def save_people(found: PeopleFound, path: Path) -> None:
    """Write to `path`."""
    notes = {
        "sampled": found.sampled,
        "image_size": found.image_size,
        "people": [p.to_dict() for p in found.people],
    }
    images = {f"thumbnail{i}": np.frombuffer(p.thumbnail, np.uint8) for i, p in enumerate(found.people)}
    with open(path, "wb") as stream:
        np.savez(stream, notes=np.array(json.dumps(notes)), **images)


def load_people(path: Path) -> PeopleFound:
    """Read from `path`; raises whatever a damaged file makes numpy raise."""
    with np.load(path, allow_pickle=False) as archive:
        notes = json.loads(str(archive["notes"]))
        people = [
            Person(
                p["share"],
                tuple(p["box"]),
                PersonSeed.from_dict(p["seed"]),
                archive[f"thumbnail{i}"].tobytes(),
            )
            for i, p in enumerate(notes["people"])
        ]
    return PeopleFound(people, notes["sampled"], tuple(notes["image_size"]))
