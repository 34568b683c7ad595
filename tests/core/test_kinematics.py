"""Forward kinematics against 4x4 matrices multiplied out bone by bone; two-bone IK against geometry."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gentg_blender.core.kinematics import forward_kinematics, local_rotations, two_bone_ik
from gentg_blender.core.rotations import normalize, quat_rotate

RNG = np.random.default_rng(11)
PARENTS = np.array([-1, 0, 1, 0, 3, 4])


def wxyz(rotation):
    return rotation.as_quat()[:, [3, 0, 1, 2]]


@pytest.fixture
def rig():
    head, tail = RNG.standard_normal((2, 6, 3))
    rotation = Rotation.random(6, random_state=2)
    return head, tail, rotation


def test_forward_kinematics_is_blenders_matrix_chain(rig):
    head, tail, rest = rig
    local = [Rotation.random(6, random_state=k) for k in range(4)]
    root = RNG.standard_normal((4, 3))
    pose = forward_kinematics(head, tail, wxyz(rest), PARENTS, np.stack([wxyz(q) for q in local]), root)
    rest_matrix = np.tile(np.eye(4), (6, 1, 1))
    rest_matrix[:, :3, :3], rest_matrix[:, :3, 3] = rest.as_matrix(), head
    for frame in range(4):
        posed = [None] * 6
        for bone, parent in enumerate(PARENTS):  # pose.matrix = parent.pose parent.rest^-1 rest basis
            basis = np.eye(4)
            basis[:3, :3] = local[frame][bone].as_matrix()
            if parent < 0:
                posed[bone] = rest_matrix[bone] @ basis
                posed[bone][:3, 3] = root[frame]
            else:
                between = np.linalg.inv(rest_matrix[parent]) @ rest_matrix[bone]
                posed[bone] = posed[parent] @ between @ basis
            tail_in_bone = np.linalg.inv(rest_matrix[bone]) @ [*tail[bone], 1.0]
            assert np.allclose(pose.head[frame, bone], posed[bone][:3, 3], atol=1e-12)
            assert np.allclose(pose.tail[frame, bone], (posed[bone] @ tail_in_bone)[:3], atol=1e-12)
            mine = Rotation.from_quat(pose.rotation[frame, bone][[1, 2, 3, 0]]).as_matrix()
            assert np.allclose(mine, posed[bone][:3, :3], atol=1e-12)


def test_local_rotations_invert_forward_kinematics(rig):
    head, tail, rest = rig
    local = wxyz(Rotation.random(60, random_state=9)).reshape(10, 6, 4)
    pose = forward_kinematics(head, tail, wxyz(rest), PARENTS, local, np.zeros((10, 3)))
    back = local_rotations(wxyz(rest), PARENTS, pose.rotation)
    assert np.allclose(np.abs(np.sum(back * local, -1)), 1.0, atol=1e-12)


def chain(n=200, seed=3):
    rng = np.random.default_rng(seed)
    root, mid = rng.standard_normal((2, n, 3))
    end = mid + rng.standard_normal((n, 3))
    return root, mid, end, rng


def test_two_bone_ik_reaches_with_exact_lengths_and_matching_turns():
    root, mid, end, rng = chain()
    a, b = np.linalg.norm(mid - root, axis=-1), np.linalg.norm(end - mid, axis=-1)
    reach = np.abs(a - b) + (a + b - np.abs(a - b)) * rng.uniform(0.02, 0.98, len(a))
    target = root + normalize(rng.standard_normal(root.shape)) * reach[:, None]
    ik = two_bone_ik(root, mid, end, target)
    assert np.allclose(ik.end, target, atol=1e-9)
    assert np.allclose(np.linalg.norm(ik.mid - root, axis=-1), a, atol=1e-9)
    assert np.allclose(np.linalg.norm(ik.end - ik.mid, axis=-1), b, atol=1e-9)
    assert np.allclose(quat_rotate(ik.upper, mid - root), ik.mid - root, atol=1e-9)
    assert np.allclose(quat_rotate(ik.lower, end - mid), ik.end - ik.mid, atol=1e-9)


def test_two_bone_ik_leaves_a_chain_alone_that_is_there_already():
    root, mid, end, _ = chain()
    ik = two_bone_ik(root, mid, end, end)
    assert np.allclose(ik.mid, mid, atol=1e-7)
    assert np.allclose(np.abs(ik.upper[:, 0]), 1.0, atol=1e-9)
    assert np.allclose(np.abs(ik.lower[:, 0]), 1.0, atol=1e-9)


def test_two_bone_ik_keeps_the_side_the_knee_is_on():
    root, mid, end = np.array([0, 0, 1.0]), np.array([0, -0.1, 0.5]), np.array([0, 0, 0.0])
    for target in ([0, 0, 0.4], [0.3, 0, 0.1], [-0.2, 0.2, 0.3]):
        ik = two_bone_ik(root, mid, end, np.array(target))
        line = np.array(target) - root
        side = ik.mid - root - line * np.dot(ik.mid - root, line) / np.dot(line, line)
        assert side[1] < 0  # forward is -Y


def test_straight_chain_bends_to_the_pole():
    root, mid, end = np.array([0, 0, 2.0]), np.array([0, 0, 1.0]), np.array([0, 0, 0.0])
    ik = two_bone_ik(root, mid, end, np.array([0, 0, 0.5]), pole=np.array([0.0, -1.0, 0.2]))
    assert ik.mid[1] < -0.5 and abs(ik.mid[0]) < 1e-9


def test_reach_is_limited_hard_or_softly_and_never_beyond_the_length():
    root, mid, end = np.array([0, 0, 2.0]), np.array([0, -0.3, 1.0]), np.array([0, 0, 0.0])
    full = 2 * np.hypot(0.3, 1.0)
    distance = np.linspace(0.5 * full, 1.6 * full, 400)
    target = root - distance[:, None] * [0.0, 0.0, 1.0]
    hard = np.linalg.norm(two_bone_ik(root, mid, end, target).end - root, axis=-1)
    assert np.allclose(hard, np.minimum(distance, full), atol=1e-6)
    soft = np.linalg.norm(two_bone_ik(root, mid, end, target, softness=0.05).end - root, axis=-1)
    assert np.allclose(soft[distance < 0.95 * full], distance[distance < 0.95 * full], atol=1e-9)
    assert np.all(soft <= full + 1e-9) and np.all(np.diff(soft) > -1e-9)
    slope = np.diff(soft) / np.diff(distance)
    assert np.max(np.abs(np.diff(slope))) < 0.1  # no kink


def test_a_leg_that_straightens_turns_to_its_pole_without_spinning():
    """The knee is off the line by a shrinking amount, on a side that noise decides."""
    root, pole = np.array([0, 0, 2.0]), np.array([0.0, -1.0, 0.0])
    angle = np.linspace(0, 2 * np.pi, 50)
    out = 1e-4 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    mid = np.array([0, 0, 1.0]) + out
    ik = two_bone_ik(root, mid, np.array([0, 0, 0.0]), np.array([0, 0, 0.02]), pole=pole)
    side = normalize((ik.mid - root) * [1, 1, 0])
    assert np.all(side @ pole > 0.999)
    bent = two_bone_ik(root, np.array([0.4, 0, 1.0]), np.zeros(3), np.array([0, 0, 0.1]), pole=pole)
    assert normalize((bent.mid - root) * [1, 1, 0])[0] > 0.99  # a side of its own wins
