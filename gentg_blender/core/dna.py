"""Layouts of Blender's structs, read from the description that every .blend file carries of itself.

Blender's Python API does not show all that a file holds (the speeds of a retimed strip, for one). The
description, "SDNA", names each struct's members with their types, so that their places need not be known
in advance for any version. Little-endian, 8-byte pointers: all that Blender 4.5 and newer runs on.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from dataclasses import dataclass

from .contract import GentgError

_FORMATS = {"float": "f", "double": "d", "int": "i", "short": "h", "char": "b", "int8_t": "b", "uchar": "B",
            "uint8_t": "B", "ushort": "H", "int64_t": "q", "uint64_t": "Q", "uint": "I"}  # fmt: skip
POINTER = 8


@dataclass(frozen=True)
class Member:
    """One member of a struct."""

    type: str
    offset: int  # bytes from the struct's start
    pointer: bool
    count: int

    def read(self, memory: bytes) -> int | float:
        """The (first) value, given the bytes of the whole struct; an address for pointers."""
        code = "Q" if self.pointer else _FORMATS[self.type]
        return struct.unpack_from("<" + code, memory, self.offset)[0]


@dataclass(frozen=True)
class Layout:
    """One struct."""

    name: str
    size: int
    members: dict[str, Member]

    def __getitem__(self, name: str) -> Member:
        try:
            return self.members[name]
        except KeyError:
            raise GentgError("internal", f"This Blender's {self.name} has no member {name}.") from None


def read_dna(blend: bytes, wanted: Collection[str]) -> dict[str, Layout]:
    """The named structs from an uncompressed .blend file's contents.

    Raises GentgError("bad_request") for another file, GentgError("internal") where one is unknown.
    """
    found = _parse(_find_block(blend, b"DNA1"), wanted)
    if missing := set(wanted) - set(found):
        raise GentgError("internal", f"This Blender knows no {', '.join(sorted(missing))}.")
    return found


def _find_block(blend: bytes, wanted: bytes) -> bytes:
    if blend[:7] != b"BLENDER":
        raise GentgError("bad_request", "This is no uncompressed .blend file.")
    # Up to 4.5: "BLENDER-v405" and 24-byte block heads (code, int size, address, ...); from 5.0:
    # "BLENDER17-01v0500", 17 bytes, with 32-byte heads (code, int, address, int64 size, int64).
    large = blend[7:9].isdigit()
    at = int(blend[7:9]) if large else 12
    while at + 24 <= len(blend):
        code = blend[at : at + 4]
        if large:
            (size,) = struct.unpack_from("<q", blend, at + 16)
            begin = at + 32
        else:
            (size,) = struct.unpack_from("<i", blend, at + 4)
            begin = at + 24
        if code == wanted:
            return blend[begin : begin + size]
        at = begin + size
    raise GentgError("bad_request", "The .blend file lacks its own description.")


def _parse(dna: bytes, wanted: Collection[str]) -> dict[str, Layout]:
    at = 4  # after "SDNA"

    def expect(tag: bytes) -> None:
        nonlocal at
        at = (at + 3) & ~3
        if dna[at : at + 4] != tag:
            raise GentgError("bad_request", f"The .blend file's description lacks {tag.decode()}.")
        at += 4

    def integer() -> int:
        nonlocal at
        at += 4
        return struct.unpack_from("<i", dna, at - 4)[0]

    def strings() -> list[str]:
        nonlocal at
        count = integer()
        out = dna[at:].split(b"\0", count)[:count]
        at += sum(map(len, out)) + count
        return [text.decode("ascii") for text in out]

    expect(b"NAME")
    names = strings()
    expect(b"TYPE")
    types = strings()
    expect(b"TLEN")
    lengths = struct.unpack_from(f"<{len(types)}H", dna, at)
    at += 2 * len(types)
    expect(b"STRC")
    layouts = {}
    for _ in range(integer()):
        kind, count = struct.unpack_from("<2H", dna, at)
        at += 4
        if types[kind] not in wanted:
            at += 4 * count
            continue
        offset, members = 0, {}
        for _ in range(count):
            type_index, name_index = struct.unpack_from("<2H", dna, at)
            at += 4
            name = names[name_index]
            pointer = name.startswith(("*", "(*"))
            number = 1
            for part in re.findall(r"\[(\d+)\]", name):
                number *= int(part)
            size = POINTER if pointer else lengths[type_index]
            members[re.sub(r"\[.*|[*()]", "", name)] = Member(types[type_index], offset, pointer, number)
            offset += size * number
        layouts[types[kind]] = Layout(types[kind], lengths[kind], members)
    return layouts
