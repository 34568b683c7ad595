"""Joints to bone rotations, against rotations that the joints were made from."""

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation
from solve_cases import (
    adult,
    still,
)

from gentg_blender.core.kinematics import forward_kinematics
from gentg_blender.core.rotations import quat_from_axis_angle, quat_multiply, quat_to_matrix
from gentg_blender.core.skeleton import (
    BONE_INDEX,
    BONE_PARENTS,
    BONES,
    JOINT_INDEX,
    JOINTS,
)
from inference_backend.solve.orientation import bone_rotations, resolve_chest_twist
from inference_backend.solve.solve import joints_of


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
    settled = resolve_chest_twist(x, measured, sigma, rest, times, np.ones(frames, bool))
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
