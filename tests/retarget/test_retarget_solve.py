"""Retargeting read back through independent forward kinematics."""

from __future__ import annotations

import numpy as np
import pytest
from rig_factory import angle, forward_matrices, make_rig, world_points
from scipy.spatial.transform import Rotation

from gentg_blender.core.contract import GentgError
from gentg_blender.core.retarget.body import control_rig
from gentg_blender.core.retarget.keys import channels
from gentg_blender.core.retarget.mapping import NEXT, Mapping
from gentg_blender.core.retarget.solve import solve

LIMBS = [f"{p}.{s}" for p in ("upper_arm", "forearm", "thigh", "shin") for s in "LR"]


def matrix(scale=1.0, euler=(0, 0, 0), at=(0, 0, 0), stretch=(1, 1, 1)) -> np.ndarray:
    m = np.eye(4)
    m[:3, :3] = Rotation.from_euler("xyz", euler, degrees=True).as_matrix() @ np.diag(
        np.multiply(scale, stretch)
    )
    m[:3, 3] = at
    return m


def run(walk, bones, chains, m, root="hips", scale=None):
    mapping = Mapping(chains)
    rig = control_rig(bones, mapping.used(), m)
    solution = solve(walk, rig, mapping, scale)
    keys = channels(solution, walk.times, root)
    posed = forward_matrices(bones, keys.rotation, keys.location, len(walk))
    return solution, keys, world_points(bones, posed, m)


def limb_error(walk, chains, points, shear=np.eye(3)) -> float:
    """Worst angle in degrees between the limbs' lines, joint to joint."""
    worst = 0.0
    for role in LIMBS:
        if role not in chains or NEXT[role] not in chains:
            continue
        got = points[chains[NEXT[role]][0]][0] - points[chains[role][0]][0]
        index = walk.body.chains
        want = walk.head[:, index[NEXT[role]][0]] - walk.head[:, index[role][0]]
        worst = max(worst, float(angle(got @ shear.T, want).max()))
    return worst


@pytest.mark.parametrize("preset", ["mixamo", "unreal_5", "makehuman", "daz_8", "vroid", "rigify_metarig"])
@pytest.mark.parametrize("height", [1.1, 2.4])
@pytest.mark.parametrize("arms", [0.0, 0.85])
def test_limbs_point_where_the_actors_do(walk, preset, height, arms):
    bones, chains = make_rig(preset, height, arms, seed=7)
    _, _, points = run(walk, bones, chains, np.eye(4))
    assert limb_error(walk, chains, points) < 0.01


def test_object_transforms_and_units(walk):
    # as an FBX comes in: Y up, centimetres, object turned and scaled; and moved by the animator
    turn = Rotation.from_euler("x", -90, degrees=True).as_quat()[[3, 0, 1, 2]]
    bones, chains = make_rig("mixamo", 1.7, 0.3, seed=1, turn=turn, unit=0.01)
    m = matrix(0.01, (90, 0, 0), (2.0, -1.0, 0.5))
    solution, _, points = run(walk, bones, chains, m)
    assert limb_error(walk, chains, points) < 0.01
    # the path is scaled by leg length about both objects' origins
    hips = 0.5 * (points["LeftUpLeg"][0] + points["RightUpLeg"][0])
    src = 0.5 * sum(walk.head[:, walk.body.chains[r][0]] for r in ("thigh.L", "thigh.R"))
    assert np.abs(hips - (m[:3, 3] + solution.scale * src)).max() < 1e-6
    legs = (0.52 - 0.045 + 0.045) * 1.7  # nearly straight in rest: within a percent of its height
    ours = 0.42 + 0.41 + 0.08
    assert solution.scale == pytest.approx(legs / ours, rel=0.01)


def test_rig_that_faces_elsewhere_turns_to_the_actor(walk):
    turn = Rotation.from_euler("z", 90, degrees=True).as_quat()[[3, 0, 1, 2]]
    bones, chains = make_rig("mixamo", seed=2, turn=turn)
    _, _, points = run(walk, bones, chains, np.eye(4))
    assert limb_error(walk, chains, points) < 0.01
    left = points["LeftUpLeg"][0] - points["RightUpLeg"][0]
    want = walk.head[:, walk.body.chains["thigh.L"][0]] - walk.head[:, walk.body.chains["thigh.R"][0]]
    assert angle(left, want).max() < 0.01


def test_uneven_scale_keeps_world_directions(walk):
    bones, chains = make_rig("mixamo", seed=5)
    m = matrix(1.0, (0, 0, 30), (0, 0, 0), (1.0, 0.8, 1.3))
    _, _, points = run(walk, bones, chains, m)
    assert limb_error(walk, chains, points) < 0.01


def test_mirrored_object_is_refused(walk):
    bones, chains = make_rig("mixamo")
    with pytest.raises(GentgError, match="mirrored"):
        run(walk, bones, chains, matrix(1, stretch=(-1, 1, 1)))


def test_rest_pose_onto_its_own_rest_pose_is_identity(walk):
    """A source that stands in a T-pose leaves a T-pose rig at rest, whatever the rolls."""
    still = type(walk)(walk.body, walk.body.head[None].copy(), walk.body.rotation[None].copy(), np.zeros(1))
    bones, chains = make_rig("unreal_4", 1.6, 0.0, seed=9)
    _, keys, points = run(still, bones, chains, np.eye(4))
    for b in bones:
        if (
            b.name
            in chains["spine"] + chains["chest"] + chains["head"] + chains["foot.L"] + chains["shoulder.R"]
        ):
            turn = 2 * np.degrees(np.arccos(min(1.0, abs(keys.rotation[b.name][0, 0]))))
            assert turn < 12.0, (b.name, turn)  # feet may turn about the vertical to line up
        if b.name in chains["spine"] + chains["head"]:
            assert abs(abs(keys.rotation[b.name][0, 0]) - 1.0) < 1e-9


def test_soles_stay_flat_when_the_source_stands_flat(walk):
    still = type(walk)(walk.body, walk.body.head[None].copy(), walk.body.rotation[None].copy(), np.zeros(1))
    bones, chains = make_rig("mixamo", 1.8, 0.0, seed=9)
    _, _, points = run(still, bones, chains, np.eye(4))
    rest = {b.name: b for b in bones}
    for side in ("Left", "Right"):
        head, tail = points[f"{side}Foot"]
        drop = rest[f"{side}Foot"].tail[2] - rest[f"{side}Foot"].head[2]
        assert (tail - head)[0, 2] == pytest.approx(drop, abs=1e-9)


def test_twist_is_carried_over(walk):
    """A source forearm that only turns about itself turns the target's hand by as much."""
    from gentg_blender.core.rotations import quat_from_axis_angle, quat_multiply, quat_to_matrix

    frames = 5
    head = np.repeat(walk.body.head[None], frames, 0)
    rotation = np.repeat(walk.body.rotation[None], frames, 0)
    twist = np.linspace(0, 1.2, frames)
    for role in ("forearm.L", "hand.L"):
        i = walk.body.chains[role][0]
        axis = walk.body.direction("forearm.L")
        rotation[:, i] = quat_multiply(
            quat_from_axis_angle(np.broadcast_to(axis, (frames, 3)), twist), rotation[:, i]
        )
    source = type(walk)(walk.body, head, rotation, np.arange(frames) / 30)
    bones, chains = make_rig("makehuman", 1.8, 0.6, seed=4)
    mapping = Mapping(chains)
    rig = control_rig(bones, mapping.used(), np.eye(4))
    keys = channels(solve(source, rig, mapping), source.times)
    posed = forward_matrices(bones, keys.rotation, keys.location, frames)
    first, second = (posed[n][:, :3, :3] for n in chains["forearm.L"])
    for bone, share in ((first, 0.5), (second, 1.0)):
        turned = Rotation.from_matrix(bone @ np.swapaxes(bone[:1], -1, -2)).magnitude()
        assert np.abs(turned - share * twist).max() < 1e-6
    assert quat_to_matrix(rotation).shape[1] == 21


def test_missing_bones_and_longer_spines(walk):
    drop = ("neck", "shoulder.L", "shoulder.R", "toe.L", "toe.R", "chest")
    bones, chains = make_rig("mixamo", seed=3, drop=drop)
    _, keys, points = run(walk, bones, chains, np.eye(4))
    assert limb_error(walk, chains, points) < 0.01
    # what is left of the spine ends with the turn of the source's chest
    bones, chains = make_rig("unreal_5", seed=3)
    _, keys, _ = run(walk, bones, chains, np.eye(4))
    posed = forward_matrices(bones, keys.rotation, keys.location, len(walk))
    rest = {b.name: b for b in bones}
    from gentg_blender.core.rotations import quat_to_matrix

    i = walk.body.chains["chest"][0]
    want = quat_to_matrix(walk.rotation[:, i]) @ quat_to_matrix(walk.body.rotation[i]).T
    got = posed["spine_05"][:, :3, :3] @ quat_to_matrix(np.array(rest["spine_05"].rotation)).T
    assert np.abs(got - want).max() < 1e-9


@pytest.mark.parametrize("root", ["root", "object"])
def test_root_motion_leaves_the_pose_where_it_was(walk, root):
    bones, chains = make_rig("unreal_4", seed=6)
    m = matrix(1.0, (0, 0, 20), (0.3, 0.2, 0.0))
    _, plain, points = run(walk, bones, chains, m)
    _, keys, moved = run(walk, bones, chains, m, root)
    if root == "object":
        turn = Rotation.from_quat(keys.object_turn[:, [1, 2, 3, 0]]).as_matrix()
        for name, pair in moved.items():
            moved[name] = tuple(
                np.einsum("tij,tj->ti", turn, p - m[:3, 3]) + keys.object_location for p in pair
            )
        assert np.ptp(keys.object_location[:, 2]) == 0.0
    else:
        assert np.ptp(moved["root"][0][:, 2]) < 1e-9
        assert np.ptp(moved["root"][0][:, 1]) > 1.0
    for name in chains["hand.L"] + chains["head"] + chains["foot.R"]:
        assert np.abs(moved[name][0] - points[name][0]).max() < 1e-6


def test_hips_that_cannot_move_and_unmapped_hips_are_refused(walk):
    from dataclasses import replace

    bones, chains = make_rig("unreal_4", seed=6)
    glued = [replace(b, connected=b.name == "pelvis") for b in bones]
    with pytest.raises(GentgError, match="connected"):
        run(walk, glued, chains, np.eye(4))
    with pytest.raises(GentgError, match="hips"):
        run(walk, bones, {r: c for r, c in chains.items() if r != "hips"}, np.eye(4))
