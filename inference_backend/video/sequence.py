"""Numbered images that are played as a clip, such as the image-sequence strips of Blender."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from gentg_blender.core.contract import GentgError
from gentg_blender.core.images import IMAGE_SUFFIXES, find_images

__all__ = ["IMAGE_SUFFIXES", "ImageSequence"]


@dataclass(frozen=True)
class ImageSequence:
    """Images in playing order. `numbers` are their frame numbers from 0; a gap is a missing image."""

    files: tuple[Path, ...]
    fps: float
    numbers: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.files:
            raise GentgError("empty_video", "The image sequence holds no image.")
        if not 0.0 < self.fps <= 1000.0:
            raise GentgError(
                "bad_request",
                f"An image sequence needs a frame rate above 0, not {self.fps!r}.",
                file=self.files[0],
            )
        object.__setattr__(self, "files", tuple(Path(f) for f in self.files))
        if not self.numbers:
            object.__setattr__(self, "numbers", tuple(range(len(self.files))))
        if len(self.numbers) != len(self.files) or any(
            b <= a for a, b in zip(self.numbers, self.numbers[1:])
        ):
            raise ValueError("numbers must increase and match the files")

    @classmethod
    def find(cls, where: str | os.PathLike, fps: float) -> ImageSequence:
        """What core.images.find_images finds, at `fps` frames a second. Raises GentgError as it does."""
        found = find_images(where)
        first = next(iter(found))
        return cls(tuple(found.values()), fps, tuple(n - first for n in found))
