"""The frame rate that a binary FBX file states for itself.

Blender's older importer (Python, io_scene_fbx 5.13 and before) sets the scene to the file's rate, say 30 / 1.001, but
counts key times with `scene.render.fps` alone, which is 30: at 23.976, 29.97 and 59.94 its motions are 0.1 % too long, a
frame in a thousand. Only a whole rate is read right by it. The times in the file are seconds and need no change.
"""

from __future__ import annotations

import struct

# FBX SDK, fbxtime.h, FbxTime::EMode; 14 is a rate of its own, said beside it
_MODES = {120: 1, 100: 2, 60: 3, 50: 4, 48: 5, 30: 6, 25: 10, 24: 11, 96: 15, 72: 16}
_CUSTOM = 14


def set_rate(data: bytes, rate: int) -> bytes:
    """The file with `rate`, whole frames a second, as its time mode. Raises ValueError where a binary FBX does not say
    its rate exactly once."""
    out = bytearray(data)
    for name, kind, label, code, value in (
        (b"TimeMode", b"enum", b"", b"I", struct.pack("<i", _MODES.get(rate, _CUSTOM))),
        (b"CustomFrameRate", b"double", b"Number", b"D", struct.pack("<d", rate)),
    ):
        # a property is its name, type, label and flags, each a string behind its length, and then the value
        record = b"".join(b"S" + struct.pack("<I", len(t)) + t for t in (name, kind, label, b"")) + code
        if data.count(record) != 1:
            raise ValueError(f"{name.decode()} stands in it {data.count(record)} times")
        at = data.index(record) + len(record)
        out[at : at + len(value)] = value
    return bytes(out)
