"""Twist bones beside a limb's next joint take the share of the twist that their place along the limb says."""

from __future__ import annotations

import numpy as np
import pytest
from rig_factory import angle, forward_matrices, make_rig, world_points
from scipy.spatial.transform import Rotation

from gentg_blender.core.retarget.body import SourceMotion, control_rig
from gentg_blender.core.retarget.keys import channels
from gentg_blender.core.retarget.mapping import Mapping
from gentg_blender.core.retarget.rig import RigBone
from gentg_blender.core.retarget.solve import solve
from gentg_blender.core.retarget.twist import find_twist_bones, spread_twist
from gentg_blender.core.rotations import quat_from_axis_angle, quat_multiply

TWIST = np.linspace(0.0, 1.4, 8)
BELOW = {"upper_arm": ("upper_arm", "forearm", "hand"), "forearm": ("forearm", "hand"), "hand": ("hand",),
         "thigh": ("thigh", "shin", "foot", "toe"), "foot": ("foot", "toe")}  # fmt: skip


def still(walk, about=None, parts=()):
    """The source's rest pose, with `parts` of the left side turned by TWIST about the rest line of a limb."""
    frames = len(TWIST)
    head, rotation = (np.repeat(a[None], frames, 0) for a in (walk.body.head, walk.body.rotation))
    rotation = rotation.copy()
    for role in parts:
        i = walk.body.chains[role + ".L"][0]
        axis = np.broadcast_to(walk.body.direction(about + ".L"), (frames, 3))
        rotation[:, i] = quat_multiply(quat_from_axis_angle(axis, TWIST), rotation[:, i])
    return SourceMotion(walk.body, head, rotation, np.arange(frames) / 30)


def rig(preset="unreal_4", seed=4):
    """A rig with two twist bones on every limb, at a quarter and at three quarters of its length."""
    bones, chains = make_rig(preset, 1.8, 0.6, seed=seed, twists=False)
    rng, by_name = np.random.default_rng(seed), {b.name: b for b in bones}
    limbs = {"upper_arm": "forearm", "forearm": "hand", "thigh": "shin", "shin": "foot"}
    for role, after in limbs.items():
        for side in (".L", ".R"):
            limb, tip = by_name[chains[role + side][0]], np.array(by_name[chains[after + side][0]].head)
            for n, u in ((1, 0.25), (2, 0.75)):
                at = np.array(limb.head) + u * (tip - np.array(limb.head))
                q = Rotation.random(random_state=rng).as_quat()[[3, 0, 1, 2]]
                bones.append(
                    RigBone(f"{limb.name}_twist_0{n}", limb.name, tuple(at), tuple(at + 0.05), tuple(q))
                )
    return bones, chains


def posed(source, bones, chains, spread=True):
    mapping = Mapping(chains)
    solution = solve(source, control_rig(bones, mapping.used(), np.eye(4)), mapping)
    twisted = spread_twist(solution, find_twist_bones(bones, mapping)) if spread else {}
    keys = channels(solution, source.times)
    return forward_matrices(bones, keys.rotation | twisted, keys.location, len(source))


def turned(bones, posed, name, axis):
    """Angle (T,) about an axis that a bone has turned by since the first frame, in armature space."""
    m = posed[name][:, :3, :3]
    vector = Rotation.from_matrix(m @ np.swapaxes(m[:1], -1, -2)).as_rotvec()
    assert np.abs(vector - (vector @ axis)[:, None] * axis).max() < 1e-6, "it turns about the limb alone"
    return vector @ axis


def direction(posed, chains, role, after):
    a, b = (posed[chains[r + ".L"][0]][0, :3, 3] for r in (role, after))
    return (b - a) / np.linalg.norm(b - a)


@pytest.mark.parametrize(("about", "first"), [("forearm", "forearm"), ("forearm", "hand")])
def test_a_forearm_s_twist_rises_evenly_from_elbow_to_wrist(walk, about, first):
    """Whether the actor's forearm or the hand alone has the twist: the elbow's skin stays, the wrist's goes along."""
    bones, chains = rig()
    p = posed(still(walk, about, BELOW[first]), bones, chains)
    axis = direction(p, chains, "forearm", "hand")
    for name, share in (
        ("lowerarm_l", 0.0),
        ("lowerarm_l_twist_01", 0.25),
        ("lowerarm_l_twist_02", 0.75),
        ("hand_l", 1.0),
    ):
        assert turned(bones, p, name, axis) == pytest.approx(share * TWIST, abs=1e-6), name


def test_an_upper_arm_s_and_a_thigh_s_twist_rise_from_nothing(walk):
    for role, after in (("upper_arm", "forearm"), ("thigh", "shin")):
        bones, chains = rig()
        p = posed(still(walk, role, (role,)), bones, chains)
        limb, axis = chains[role + ".L"][0], direction(p, chains, role, after)
        for name, share in ((f"{limb}_twist_01", 0.25), (f"{limb}_twist_02", 0.75), (limb, 1.0)):
            assert turned(bones, p, name, axis) == pytest.approx(share * TWIST, abs=1e-6), name


def test_a_shin_s_twist_bones_follow_the_foot(walk):
    bones, chains = rig()
    p = posed(still(walk, "shin", BELOW["foot"]), bones, chains)
    axis = direction(p, chains, "shin", "foot")
    got = [turned(bones, p, f"calf_l_twist_0{n}", axis) for n in (1, 2)]
    # the foot keeps its sole on the ground, so that it turns a little less than the actor's about the shin
    assert np.all(np.diff(got[1]) > 0.0) and got[0] == pytest.approx(got[1] / 3, abs=1e-9)
    assert got[1][-1] == pytest.approx(0.75 * TWIST[-1], rel=0.1)


def test_joints_and_hands_stay_where_they_are(stride):
    bones, chains = rig("character_creator")
    plain, spread = (world_points(bones, posed(stride, bones, chains, s), np.eye(4)) for s in (False, True))
    mapped = [n for chain in chains.values() for n in chain]
    assert max(float(np.abs(plain[n][0] - spread[n][0]).max()) for n in mapped) < 1e-9
    matrices = posed(stride, bones, chains)
    first = posed(stride, bones, chains, False)
    for role in ("hand.L", "foot.R", "upper_arm.L", "thigh.R"):
        name = chains[role][0]
        assert np.abs(matrices[name] - first[name]).max() < 1e-9, name
    # no jump from frame to frame
    for bone in (b for b in bones if "twist" in b.name):
        y = matrices[bone.name][:, :3, 2]
        assert angle(y[1:], y[:-1]).max() < 15.0, bone.name


def test_only_bones_that_carry_nothing_are_twist_bones():
    bones, chains = rig()
    found = find_twist_bones(bones, Mapping(chains))
    assert len(found) == 16 and [t.place for t in found if t.role == "thigh.L"] == pytest.approx([0.25, 0.75])
    daz, daz_chains = make_rig("daz_8", twists=False)
    assert find_twist_bones(daz, Mapping(daz_chains)) == []  # a row of bones spreads its twist itself
    carrying = [
        b if b.name != "hand_l" else RigBone(b.name, "lowerarm_l_twist_01", b.head, b.tail, b.rotation)
        for b in bones
    ]
    assert "lowerarm_l_twist_01" not in {t.name for t in find_twist_bones(carrying, Mapping(chains))}
