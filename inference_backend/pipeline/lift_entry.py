"""A lift as one cache file: both `Lifted`, the weights' hashes and the warnings."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from inference_backend.lifting.lifted import Lifted
from inference_backend.lifting.lifter import LiftResult

_PARTS = ("tgt", "corrected")


def save_lift(result: LiftResult, path: Path) -> None:
    """Write to `path`."""
    arrays = {f"{part}.{f.name}": getattr(getattr(result, part), f.name) for part in _PARTS for f in fields(Lifted)}
    notes = json.dumps({"weights": result.weights, "warnings": result.warnings})
    with open(path, "wb") as stream:
        np.savez(stream, notes=np.array(notes), **arrays)


def load_lift(path: Path) -> LiftResult:
    """Read from `path`; raises whatever a damaged file makes numpy raise."""
    with np.load(path, allow_pickle=False) as archive:
        notes = json.loads(str(archive["notes"]))
        parts = {part: Lifted(**{f.name: archive[f"{part}.{f.name}"] for f in fields(Lifted)}) for part in _PARTS}
    return LiftResult(**parts, weights=notes["weights"], warnings=notes["warnings"])
