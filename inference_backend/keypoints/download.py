"""Fetching a model that does not ship, only on the user's word and only with a known checksum."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from gentg_blender.core.contract import GentgError, atomic_file, os_error

_LIMIT = 1 << 30  # bytes: no pose model is larger
_BLOCK = 1 << 18


def download_model(
    url: str,
    sha256: str,
    target: str | os.PathLike,
    *,
    consent: bool,
    report: Callable[[str, int, int | None], None] = lambda stage, done, total: None,
    timeout: float = 30.0,
) -> Path:
    """Download `url` to the file `target` and check it; nothing is left behind if anything is wrong.

    A target that already has the checksum is not fetched again. `report` gets ("download", bytes,
    total bytes or None). Raises GentgError: bad_request (no consent, no https, malformed checksum),
    bad_weights (wrong checksum), not_writable, no_space, no_such_file (not reachable).
    """
    target = Path(target)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise GentgError("bad_request", "A download needs the file's SHA-256 (64 hexadecimal digits).")
    if target.is_file() and _hash(target) == sha256.lower():
        return target
    if not consent:
        raise GentgError(
            "bad_request",
            f"{target.name} would have to be downloaded from {urlsplit(url).netloc}, "
            "which needs your consent.",
            file=target,
            hint="Agree to the download, or put the file there yourself.",
        )
    if urlsplit(url).scheme != "https":
        raise GentgError("bad_request", f"Only https addresses are downloaded, not {url!r}.")
    digest, done = hashlib.sha256(), 0
    with atomic_file(target) as temporary:
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response, open(temporary, "wb") as stream:
                length = response.headers.get("Content-Length")
                total = int(length) if length and length.isdigit() else None
                while block := response.read(_BLOCK):
                    done += len(block)
                    if done > _LIMIT:
                        raise GentgError("bad_weights", "The download is larger than any model.", file=target)
                    digest.update(block)
                    _write(stream, block, target)
                    report("download", done, total)
        except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
            raise GentgError(
                "no_such_file",
                f"The download failed: {error}",
                file=url,
                hint="Check the network connection and try again.",
            ) from error
        if digest.hexdigest() != sha256.lower():
            raise GentgError(
                "bad_weights",
                "The downloaded file is not the expected one (its checksum differs).",
                file=url,
                hint="Try again; if it stays so, do not use this source.",
            )
    return target


def unpack_onnx(archive: str | os.PathLike, folder: str | os.PathLike) -> list[Path]:
    """Take the .onnx files out of a zip into `folder`, under their own names without any path of the zip's.

    Raises GentgError: bad_weights for what is no zip or holds no model, not_writable, no_space.
    """
    folder, out = Path(folder), []
    try:
        with zipfile.ZipFile(archive) as z:
            for member in z.infolist():
                name = Path(member.filename.replace("\\", "/")).name
                if member.is_dir() or not name.lower().endswith(".onnx"):
                    continue
                if member.file_size > _LIMIT:
                    raise GentgError(
                        "bad_weights", "The archive holds a file larger than any model.", file=archive
                    )
                with (
                    z.open(member) as source,
                    atomic_file(folder / name) as temporary,
                    open(temporary, "wb") as sink,
                ):
                    shutil.copyfileobj(source, sink)
                out.append(folder / name)
    except zipfile.BadZipFile as error:
        raise GentgError("bad_weights", "The archive is no readable zip file.", file=archive) from error
    if not out:
        raise GentgError("bad_weights", "The archive holds no .onnx file.", file=archive)
    return out


def _write(stream, block: bytes, target: Path) -> None:
    try:
        stream.write(block)
    except OSError as error:  # told apart from the network's errors
        raise os_error(error, target) from error


def _hash(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
