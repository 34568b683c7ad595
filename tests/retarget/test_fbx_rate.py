"""The rate in an FBX header: a record made by hand as the format says."""

import struct

import pytest

from gentg_blender.core.retarget.fbx import set_rate


def text(s: bytes) -> bytes:
    return b"S" + struct.pack("<I", len(s)) + s


def header(mode: int, rate: float) -> bytes:
    one = text(b"TimeMode") + text(b"enum") + text(b"") + text(b"") + b"I" + struct.pack("<i", mode)
    two = (
        text(b"CustomFrameRate")
        + text(b"double")
        + text(b"Number")
        + text(b"")
        + b"D"
        + struct.pack("<d", rate)
    )
    return b"Kaydara FBX Binary  \x00" + one + b"TimeProtocol" + two + b"Takes"


@pytest.mark.parametrize(("rate", "mode"), [(24, 11), (30, 6), (60, 3), (12, 14)])
def test_the_rate_is_changed_and_nothing_else(rate, mode):
    assert set_rate(header(13, 24 / 1.001), rate) == header(mode, rate)


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="0 times"):
        set_rate(b"; FBX 7.4.0 project file", 30)
    with pytest.raises(ValueError, match="2 times"):
        set_rate(header(6, 30.0) * 2, 30)
