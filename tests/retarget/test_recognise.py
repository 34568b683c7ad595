"""Each preset's rig among all, with names shuffled; unknown rigs by structure; maps and reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rig_factory import make_rig

from gentg_blender.core.contract import GentgError
from gentg_blender.core.retarget import Mapping, RigBone, dry_report, recognise
from gentg_blender.core.retarget.mapping import ROLES
from gentg_blender.core.retarget.presets import PRESETS

KEYS = [p.key for p in PRESETS]


def rename(bones, how):
    """The rig with every name changed by `how`, and the changed names."""
    names = {b.name: how(b.name) for b in bones}
    assert len(set(names.values())) == len(names)
    return [replace(b, name=names[b.name], parent=b.parent and names[b.parent]) for b in bones], names


def renamed(chains, names):
    return {r: tuple(names[n] for n in c) for r, c in chains.items()}


def shuffled_case(rng):
    return lambda n: "".join(c.upper() if rng.random() < 0.5 else c.lower() for c in n)


SEPARATORS = {
    "as published": lambda n: n,
    "upper case": str.upper,
    "no separators": lambda n: n.replace("_", "").replace(".", "").replace("-", "").replace(" ", ""),
    "dashes": lambda n: n.replace("_", "-").replace(".", "-").replace(" ", "-"),
    "namespace": lambda n: "Anna_01:" + n,
    "prefix and underscores": lambda n: "rig_" + n.replace(".", "_").replace("-", "_"),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("how", SEPARATORS)
def test_every_preset_is_recognised_among_all(key, how):
    bones, chains = make_rig(key, fingers=False, twists=False)
    bones, names = rename(bones, SEPARATORS[how])
    found = recognise(bones)
    assert found.method == "names" and found.preset == key, (found.label, found.score, found.runners_up)
    assert found.mapping.bones == renamed(chains, names)


@pytest.mark.parametrize("key", KEYS)
def test_case_shuffled_letter_by_letter(key):
    bones, chains = make_rig(key, fingers=True)
    bones, names = rename(bones, shuffled_case(np.random.default_rng(5)))
    found = recognise(bones)
    assert found.preset == key and found.mapping.bones == renamed(chains, names)


def test_every_generation_of_cloudrig_names():
    """As its extension names them today, in Rain's and Snow's files the older way."""
    plain = {f"FK-W-{part}.{s}": f"FK-{part}.{s}" for part in ("Wrist", "Foot") for s in "LR"}
    spine = {"TORSO-Spine": "TORSO-Spine1", "FK-Spine": "FK-Spine2", "FK-RibCage": "FK-Spine3",
             "FK-Chest": "FK-Spine4"}  # fmt: skip
    wrist = {n: plain[n] for n in plain if "Wrist" in n}
    today = {**spine, **wrist}  # feet are aligned to the world and wrists are not
    rain = {"TORSO-Spine": "MSTR-Spine_Torso", "FK-W-Wrist.L": "FK-Hand.L", "FK-W-Wrist.R": "FK-Hand.R",
            "FK-W-Foot.L": "FK-Foot.L", "FK-W-Foot.R": "FK-Foot.R",
            "FK-Knee.L": "FK-Shin.L", "FK-Knee.R": "FK-Shin.R"}  # fmt: skip
    for names in (today, rain):
        bones, chains = make_rig("cloudrig", fingers=False, twists=False)
        bones, all_names = rename(bones, lambda n, names=names: names.get(n, n))
        hip = replace(bones[0], name="HIP-Spine1", parent=all_names["TORSO-Spine"])
        still = replace(bones[0], name="FK-Spine1", parent="HIP-Spine1")  # of the mechanism: not to be keyed
        foot = [replace(bones[0], name=f"FK-Foot.{s}", parent=f"FK-W-Foot.{s}") for s in "LR"]  # nor these
        found = recognise([*bones, hip, still, *foot] if names is today else bones)
        assert found.preset == "cloudrig" and found.mapping.bones == renamed(chains, all_names)


def test_prefix_that_was_stripped_on_import():
    bones, chains = make_rig("character_creator", fingers=False, twists=False)
    bones, names = rename(bones, lambda n: n.removeprefix("CC_Base_"))
    found = recognise(bones)
    assert found.preset == "character_creator" and found.mapping.bones == renamed(chains, names)


def test_a_rig_without_toes_and_shoulders_is_still_known():
    drop = ("toe.L", "toe.R", "shoulder.L", "shoulder.R")
    bones, chains = make_rig("mixamo", drop=drop)
    found = recognise(bones)
    assert found.preset == "mixamo" and found.mapping.bones == chains


@pytest.mark.parametrize(
    "case", [("unreal_5", 1.8, 0.0, None), ("mixamo", 1.2, 0.9, 4), ("makehuman", 2.1, 0.5, 8)]
)
@pytest.mark.parametrize("turn", [(1.0, 0, 0, 0), (0.5**0.5, 0.5**0.5, 0, 0), (0.5**0.5, 0, 0, 0.5**0.5)])
def test_unknown_names_are_mapped_by_structure(case, turn):
    key, height, arms, seed = case
    bones, chains = make_rig(key, height, arms, seed, turn=turn)
    bones, names = rename(
        bones, lambda n, table={b.name: f"joint{i * 7 % 101}" for i, b in enumerate(bones)}: table[n]
    )
    found = recognise(bones)
    assert found.method == "structure"
    want = renamed(chains, names)
    got = found.mapping.bones
    for role in ("hips", "head", *(f"{p}.{s}" for p in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")
                                   for s in "LR")):  # fmt: skip
        assert got[role][0] == want[role][0], role


def test_things_that_are_no_body_are_not_recognised():
    tail = [
        RigBone(f"b{i}", f"b{i - 1}" if i else None, (0, 0, i), (0, 0, i + 1), (1, 0, 0, 0))
        for i in range(12)
    ]
    found = recognise(tail)
    assert found.method == "none" and not found.mapping.bones
    assert recognise([]).method == "none"


def test_maps_survive_a_file(tmp_path):
    _, chains = make_rig("daz_8")
    mapping = Mapping(chains, "my rig", "daz_8")
    assert Mapping.load(mapping.save(tmp_path / "map.json")) == mapping


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"gentg_bone_map": 9, "bones": {}}',
                                  '{"gentg_bone_map": 1, "bones": {"tail": ["x"]}}'])  # fmt: skip
def test_damaged_maps_are_refused(tmp_path, text):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(GentgError):
        Mapping.load(path)
    with pytest.raises(GentgError, match="does not exist"):
        Mapping.load(tmp_path / "none.json")


def test_the_dry_report_names_what_is_wrong():
    source, source_chains = make_rig("gentg")
    target, chains = make_rig("mixamo", drop=("toe.L", "neck"))
    ok = dry_report(source, Mapping(source_chains), target, Mapping(chains))
    assert ok.ok and "neck" in ok.missing and ok.doubtful["toe.R"].startswith("its other side")
    assert len(ok.mapped) + len(ok.missing) + len(ok.unmoved) == len(ROLES) - 1
    bad = {**chains, "head": ("Head", "Spine2"), "thigh.L": ("NoSuch",)}
    report = dry_report(source, Mapping(source_chains), target, Mapping(bad))
    text = report.text()
    assert not report.ok and "NoSuch" in text and "both" in text and "turn their order" in text
    report = dry_report(source, Mapping(source_chains), target, Mapping({}))
    assert not report.ok and "hips" in report.text()
