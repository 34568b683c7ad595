"""The whole solver on made-up and on recorded people."""

import time

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation
from solve_cases import (
    K,
    adult,
    camera,
    drawn_height,
    film,
    lengths_of,
    quiet,
    real_motion,
    rotation_about,
    settings,
    still,
    true_contacts,
)

from gentg_blender.core.contract import GentgError
from gentg_blender.core.kinematics import forward_kinematics, two_bone_ik
from gentg_blender.core.rotations import quat_from_axis_angle, quat_multiply, quat_to_matrix, rotation_angle
from gentg_blender.core.skeleton import (
    BONE_INDEX,
    BONE_JOINTS,
    BONE_PARENTS,
    BONES,
    FEET,
    JOINT_INDEX,
    JOINTS,
    MAIN_JOINTS,
)
from inference_backend.solve.orientation import bone_rotations, settle_spine
from inference_backend.solve.solve import STANDARD_HEIGHT, joints_of, solve

MAIN = [JOINT_INDEX[n] for n in MAIN_JOINTS]
FEET_AT = [JOINT_INDEX[n] for n in FEET]
NOISY = {"noise": 0.05, "jitter": 0.004, "pixels": 3.0, "depth_error": 0.02}


def shoot(world, times, view=(5.0, 0.0, 0.0, 1.4, 5.0), options=None, **noise):
    about = (world[:, 0, :2].min(0) + world[:, 0, :2].max(0)) / 2.0
    R, t = camera(*view, about)
    case = film(world, times, R=R, t=t, **noise)
    options = {"height": drawn_height(case.lifted)} | (options or {})
    return case, solve(case.lifted, case.track, K, settings(**options), quiet)


def posed(solved):
    return forward_kinematics(
        solved.rest_head,
        solved.rest_tail,
        solved.rest_rotation,
        BONE_PARENTS,
        solved.local_rotation,
        solved.root,
    )


def mpjpe(a, b):
    return float(np.linalg.norm((a - a[:, :1]) - (b - b[:, :1]), axis=-1)[:, MAIN].mean())


def acceleration_error(a, b, times):
    def acceleration(x):
        return np.diff(x - x[:, :1], 2, axis=0) / np.median(np.diff(times)) ** 2

    return float(np.linalg.norm(acceleration(a) - acceleration(b), axis=-1)[:, MAIN].mean())


def check_contract(solved):
    """What every result must satisfy, whatever went in."""
    for name in ("xyz", "xyz_camera", "local_rotation", "root", "R", "t", "limb_lengths", "sigma"):
        assert np.isfinite(getattr(solved, name)).all(), name
    assert np.allclose(np.linalg.norm(solved.local_rotation, axis=-1), 1.0, atol=1e-9)
    pose = posed(solved)
    at = JOINT_INDEX
    for bone, (head, tail) in enumerate(BONE_JOINTS):
        if not BONES[bone].startswith("toe"):
            assert np.abs(pose.head[:, bone] - solved.xyz[:, at[head]]).max() < 1e-4, BONES[bone]
        if not BONES[bone].startswith("foot"):  # its tail is the ball, which is no joint
            assert np.abs(pose.tail[:, bone] - solved.xyz[:, at[tail]]).max() < 1e-4, BONES[bone]
    for name, length in zip(solved.limb_names, solved.limb_lengths, strict=True):
        a, b = name.split("-")
        measured = np.linalg.norm(solved.xyz[:, at[a]] - solved.xyz[:, at[b]], axis=-1)
        assert np.allclose(measured, length, atol=1e-9), name
    assert np.allclose(solved.xyz @ solved.R.T + solved.t, solved.xyz_camera, atol=1e-9)


# --------------------------------------------------------------------------- rotations


def random_poses(rest, frames, rng):
    """Local rotations within human ranges that change slowly; knees and elbows are hinges about x."""
    key = rng.uniform(-1, 1, (4, len(BONES), 3))
    vector = CubicSpline(np.linspace(0, frames - 1, 4), key)(np.arange(frames)) * np.radians(20)
    for s in (".L", ".R"):
        for bone in ("shoulder", "toe", "shin", "forearm", "hand"):
            vector[:, BONE_INDEX[bone + s]] *= 0.0 if bone != "hand" else 0.7
        wave = np.radians(60 + 35 * np.sin(np.arange(frames) / 9.0))
        vector[:, BONE_INDEX["forearm" + s], 0] = wave
        vector[:, BONE_INDEX["shin" + s], 0] = -wave
        vector[:, BONE_INDEX["thigh" + s]] *= 1.5
        vector[:, BONE_INDEX["hand" + s], 1] = 0.0
    vector[:, BONE_INDEX["spine"], 1] = vector[:, BONE_INDEX["chest"], 1] = vector[
        :, BONE_INDEX["neck"], 1
    ] = 0.0
    local = Rotation.from_rotvec(vector.reshape(-1, 3)).as_quat()[:, [3, 0, 1, 2]].reshape(frames, -1, 4)
    twist = quat_from_axis_angle(
        np.broadcast_to([0.0, 1.0, 0.0], (frames, 3)), 0.5 * np.sin(np.arange(frames) / 15.0)
    )
    for s in (".L", ".R"):  # pronation: the forearm about itself, after the hinge
        local[:, BONE_INDEX["forearm" + s]] = quat_multiply(local[:, BONE_INDEX["forearm" + s]], twist)
    return local


def test_rotations_are_found_again_from_joints_alone():
    rest, rng = adult(), np.random.default_rng(4)
    frames = 90
    local = random_poses(rest, frames, rng)
    truth = forward_kinematics(
        rest.head, rest.tail, rest.rotation, BONE_PARENTS, local, np.zeros((frames, 3))
    )
    x = joints_of(rest, truth)
    got = bone_rotations(
        x, np.full(x.shape[:2], 0.005), rest, np.arange(frames) / 30.0, np.ones(frames, bool)
    )
    error = np.degrees(2 * np.arccos(np.clip(np.abs(np.sum(got * truth.rotation, -1)), 0, 1)))
    # Spine and neck share their roll between neighbours, forearm and hand are filtered in time.
    for bone, tolerance in {"upper_arm": 2.0, "thigh": 2.0, "shin": 2.0, "forearm": 8.0, "hand": 4.0, "foot": 4.0,
                            "chest": 4.0, "hips": 4.0, "head": 3.0, "spine": 15.0, "neck": 15.0}.items():  # fmt: skip
        for name in (bone, bone + ".L", bone + ".R"):
            if name in BONE_INDEX:
                assert error[:, BONE_INDEX[name]].max() < tolerance, (name, error[:, BONE_INDEX[name]].max())


def test_a_knee_drawn_backwards_is_bent_forwards_and_keeps_the_ankle():
    rest = adult()
    x, times = still(rest, 20)
    x = x.copy()
    for name in ("knee",):
        x[:, JOINT_INDEX["l_" + name], 1] += 0.12  # behind: +Y
    before = x.copy()
    q = bone_rotations(x, np.full(x.shape[:2], 0.01), rest, times, np.ones(20, bool))
    thigh = quat_to_matrix(q[:, BONE_INDEX["thigh.L"]])
    shin = quat_to_matrix(q[:, BONE_INDEX["shin.L"]])
    bend = np.einsum("ti,ti->t", shin[..., 1], thigh[..., 2])
    assert np.all(bend < -0.1)  # the shin leaves the thigh's front
    assert np.all(thigh[..., 1][:, 1] < -0.1)  # the thigh points forward, -Y
    assert np.array_equal(before, x)  # the input is not touched


def test_a_back_that_noise_compresses_does_not_snap_from_side_to_side():
    rest, rng = adult(), np.random.default_rng(3)
    frames = 60
    x, times = still(rest, frames)
    spine, chest, neck = (JOINT_INDEX[n] for n in ("spine", "chest", "neck"))
    x = x.copy()
    for j in range(len(JOINTS)):  # everything above the chest comes down: the two pieces must buckle
        if j != chest and x[0, j, 2] > rest.point("chest")[2] and "wrist" not in JOINTS[j]:
            x[:, j, 2] -= 0.02
    axis = (x[:, neck] - x[:, spine]) / np.linalg.norm(x[:, neck] - x[:, spine], axis=-1, keepdims=True)
    a, b, c = (
        np.linalg.norm(v)
        for v in (
            rest.point("chest") - rest.point("spine"),
            rest.point("neck") - rest.point("chest"),
            x[0, neck] - x[0, spine],
        )
    )
    along = (a * a + c * c - b * b) / (2 * c)
    out = np.sqrt(a * a - along * along)
    side = np.where(rng.random(frames) < 0.5, -1.0, 1.0)[:, None]  # left or right at random
    x[:, chest] = x[:, spine] + along * axis + out * side * [1.0, 0.0, 0.0]
    measured = np.repeat(rest.joints[None], frames, 0) + 0.005 * rng.standard_normal(x.shape)
    sigma = np.full(x.shape[:2], 0.05)
    settled = settle_spine(x, measured, sigma, rest, times, np.ones(frames, bool))
    for one, other in ((spine, chest), (chest, neck)):
        assert np.allclose(
            np.linalg.norm(settled[:, one] - settled[:, other], axis=-1),
            np.linalg.norm(x[:, one] - x[:, other], axis=-1),
            atol=1e-9,
        )
    assert np.linalg.norm(np.diff(settled[:, chest], axis=0), axis=-1).max() < 0.15 * out
    line = x[:, spine, 1] + (x[:, neck, 1] - x[:, spine, 1]) * along / c
    assert np.all(settled[:, chest, 1] < line - 0.5 * out)  # in front of the line, as at rest
    untouched = np.arange(len(JOINTS)) != chest
    assert np.array_equal(settled[:, untouched], x[:, untouched])


def test_a_straight_limb_keeps_its_roll_through_a_moment_without_a_plane():
    """An outward-turned leg bends, straightens for half a second, bends again: no spin in between."""
    rest = adult()
    frames = 60
    times = np.arange(frames) / 30.0
    local = np.tile([1.0, 0, 0, 0], (frames, len(BONES), 1))
    flexion = np.radians(50) * np.abs(np.cos(np.pi * np.arange(frames) / (frames - 1))) ** 3
    turned = quat_from_axis_angle(np.array([[0.0, 1.0, 0.0]]), np.radians([35.0]))
    local[:, BONE_INDEX["thigh.L"]] = turned
    local[:, BONE_INDEX["shin.L"]] = quat_from_axis_angle(np.broadcast_to([1.0, 0, 0], (frames, 3)), -flexion)
    truth = forward_kinematics(
        rest.head, rest.tail, rest.rotation, BONE_PARENTS, local, np.zeros((frames, 3))
    )
    x = joints_of(rest, truth) + 0.001 * np.random.default_rng(0).standard_normal((frames, len(JOINTS), 3))
    q = bone_rotations(x, np.full(x.shape[:2], 0.01), rest, times, np.ones(frames, bool))
    error = np.degrees(2 * np.arccos(np.clip(np.abs(np.sum(q * truth.rotation, -1)), 0, 1)))[
        :, BONE_INDEX["thigh.L"]
    ]
    assert error.max() < 20.0 and np.abs(np.diff(error)).max() < 6.0


# --------------------------------------------------------------------------- whole solver, made-up people


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


# --------------------------------------------------------------------------- recorded people

CLIPS = {"walk": ("cmu_35_01", 0, 90), "box": ("cmu_14_02", 428, 590), "roll": ("cmu_127_23", 0, 88),
         "jump": ("cmu_16_09", 0, 124)}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
def test_recorded_motion_comes_back(name):
    clip, start, stop = CLIPS[name]
    motion = real_motion(clip, start, stop)
    floor = np.quantile(motion.world[:, FEET_AT, 2], 0.05) - 0.02
    world = motion.world - [0, 0, floor]
    rng = np.random.default_rng(start)
    view = (*rng.uniform([0, -10, -180], [20, 10, 180]), 1.5, 5.5)
    case, solved = shoot(world, motion.times, view=view, **NOISY)
    check_contract(solved)
    truth = world @ case.R.T + case.t
    assert mpjpe(solved.xyz_camera, truth) < mpjpe(case.lifted.joints, truth - truth[:, :1])
    raw = acceleration_error(case.lifted.joints, truth, motion.times)
    assert acceleration_error(solved.xyz_camera, truth, motion.times) < min(0.5 * raw, 10.0)
    assert np.degrees(np.arccos((case.R[:, 2] @ solved.R[:, 2]).clip(-1, 1))) < 2.5

    planted = true_contacts(world, motion.times)
    speed = np.linalg.norm(np.gradient(solved.xyz[:, FEET_AT, :2], motion.times, axis=0), axis=-1)
    if name != "roll":
        assert speed[planted].mean() < 0.1  # foot skate, m/s
    assert solved.xyz[:, FEET_AT, 2][solved.contacts].min() > 0.0  # points of the skin, above the sole
    knees = [JOINT_INDEX["l_knee"], JOINT_INDEX["r_knee"]]  # locked legs must not pop

    def peak(x):
        return np.linalg.norm(np.diff(x[:, knees], 2, axis=0) * 900.0, axis=-1).max()

    assert peak(solved.xyz) < 2.5 * peak(world)
    for s in (".L", ".R"):  # no knee or elbow bends backwards
        pose = posed(solved)
        axes = quat_to_matrix(pose.rotation)
        for upper, lower, sign in (("thigh", "shin", -1.0), ("upper_arm", "forearm", 1.0)):
            a, b = axes[:, BONE_INDEX[upper + s]], axes[:, BONE_INDEX[lower + s]]
            bend = np.degrees(np.arcsin(np.clip(sign * np.sum(b[..., 1] * a[..., 2], -1), -1, 1)))
            assert bend.min() > -15.0, (upper + s, bend.min())


BONE_OF = {"hips": "Hips", "chest": "Spine1", "head": "Head", "upper_arm.L": "LeftArm", "thigh.L": "LeftUpLeg",
           "shin.L": "LeftLeg", "foot.L": "LeftFoot", "hand.L": "LeftFingerBase", "upper_arm.R": "RightArm",
           "thigh.R": "RightUpLeg", "shin.R": "RightLeg", "foot.R": "RightFoot", "hand.R": "RightFingerBase"}  # fmt: skip


@pytest.mark.parametrize("clip", ["cmu_35_01", "cmu_29_01"])
def test_rotations_follow_the_recorded_ones_with_twist(clip):
    """A bone's rotation and the recorded joint's differ by one constant rotation (the two rest
    poses), so a swapped side, a mirrored axis or a roll that is 90 degrees off cannot hide."""
    motion = real_motion(clip, 0, 150)
    case, solved = shoot(
        motion.world, motion.times, view=(8, 3, 60, 1.5, 5.5), options={"smoothing": 0.04, "foot_lock": False}
    )
    back = case.R.T @ solved.R  # solved world -> recorded world
    rotation = back @ quat_to_matrix(posed(solved).rotation)
    for bone, joint in BONE_OF.items():
        between = Rotation.from_matrix(
            np.swapaxes(motion.rotation[joint], -1, -2) @ rotation[:, BONE_INDEX[bone]]
        )
        off = np.degrees((between.mean().inv() * between).magnitude())
        assert np.median(off) < 6.0 and off.max() < 25.0, (bone, np.median(off), off.max())


def test_solving_takes_less_than_three_milliseconds_a_frame():
    motion = real_motion("cmu_14_02", 0, 300)
    start = time.process_time()
    shoot(motion.world, motion.times, **NOISY)
    assert (time.process_time() - start) / 300 < 3e-3
