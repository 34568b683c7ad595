"""How far a job is, in words for the bar, from the backend's own reports (nothing is made up here)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STAGE_TEXT = {
    "probe": "Opening the clip",
    "people": "Looking for people",
    "detect": "Finding the person",
    "camera": "Following the camera",
    "clean": "Cleaning the track",
    "lift": "Lifting to 3D",
    "correct": "Correcting",
    "solve": "Building the skeleton",
    "write": "Writing",
    "preview": "Rendering the preview",
    "blender": "Writing the Blender file",
}
_COUNTS_FRAMES = ("detect", "camera", "clean", "lift", "correct", "solve", "preview")


@dataclass
class Progress:
    """Feed `update` with progress messages; read `fraction`, `stage_text` and `detail`."""

    stage: str = ""
    done: int = 0
    total: int | None = None
    fraction: float = 0.0  # of the whole job, 0..1, never falls
    eta: float | None = None  # seconds left of the whole job, None when unknown

    def update(self, msg: dict[str, Any]) -> None:
        """Take in a `progress` message. Raises ValueError or TypeError for values of another kind."""
        self.stage = str(msg["stage"])
        self.done = int(msg["done"])
        self.total = None if msg.get("total") is None else int(msg["total"])
        self.fraction = max(self.fraction, min(float(msg.get("fraction") or 0.0), 1.0))
        self.eta = None if msg.get("eta") is None else max(float(msg["eta"]), 0.0)

    @property
    def stage_text(self) -> str:
        return STAGE_TEXT.get(self.stage, self.stage.capitalize()) if self.stage else "Starting the backend"

    @property
    def text(self) -> str:
        """Both in one line: 'Finding the person, frame 120 of 900, 0:42 left'."""
        detail = self.detail
        return ", ".join(filter(None, (self.stage_text, detail[:1].lower() + detail[1:])))

    @property
    def detail(self) -> str:
        """'Frame 120 of 900, 0:42 left'; empty while nothing can be said."""
        parts = []
        if self.stage in _COUNTS_FRAMES and self.done:
            parts.append(f"Frame {self.done} of {self.total}" if self.total else f"Frame {self.done}")
        if self.eta is not None:
            parts.append(f"{format_seconds(self.eta)} left")
        return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """65 -> '1:05', 3700 -> '1:01:40'."""
    s = max(0, round(seconds))
    return f"{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" if s >= 3600 else f"{s // 60}:{s % 60:02d}"
