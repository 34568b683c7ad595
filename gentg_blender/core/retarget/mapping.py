"""Which bones of a rig play which part of the body: an editable map, saved as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..contract import GentgError, atomic_file
from ..skeleton import BONE_PARENTS, BONES, mirror_name
from .rig import RigBone

MAP_VERSION = 1

# Parts of the body, named as our own bones are, and the bone that carries the whole character.
ROLES: tuple[str, ...] = ("root", *BONES)
ROLE_PARENT: dict[str, str | None] = {
    b: (BONES[p] if p >= 0 else None) for b, p in zip(BONES, BONE_PARENTS, strict=True)
}
REQUIRED: tuple[str, ...] = ("hips",)
# What the joint at a limb's end is the head of.
NEXT: dict[str, str] = {
    f"{a}{s}": f"{b}{s}"
    for a, b in (
        ("upper_arm", "forearm"),
        ("forearm", "hand"),
        ("thigh", "shin"),
        ("shin", "foot"),
        ("foot", "toe"),
    )
    for s in (".L", ".R")
}


@dataclass
class Mapping:
    """Role -> bones of the rig, from the trunk outwards. Several bones share a role where a rig
    has twist bones or a longer spine or neck; bones that no role names are left alone."""

    bones: dict[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = "custom"
    preset: str = ""  # key in presets.PRESETS; brings the IK controls and switches that belong to it

    def __post_init__(self) -> None:
        self.bones = {role: (b,) if isinstance(b, str) else tuple(b) for role, b in self.bones.items() if b}
        if unknown := [r for r in self.bones if r not in ROLES]:
            raise GentgError(
                "bad_request",
                f"The bone map speaks of unknown body parts: {', '.join(unknown)}.",
                hint=f"Known are: {', '.join(ROLES)}.",
            )

    def used(self) -> list[str]:
        return [name for chain in self.bones.values() for name in chain]

    def to_json(self) -> str:
        data = {"gentg_bone_map": MAP_VERSION, "name": self.name, "preset": self.preset,
                "bones": {role: list(chain) for role, chain in self.bones.items()}}  # fmt: skip
        return json.dumps(data, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str, *, file: str | os.PathLike | None = None) -> Mapping:
        """Raises GentgError("bad_request")."""
        try:
            data = json.loads(text)
            if data["gentg_bone_map"] != MAP_VERSION:
                raise ValueError(f"version {data['gentg_bone_map']} is not known here")
            bones = {str(r): tuple(str(n) for n in chain) for r, chain in data["bones"].items()}
            return cls(bones, str(data.get("name", "custom")), str(data.get("preset", "")))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise GentgError(
                "bad_request",
                f"Not a bone map: {error}",
                file=file,
                hint="Choose a .json that was saved from the Retarget panel.",
            ) from error

    def save(self, path: str | os.PathLike) -> Path:
        with atomic_file(path) as temporary:
            temporary.write_text(self.to_json() + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Mapping:
        """Raises GentgError("no_such_file" or "bad_request")."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise GentgError("no_such_file", "The bone map does not exist.", file=path) from error
        except (OSError, UnicodeDecodeError) as error:
            raise GentgError("bad_request", f"Cannot read the bone map: {error}", file=path) from error
        return cls.from_json(text, file=path)


@dataclass
class DryReport:
    """What a retarget would do, told before anything is written."""

    mapped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # roles that the target lacks
    unmoved: list[str] = field(default_factory=list)  # roles that the source has no motion for
    doubtful: dict[str, str] = field(default_factory=dict)  # role -> why
    problems: list[str] = field(default_factory=list)  # nothing can be written before these are mended

    @property
    def ok(self) -> bool:
        return not self.problems

    def text(self) -> str:
        lines = [f"{len(self.mapped)} of {len(ROLES) - 1} body parts mapped."]
        lines += [f"Problem: {p}" for p in self.problems]
        lines += [f"Doubtful: {role}: {why}" for role, why in self.doubtful.items()]
        if self.missing:
            lines.append("Not in the rig: " + ", ".join(self.missing) + ".")
        if self.unmoved:
            lines.append("Not in the motion: " + ", ".join(self.unmoved) + ".")
        return "\n".join(lines)


def dry_report(
    source: Sequence[RigBone], source_map: Mapping, target: Sequence[RigBone], target_map: Mapping
) -> DryReport:
    """Check both maps against their rigs. Nothing is raised: what is wrong stands in the report."""
    report = DryReport()
    here, there = {b.name: b for b in source}, {b.name: b for b in target}
    for which, names, mapping in (("source", here, source_map), ("target", there, target_map)):
        lost = [n for n in mapping.used() if n not in names]
        if lost:
            report.problems.append(f"The {which} rig has no bone named {', '.join(lost[:5])}.")
    for role in ROLES[1:]:
        chain = tuple(n for n in target_map.bones.get(role, ()) if n in there)
        moved = any(n in here for n in source_map.bones.get(role, ()))
        if chain and moved:
            report.mapped[role] = chain
        elif chain:
            report.unmoved.append(role)
        else:
            report.missing.append(role)
    for role in REQUIRED:
        if role not in report.mapped:
            report.problems.append(f"No bone is mapped to the {role}: the motion has nothing to hang on.")
    seen: dict[str, str] = {}
    for role, chain in target_map.bones.items():
        for name in chain:
            if name in seen:
                report.problems.append(f"The bone {name} is mapped to both {seen[name]} and {role}.")
            seen[name] = role
    _check_order(report, there, target_map)
    for role in report.mapped:
        if mirror_name(role) != role and mirror_name(role) in report.missing:
            report.doubtful[role] = "its other side is not mapped"
    return report


def _check_order(report: DryReport, there: dict[str, RigBone], mapping: Mapping) -> None:
    def ancestors(name: str) -> set[str]:
        found: set[str] = set()
        parent = there[name].parent
        while parent is not None and parent in there and parent not in found:
            found.add(parent)
            parent = there[parent].parent
        return found

    for role, chain in report.mapped.items():
        for a, b in zip(chain, chain[1:], strict=False):
            if b in ancestors(a):
                report.problems.append(f"In {role} the bone {b} is a parent of {a}: turn their order round.")
        parent = mapping.bones.get(ROLE_PARENT[role] or "", ())
        if parent and parent[0] in there and chain[0] in ancestors(parent[0]):
            report.doubtful[role] = f"{chain[0]} is a parent of {parent[0]}, where a child is expected"
