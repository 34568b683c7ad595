"""Numbered images that are one clip: which files belong to it, in which order."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .contract import GentgError

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".tga", ".dpx", ".jp2"}
)
NUMBER = re.compile(r"(\d+)(?=\D*$)")  # the last one of a file's stem


def find_images(where: str | os.PathLike) -> dict[int, Path]:
    """A folder of numbered images, one of its images, or a pattern such as shot_####.png or shot_%04d.png
    -> number in the name -> file, by number.

    A folder must hold one sequence. Raises GentgError: no_such_file, not_a_video, empty_video.
    """
    where = Path(where)
    folder = where if where.is_dir() else where.parent
    if not folder.is_dir():
        raise GentgError("no_such_file", "The folder of the image sequence does not exist.", file=folder)
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    for file in folder.iterdir():
        digits = NUMBER.search(file.stem)
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
            digits = NUMBER.search(where.stem)
            if not digits:
                raise GentgError(
                    "not_a_video",
                    "The image's name holds no number.",
                    file=where,
                    hint="Image sequences are named like shot_0001.png.",
                )
            key = (where.stem[: digits.start()], where.stem[digits.end() :] + where.suffix)
        found = groups.get(key, {})
    if not found:
        raise GentgError(
            "empty_video",
            "No numbered images were found.",
            file=where,
            hint="Image sequences are named like shot_0001.png, shot_0002.png ...",
        )
    return {number: found[number] for number in sorted(found)}
