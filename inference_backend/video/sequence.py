"""Numbered pictures that are played as a clip, such as the image-sequence strips of Blender."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from gentg_blender.core.contract import GentgError

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".tga", ".dpx", ".jp2"}
)
_NUMBER = re.compile(r"(\d+)(?=\D*$)")


@dataclass(frozen=True)
class ImageSequence:
    """Pictures in playing order. `numbers` are their frame numbers from 0; a gap is a missing picture."""

    files: tuple[Path, ...]
    fps: float
    numbers: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.files:
            raise GentgError("empty_video", "The image sequence holds no picture.")
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
        """A folder of numbered pictures, one of its pictures, or a pattern such as shot_####.png or shot_%04d.png.

        A folder must hold one sequence. Raises GentgError: no_such_file, not_a_video, empty_video.
        """
        where = Path(where)
        folder = where if where.is_dir() else where.parent
        if not folder.is_dir():
            raise GentgError("no_such_file", "The folder of the image sequence does not exist.", file=folder)
        groups: dict[tuple[str, str], dict[int, Path]] = {}
        for file in folder.iterdir():
            digits = _NUMBER.search(file.stem)
            if file.suffix.lower() in IMAGE_SUFFIXES and digits and file.is_file():
                key = (file.stem[: digits.start()], file.stem[digits.end() :] + file.suffix)
                groups.setdefault(key, {})[int(digits[1])] = file
        if where.is_dir():
            if len(groups) > 1:
                names = ", ".join(sorted(f"{a}#{b}" for a, b in groups)[:4])
                raise GentgError(
                    "not_a_video",
                    f"The folder holds several image sequences: {names}.",
                    file=where,
                    hint="Name one of them, for example with a pattern such as shot_####.png.",
                )
            found = next(iter(groups.values()), {})
        else:
            stem = re.sub(r"%0?\d*d", "#", where.name)
            if "#" in stem:
                key = (re.split(r"#+", stem)[0], re.split(r"#+", stem)[-1])
            else:
                digits = _NUMBER.search(where.stem)
                if not digits:
                    raise GentgError(
                        "not_a_video",
                        "The picture's name holds no number.",
                        file=where,
                        hint="Image sequences are named like shot_0001.png.",
                    )
                key = (where.stem[: digits.start()], where.stem[digits.end() :] + where.suffix)
            found = groups.get(key, {})
        if not found:
            raise GentgError(
                "empty_video",
                "No numbered pictures were found.",
                file=where,
                hint="Image sequences are named like shot_0001.png, shot_0002.png ...",
            )
        order = sorted(found)
        return cls(tuple(found[n] for n in order), fps, tuple(n - order[0] for n in order))
