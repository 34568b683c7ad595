"""Object arrays in npz files, without the danger of pickle.

The common files of Human3.6M and MPI-INF-3DHP keep nested dictionaries of arrays in pickled object arrays. numpy
would run whatever code such a file names (`allow_pickle=True`); this reader can make nothing but numpy arrays and
Python's own containers.
"""

from __future__ import annotations

import codecs
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gentg_blender.core.contract import GentgError

_MAX_BYTES = 8 * 2**30  # an unpacked member larger than this is no dataset file we know


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 and below write bytes: `_codecs.encode(text, "latin1")`, and nothing else."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not allowed")
    return codecs.latin_1_encode(text)[0]


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core.multiarray", "numpy._core.multiarray"):  # before and since numpy 2
    _ALLOWED[_core, "_reconstruct"] = np.core.multiarray._reconstruct
    _ALLOWED[_core, "scalar"] = np.core.multiarray.scalar


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an outside object")


def load_object_npz(path: str | Path) -> dict[str, Any]:
    """All members of an npz; object arrays of no dimension come out as the object they hold.

    Raises GentgError: no_such_file; bad_request for anything but arrays, numbers, text and containers of them.
    """
    path = Path(path)
    if not path.is_file():
        raise GentgError("no_such_file", "The file does not exist.", file=path)
    try:
        with zipfile.ZipFile(path) as archive:
            return {m.filename.removesuffix(".npy"): _member(archive, m) for m in archive.infolist()}
    except pickle.UnpicklingError as error:
        raise GentgError(
            "bad_request",
            f"The file holds more than arrays and will not be opened: {error}.",
            file=path,
            hint="Make it again with the dataset's own preparation script.",
        ) from error
    except Exception as error:  # damaged archives raise many kinds
        raise GentgError("bad_request", f"Not a readable npz file: {error}", file=path) from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    if member.file_size > _MAX_BYTES:
        raise ValueError(f"{member.filename} is too large")
    stream = io.BytesIO(archive.read(member))
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read is None:
        raise ValueError(f"{member.filename} has an unknown version {version}")
    _, _, dtype = read(stream)
    if not dtype.hasobject:
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    value = _Restricted(stream).load()
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
