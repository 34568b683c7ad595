"""Times of the animations in a binary glTF file.

Blender's exporter divides frames by fps * fps_base where the rate is fps / fps_base (4.5 to 5.2): at
23.976 and 29.97 frames a second its files run 0.2 % fast, a second in eight minutes.
"""

from __future__ import annotations

import json
import struct

import numpy as np

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT = 5126


def set_duration(data: bytes, seconds: float) -> bytes:
    """The file with all animation times scaled so that the last key stands at `seconds`.

    Raises ValueError for anything but a GLB 2.0 whose times are plain floats. A file without
    motion, or with one key only, comes back as it is.
    """
    scene, binary = _chunks(data)
    inputs = sorted({s["input"] for a in scene.get("animations", []) for s in a["samplers"]})
    if not inputs:
        return data
    times = {i: _floats(scene, binary, i) for i in inputs}
    last = max(float(t.max()) for t in times.values())
    if last <= 0.0 or abs(last - seconds) < 1e-6 * seconds:
        return data
    for i, values in times.items():
        values *= np.float32(seconds / last)
        scene["accessors"][i]["min"], scene["accessors"][i]["max"] = (
            [float(values.min())],
            [float(values.max())],
        )
    text = json.dumps(scene, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(binary), _BIN) + bytes(binary)
    return struct.pack("<III", _MAGIC, 2, 12 + len(body)) + body


def _chunks(data: bytes) -> tuple[dict, bytearray]:
    """The JSON and the binary chunk."""
    if len(data) < 20 or struct.unpack_from("<II", data) != (_MAGIC, 2):
        raise ValueError("not a GLB 2.0 file")
    found: dict[int, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        found.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + length
    if _JSON not in found or _BIN not in found:
        raise ValueError("a GLB file without its JSON or binary chunk")
    return json.loads(found[_JSON]), bytearray(found[_BIN])


def _floats(scene: dict, binary: bytearray, accessor: int) -> np.ndarray:
    """A view of an accessor's scalars in the binary chunk."""
    entry = scene["accessors"][accessor]
    view = scene["bufferViews"][entry["bufferView"]]
    if (
        entry["componentType"] != _FLOAT
        or entry["type"] != "SCALAR"
        or view.get("byteStride", 4) != 4
        or view["buffer"]
    ):
        raise ValueError("animation times are not plain floats")
    return np.frombuffer(
        binary, "<f4", entry["count"], view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    )
