"""The whole solver on recorded people."""

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from solve_cases import (
    FEET_AT,
    NOISY,
    acceleration_error,
    check_contract,
    mpjpe,
    posed,
    real_motion,
    shoot,
    true_contacts,
)

from gentg_blender.core.rotations import quat_to_matrix
from gentg_blender.core.skeleton import (
    BONE_INDEX,
    JOINT_INDEX,
)

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
