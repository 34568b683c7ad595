"""Find out which rig this is: first by scored names, then by structure alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .mapping import REQUIRED, ROLES, Mapping
from .presets import PRESETS, Preset
from .rig import RigBone
from .structure import map_by_structure

_ENOUGH = 0.6  # share of a preset's names that a rig must have
_LONGEST_PREFIX = 24
# Roles without which a rig is no body; a preset that finds fewer of them loses to structure.
_CORE = ("hips", "head", "upper_arm.L", "upper_arm.R", "forearm.L", "forearm.R", "thigh.L", "thigh.R",
         "shin.L", "shin.R")  # fmt: skip


@dataclass
class Recognition:
    """What a rig was taken for."""

    mapping: Mapping
    preset: str  # key of the preset, "" where structure alone decided
    label: str  # for people
    method: str  # "names", "structure" or "none"
    score: float  # 0..1: share of the preset's names found, or of the usual roles
    doubtful: dict[str, str] = field(default_factory=dict)  # role -> why
    runners_up: list[tuple[str, float]] = field(default_factory=list)  # other presets' labels and scores


def squeeze(name: str) -> str:
    """Lower-case letters and digits of a name: what is left when case and separators vary."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def recognise(bones: Sequence[RigBone]) -> Recognition:
    """Map a rig's bones to the parts of the body. Never raises: a rig that is no body comes back
    with method "none" and an empty map."""
    best: tuple[float, int, Preset, dict[str, tuple[str, ...]]] | None = None
    scores: dict[str, float] = {}
    for names in _readings([b.name for b in bones]):
        for preset in PRESETS:
            found, total, chains = _match(preset, names)
            score = found / total
            scores[preset.label] = max(score, scores.get(preset.label, 0.0))
            if best is None or (score, found) > best[:2]:
                best = (score, found, preset, chains)
    if best is not None:
        score, _, preset, chains = best
        core = sum(role in chains for role in _CORE) / len(_CORE)
        if score >= _ENOUGH and core >= _ENOUGH and all(r in chains for r in REQUIRED):
            others = sorted(
                ((label, s) for label, s in scores.items() if label != preset.label), key=lambda x: -x[1]
            )
            doubtful = _doubts_in_geometry(bones, chains)
            return Recognition(Mapping(chains, preset.label, preset.key), preset.key, preset.label, "names", score,
                               doubtful, [o for o in others if o[1] >= _ENOUGH][:3])  # fmt: skip
    chains, doubtful = map_by_structure(bones)
    if chains:
        score = sum(role in chains for role in ROLES[1:]) / (len(ROLES) - 1)
        return Recognition(
            Mapping(chains, "by structure"), "", "Unknown rig, by its structure", "structure", score, doubtful
        )
    return Recognition(Mapping(), "", "Not recognised", "none", 0.0)


def _readings(names: Sequence[str]) -> list[dict[str, str]]:
    """Ways to read a rig's names: squeezed, with each prefix that at least half of them share
    taken off ("mixamorig:", "CC_Base_", a character's name). Squeezed -> real name."""
    squeezed = [(squeeze(n), n) for n in names]
    counts: Counter[str] = Counter()
    for short, _ in squeezed:
        for length in range(1, min(len(short), _LONGEST_PREFIX + 1)):
            counts[short[:length]] += 1
    prefixes = ["", *(p for p, c in counts.items() if c >= 0.5 * len(squeezed))]
    readings = []
    for prefix in prefixes:
        reading: dict[str, str] = {}
        for short, name in squeezed:
            reading.setdefault(short.removeprefix(prefix), name)
        readings.append(reading)
    return readings


_SHARED = {}  # preset key -> what all of its names begin with, squeezed


def _match(preset: Preset, names: dict[str, str]) -> tuple[int, int, dict[str, tuple[str, ...]]]:
    """Names found, names wanted, and the chains that they make."""
    found = total = 0
    chains: dict[str, tuple[str, ...]] = {}
    prefix = _own_prefix(preset)
    for role, wanted in preset.chains().items():
        chain = []
        for spellings in wanted:
            total += role != "root"
            for spelling in spellings.split("|"):
                short = squeeze(spelling)
                name = names.get(short) or names.get(short.removeprefix(prefix))
                if name is not None and name not in chain:
                    chain.append(name)
                    found += role != "root"
                    break
        if chain:
            chains[role] = tuple(chain)
    return found, total, chains


def _own_prefix(preset: Preset) -> str:
    """The prefix that a preset's published names share, for rigs that were imported without it."""
    if preset.key not in _SHARED:
        shorts = [squeeze(s) for chain in preset.chains().values() for n in chain for s in n.split("|")]
        shorts = [s for s in shorts if s not in ("root", "rlboneroot")]
        low, high = min(shorts), max(shorts)
        same = 0
        while same < min(len(low), len(high)) and low[same] == high[same]:
            same += 1
        _SHARED[preset.key] = low[:same]
    return _SHARED[preset.key]


def _doubts_in_geometry(bones: Sequence[RigBone], chains: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Names can lie: compare the sides that they claim with where the bones are."""
    by_name = {b.name: b for b in bones}
    doubts = {}
    for role, chain in chains.items():
        if not role.endswith(".L") or (other := chains.get(role[:-2] + ".R")) is None:
            continue
        a, b = by_name[chain[-1]], by_name[other[-1]]
        gap = sum((x - y) ** 2 for x, y in zip(a.tail, b.tail, strict=True)) ** 0.5
        length = sum((x - y) ** 2 for x, y in zip(a.tail, a.head, strict=True)) ** 0.5
        if gap < 0.05 * length:
            doubts[role] = "left and right lie in the same place"
    return doubts
