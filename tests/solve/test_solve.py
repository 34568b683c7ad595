"""The whole solver on made-up people."""

import numpy as np
import pytest
from solve_cases import (
    FEET_AT,
    NOISY,
    K,
    acceleration_error,
    adult,
    check_contract,
    drawn_height,
    film,
    lengths_of,
    quiet,
    rotation_about,
    settings,
    shoot,
    still,
    true_contacts,
)

from gentg_blender.core.contract import GentgError
from gentg_blender.core.kinematics import two_bone_ik
from gentg_blender.core.rotations import rotation_angle
from gentg_blender.core.skeleton import (
    JOINT_INDEX,
    JOINTS,
)
from inference_backend.solve.solve import STANDARD_HEIGHT, solve


@pytest.mark.parametrize("frames", [1, 2, 3, 40])
def test_a_t_pose_gives_identity_rotations(frames):
    world, times = still(adult(), frames)
    case, solved = shoot(world, times)
    check_contract(solved)
    # A straight leg bends by 1.5 degrees for a tenth of a millimetre that the hips come down.
    assert np.degrees(rotation_angle(solved.local_rotation)).max() < 2.0
    assert np.abs(solved.xyz - world).max() < 1e-2  # pelvis above the origin, feet on the floor, facing -Y
    assert solved.contacts.all()
    assert solved.warnings == []


def test_upside_down_stays_upside_down():
    rest = adult()
    world, times = still(rest, 20)
    world = world * [1.0, -1.0, -1.0] + [0, 0, 2.1]
    case, solved = shoot(world, times)
    check_contract(solved)
    assert np.linalg.norm(solved.xyz_camera - (world @ case.R.T + case.t), axis=-1).max() < 5e-3
    assert np.degrees(rotation_angle(solved.local_rotation[:, 0])).min() > 179.0
    assert not solved.contacts.any() and len(solved.warnings) == 1


def test_without_a_height_the_body_is_the_networks_standard_one():
    world, times = still(adult(), 10)
    _, solved = shoot(0.93 * world, times, options={"height": None})
    assert abs(solved.standing_height - STANDARD_HEIGHT) < 1e-6


def test_a_heel_held_high_is_not_pressed_to_the_ground():
    world, times = still(adult(), 60)
    turn = rotation_about([1, 0, 0], 40.0)
    body = [i for i, n in enumerate(JOINTS) if not n.endswith(("heel", "foot_index", "small_toe"))]
    for s in "lr":  # each foot turned about its toe, the body lifted by as much
        ankle, heel, tip, toe = (
            world[:, JOINT_INDEX[f"{s}_{n}"]].copy() for n in ("ankle", "heel", "foot_index", "small_toe")
        )
        rise = (ankle - tip) @ turn.T - (ankle - tip)
        world[:, JOINT_INDEX[s + "_heel"]] = tip + (heel - tip) @ turn.T
        world[:, JOINT_INDEX[s + "_small_toe"]] = tip + (toe - tip) @ turn.T
    world[:, body] += rise[:, None]
    case, _ = shoot(world, times)
    case.lifted.contacts[:] = 0.93  # a network that knows still feet, but not what stands on the ground
    solved = solve(case.lifted, case.track, K, settings(height=drawn_height(case.lifted)), quiet)
    assert solved.contacts[:, [1, 3]].all() and not solved.contacts[:, [0, 2]].any()
    assert (solved.xyz[:, [JOINT_INDEX["l_heel"], JOINT_INDEX["r_heel"]], 2] > 0.08).all()


def test_no_seen_frame_is_an_error_for_people():
    world, times = still(adult(), 5)
    with pytest.raises(GentgError) as caught:
        shoot(world, times, seen=np.zeros(5, bool))
    assert caught.value.code == "no_person"


@pytest.mark.parametrize("height", [1.1, 1.95])
def test_height_sets_the_scale_of_body_and_path(height):
    world, times = still(adult(), 10)
    case, solved = shoot(world, times, options={"height": height})
    assert abs(solved.standing_height - height) < 1e-6
    factor = height / adult().standing_height
    assert np.allclose(
        solved.limb_lengths.sum(),
        factor * lengths_of(world)[[JOINT_INDEX[n.split("-")[1]] for n in solved.limb_names]].sum(),
        rtol=0.02,
    )
    distance = np.linalg.norm(solved.xyz_camera[:, 0], axis=-1)
    true_distance = np.linalg.norm((world @ case.R.T + case.t)[:, 0], axis=-1)
    assert np.allclose(distance / true_distance, factor, rtol=0.03)


def walking_in_place(rest, seconds=4.0, fps=50.0):
    """Legs that lift in turn by two-bone geometry while the pelvis bobs: exact contacts are known."""
    times = np.arange(0, seconds, 1 / fps)
    world = np.repeat(rest.joints[None], len(times), 0).copy()
    legs = {s: [JOINT_INDEX[f"{s}_{n}"] for n in ("ankle", "heel", "foot_index", "small_toe")] for s in "lr"}
    feet = {i for at in legs.values() for i in at}
    body = [i for i in range(len(JOINTS)) if i not in feet]
    world[:, body, 2] -= 0.05
    for s, phase in (("l", 0.0), ("r", np.pi)):
        lift = 0.15 * np.maximum(np.sin(2 * np.pi * 0.8 * times + phase), 0.0) ** 2
        world[:, legs[s], 2] += lift[:, None]
        hip, knee, ankle = (JOINT_INDEX[f"{s}_{n}"] for n in ("hip", "knee", "ankle"))
        start = rest.joints
        leg = two_bone_ik(
            world[:, hip],
            world[:, hip] + start[knee] - start[hip],
            world[:, hip] + start[ankle] - start[hip],
            world[:, ankle],
            pole=np.array([0, -1.0, 0]),
        )
        world[:, knee] = leg.mid
    return world, times


def test_walking_in_place_plants_each_foot_in_turn_and_does_not_drift():
    world, times = walking_in_place(adult())
    case, solved = shoot(world, times, **NOISY)
    check_contract(solved)
    truth = true_contacts(world, times)
    assert np.mean(solved.contacts == truth) > 0.85
    assert np.linalg.norm(solved.root[:, :2], axis=-1).max() < 0.25
    for part in range(4):
        on = solved.contacts[1:, part] & solved.contacts[:-1, part]
        speed = np.linalg.norm(np.diff(solved.xyz[:, FEET_AT[part]], axis=0), axis=-1) / np.diff(times)
        assert on.sum() > 20 and speed[on].max() < 1e-6


def test_gaps_are_bridged_but_never_looked_across():
    world, times = walking_in_place(adult(), 3.0, 30.0)
    times = times + np.random.default_rng(1).uniform(-0.008, 0.008, len(times))
    seen = np.ones(len(times), bool)
    seen[:3] = seen[40:55] = False
    case, solved = shoot(world, times, seen=seen, **NOISY)
    check_contract(solved)
    assert not solved.contacts[~seen].any()
    assert np.array_equal(solved.local_rotation[0], solved.local_rotation[3])
    # What comes after the gap has no influence on what was before it.
    other = film(world, times, R=case.R, t=case.t, seen=seen, **NOISY)
    other.lifted.joints[55:] = other.lifted.joints[55:] @ rotation_about([0, 1, 0], 20).T
    again = solve(other.lifted, other.track, K, settings(foot_lock=False, smoothing=0.5), quiet)
    first = solve(case.lifted, case.track, K, settings(foot_lock=False, smoothing=0.5), quiet)
    changed = np.abs(again.local_rotation - first.local_rotation)[:, 1:].max(axis=(1, 2))
    assert changed[:40].max() < 1e-6 and changed[55:].max() > 1e-3


def test_foot_lock_can_be_switched_off_and_smoothing_does_something():
    world, times = walking_in_place(adult(), 2.0)
    results = {}
    for name, options in {"on": {}, "off": {"foot_lock": False}, "rough": {"smoothing": 0.0}}.items():
        case, results[name] = shoot(world, times, options=options, **NOISY)
    # what the lock started from comes along, for feet that are freed by hand later
    on, off = results["on"], results["off"]
    assert off.local_rotation_free is None and off.root_free is None
    assert on.local_rotation_free.dtype == on.root_free.dtype == np.float32
    assert np.abs(on.local_rotation_free - off.local_rotation).max() < 1e-6
    assert np.abs(on.root_free - off.root).max() < 1e-6
    truth = true_contacts(world, times)

    def skate(solved):
        speed = np.linalg.norm(np.gradient(solved.xyz[:, FEET_AT, :2], times, axis=0), axis=-1)
        return speed[truth].mean()

    assert skate(results["on"]) < 0.5 * skate(results["off"])
    camera_truth = world @ case.R.T + case.t
    smooth, rough = (acceleration_error(results[n].xyz_camera, camera_truth, times) for n in ("on", "rough"))
    assert smooth < 0.5 * rough


@pytest.mark.parametrize(
    "view", [(-15.0, 8.0, 130.0, 0.6, 4.0), (35.0, -20.0, -70.0, 3.0, 5.0), (0.0, 90.0, 10.0, 1.2, 5.0)]
)
def test_any_camera_gives_the_same_level_world(view):
    """Pitch, roll and heading of the camera are recovered: up is up, the floor is the floor."""
    world, times = walking_in_place(adult(), 2.0, 30.0)
    case, solved = shoot(world, times, view=view)
    check_contract(solved)
    assert np.degrees(np.arccos((case.R[:, 2] @ solved.R[:, 2]).clip(-1, 1))) < 0.5
    heading = rotation_about([0, 0, 1], -view[2])  # world of the result: the camera looks along +Y
    expected = (world - world[:1, :1] * [1, 1, 0]) @ heading.T
    assert np.linalg.norm(solved.xyz - expected, axis=-1).max() < 0.04
