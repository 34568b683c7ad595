"""What an animation is turned into: files, FBX for one program or another, the animator's own rig.

Defined once for `gentg estimate`, `gentg_blender/batch.py` and `blender --command gentg`.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .contract import GentgError
from .retarget.mapping import Mapping

# kind of file -> suffix and what it is
FILES: dict[str, tuple[str, str]] = {
    "blend": (".blend", "Blender file with armature, action, camera and the clip behind it"),
    "fbx": (".fbx", "FBX of the animated armature"),
    "bvh": (".bvh", "BVH: skeleton and motion as text"),
    "glb": (".glb", "glTF of the animated armature"),
    "usd": (".usdc", "USD of the animated armature, where this Blender can write it"),
}
SUFFIXES: dict[str, str] = {kind: suffix for kind, (suffix, _) in FILES.items()}
FBX_PRESETS: tuple[str, ...] = ("blender", "blender_legacy", "unreal", "unity", "maya")


@dataclass(frozen=True)
class Delivery:
    """On which rig and in which dialect the files are written."""

    retarget: str = ""  # RIG.blend or RIG.blend:OBJECT; "" writes our own armature
    map: str = ""  # bone map (.json) of that rig; "" recognises it
    export_preset: str = ""  # of FBX_PRESETS; "" is the first

    @property
    def rig(self) -> tuple[Path, str] | None:
        """The rig's file and the object in it ("" for the only one there)."""
        if not self.retarget:
            return None
        found = re.fullmatch(r"(.+\.blend)(?::(.+))?", self.retarget, re.IGNORECASE | re.DOTALL)
        if found is None:
            raise GentgError(
                "bad_request",
                f"'{self.retarget}' is no .blend file.",
                hint="Give RIG.blend, or RIG.blend:OBJECT.",
            )
        return Path(found[1]), found[2] or ""

    @property
    def fbx_preset(self) -> str:
        """Key of the export preset, see tool.exporters."""
        return f"fbx_{self.export_preset or FBX_PRESETS[0]}"

    def check(self, wanted: Collection[str]) -> None:
        """Before any work. `wanted`: kinds of files that are asked for. Raises GentgError for options that
        would do nothing, and for a rig or a map that is not there."""
        if self.export_preset and self.export_preset not in FBX_PRESETS:
            raise GentgError("bad_request", f"There is no export preset '{self.export_preset}'.",
                             hint=f"Choose one of: {', '.join(FBX_PRESETS)}.")  # fmt: skip
        if self.export_preset and "fbx" not in wanted:
            raise GentgError(
                "bad_request", "--export-preset says how an FBX is written, and none is.", hint="Add --fbx."
            )
        if self.map and not self.retarget:
            raise GentgError(
                "bad_request",
                "--map is the bone map of a rig, and none is named.",
                hint="Add --retarget RIG.blend.",
            )
        if self.map:
            Mapping.load(self.map)
        if self.rig is None:
            return
        if not set(wanted) & set(FILES):
            raise GentgError(
                "bad_request", "--retarget would write nothing.", hint="Add --fbx, --blend or another file."
            )
        if not self.rig[0].is_file():
            raise GentgError("no_such_file", "The file with the rig does not exist.", file=self.rig[0])

    def arguments(self) -> list[str]:
        """The same as options of a command line."""
        values = (("--retarget", self.retarget), ("--map", self.map), ("--export-preset", self.export_preset))
        return [word for option, value in values if value for word in (option, value)]

    def absolute(self) -> Delivery:
        """The same with paths that hold in every folder."""
        rig = self.rig
        typed = "" if rig is None else os.path.abspath(rig[0]) + (f":{rig[1]}" if rig[1] else "")
        return Delivery(typed, self.map and os.path.abspath(self.map), self.export_preset)

    @classmethod
    def of(cls, args: argparse.Namespace) -> Delivery:
        return cls(args.retarget or "", args.map or "", args.export_preset or "")


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """The options of a `Delivery`."""
    group = parser.add_argument_group("for your own character and program")
    group.add_argument("--retarget", metavar="RIG.blend[:OBJECT]",
                       help="write the motion onto the rig in this file; the files to write then hold that rig")  # fmt: skip
    group.add_argument(
        "--map",
        metavar="MAP.json",
        help="bone map of that rig, as the Retarget panel saves it (default: recognised)",
    )
    group.add_argument(
        "--export-preset",
        choices=FBX_PRESETS,
        help=f"which program reads the FBX (default: {FBX_PRESETS[0]})",
    )
