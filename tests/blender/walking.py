"""A made-up walk as a `Capture`: exact by construction, with its own forward kinematics in 4x4 matrices.

Needs numpy and gentg_blender.core only, so that it runs inside Blender.
"""

from __future__ import annotations

import numpy as np

from gentg_blender.core.contract import Capture
from gentg_blender.core.rotations import (
    basis_from,
    matrix_to_quat,
    quat_from_axis_angle,
    quat_multiply,
    quat_to_matrix,
)
from gentg_blender.core.skeleton import BONE_JOINTS, BONE_PARENTS, BONES, FEET, JOINTS, LIMBS, mirror_name

HEIGHT = 1.75

# T-pose, feet on the floor, facing -Y, the person's left at +X; metres for one of 1.75 m.
_MIDDLE = {"pelvis": (0, 0, 0.93), "spine": (0, 0.005, 1.06), "chest": (0, 0.01, 1.22), "neck": (0, 0.01, 1.45),
           "head": (0, -0.01, 1.60), "head_top": (0, -0.01, 1.75), "nose": (0, -0.11, 1.59)}  # fmt: skip
_LEFT = {
    "l_eye": (0.032, -0.085, 1.63), "l_ear": (0.075, 0.0, 1.60), "l_shoulder": (0.18, 0.01, 1.43),
    "l_elbow": (0.46, 0.02, 1.43), "l_wrist": (0.71, 0.01, 1.43), "l_index": (0.80, 0.0, 1.43),
    "l_pinky": (0.78, 0.03, 1.42), "l_thumb": (0.76, -0.06, 1.42), "l_hip": (0.09, 0, 0.91),
    "l_knee": (0.10, -0.01, 0.49), "l_ankle": (0.10, 0.01, 0.08), "l_heel": (0.10, 0.06, 0.0),
    "l_foot_index": (0.10, -0.18, 0.0), "l_small_toe": (0.15, -0.14, 0.0),
}  # fmt: skip


def rest_joints() -> dict[str, np.ndarray]:
    joints = {**_MIDDLE, **_LEFT}
    joints |= {mirror_name(n): (-x, y, z) for n, (x, y, z) in _LEFT.items()}
    return {n: np.array(joints[n], float) for n in JOINTS}


def rest_bones(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heads, tails (B, 3) and rotations (B, 4), each bone rolled by a random angle."""
    joint = rest_joints()
    head = np.array([joint[h] for h, _ in BONE_JOINTS])
    tail = np.array([joint[t] for _, t in BONE_JOINTS])
    for i, name in enumerate(BONES):
        if name.startswith("foot"):
            tail[i] = head[i] + 0.72 * (tail[i] - head[i])
        elif name.startswith("toe"):
            head[i] = tail[i - 1]
    roll = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(BONES))
    helper = np.where(np.abs((tail - head)[:, 2:]) > 0.09, [0.0, -1.0, 0.0], [0.0, 0.0, 1.0])
    q = matrix_to_quat(basis_from(tail - head, helper))
    return head, tail, quat_multiply(q, quat_from_axis_angle(np.array([0.0, 1.0, 0.0]), roll))


def forward(head, tail, rest, local, root) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posed heads, tails (T, B, 3) and bone matrices (T, B, 3, 3) in world space."""
    R, L = quat_to_matrix(rest), quat_to_matrix(local)
    G, H = np.zeros(local.shape[:2] + (3, 3)), np.zeros(local.shape[:2] + (3,))
    for b, p in enumerate(BONE_PARENTS):
        if p < 0:
            G[:, b], H[:, b] = R[b] @ L[:, b], root
        else:
            delta = G[:, p] @ R[p].T  # how the parent has turned since the rest pose
            G[:, b] = delta @ R[b] @ L[:, b]
            H[:, b] = H[:, p] + delta @ (head[b] - head[p])
    tails = H + np.einsum("tbij,bj->tbi", G @ np.swapaxes(R, -1, -2), tail - head)
    return H, tails, G


def local_from_world_turns(rest: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Turns (T, B, 4) about the armature's axes, applied in the parent's frame -> local rotations."""
    conj = rest * np.array([1.0, -1.0, -1.0, -1.0])
    return quat_multiply(quat_multiply(conj[None], turns), rest[None])


def walking(
    seconds: float = 2.0, fps: float = 30.0, *, gap: tuple[int, int] | None = None, seed: int = 0,
    timestamps: np.ndarray | None = None, image_size: tuple[int, int] = (1280, 720), meta: dict | None = None,
) -> Capture:  # fmt: skip
    """A person who walks towards -Y for `seconds`, filmed by a tilted camera with an off-centre lens.

    `gap` (first, last) frames are not seen. The camera stands in front of the person.
    """
    t = np.arange(max(1, round(seconds * fps))) / fps if timestamps is None else np.asarray(timestamps, float)
    count, bones = len(t), len(BONES)
    head, tail, rest = rest_bones(seed)
    phase = 2 * np.pi * 0.9 * t
    angle = {  # about x: positive swings a hanging limb backwards
        "thigh.L": 0.45 * np.sin(phase), "thigh.R": -0.45 * np.sin(phase),
        "shin.L": 0.5 - 0.5 * np.cos(phase), "shin.R": 0.5 + 0.5 * np.cos(phase),
        "foot.L": 0.2 * np.sin(phase + 1), "foot.R": -0.2 * np.sin(phase + 1),
        "toe.L": 0.1 * np.cos(phase), "toe.R": -0.1 * np.cos(phase),
        "spine": 0.05 * np.sin(2 * phase), "chest": 0.04 * np.cos(2 * phase), "head": 0.1 * np.sin(phase / 2),
        "forearm.L": 0.4 + 0.1 * np.sin(phase), "forearm.R": 0.4 - 0.1 * np.sin(phase),
    }  # fmt: skip
    turns = np.zeros((count, bones, 4))
    turns[..., 0] = 1.0
    x, y, z = np.eye(3)
    for name, a in angle.items():
        axis = z if name.startswith("forearm") else x
        turns[:, BONES.index(name)] = quat_from_axis_angle(np.broadcast_to(axis, (count, 3)), a)
    for side, sign in ((".L", 1.0), (".R", -1.0)):  # arms hang down and swing
        down = quat_from_axis_angle(np.broadcast_to(y, (count, 3)), np.full(count, sign * 1.2))
        swing = quat_from_axis_angle(np.broadcast_to(x, (count, 3)), -sign * 0.4 * np.sin(phase))
        turns[:, BONES.index("upper_arm" + side)] = quat_multiply(swing, down)
    turns[:, 0] = quat_from_axis_angle(np.broadcast_to(z, (count, 3)), 0.1 * np.sin(phase))
    local = local_from_world_turns(rest, turns)
    root = head[0] + np.stack([0.02 * np.sin(phase), -1.2 * t, 0.02 * np.cos(2 * phase) - 0.02], axis=-1)
    H, tails, G = forward(head, tail, rest, local, root)

    # every joint rides on the bone that its place belongs to
    joint = rest_joints()
    ride = {n: "head" for n in ("head", "head_top", "nose", "l_eye", "r_eye", "l_ear", "r_ear")}
    ride |= {
        "pelvis": "hips",
        "spine": "hips",
        "chest": "spine",
        "neck": "chest",
        "l_hip": "hips",
        "r_hip": "hips",
    }
    for s, side in (("l_", ".L"), ("r_", ".R")):
        ride |= {s + "shoulder": "shoulder" + side, s + "elbow": "upper_arm" + side, s + "wrist": "forearm" + side,
                 s + "knee": "thigh" + side, s + "ankle": "shin" + side, s + "heel": "foot" + side,
                 s + "foot_index": "toe" + side, s + "small_toe": "toe" + side}  # fmt: skip
        ride |= {s + n: "hand" + side for n in ("index", "pinky", "thumb")}
    R = quat_to_matrix(rest)
    xyz = np.zeros((count, len(JOINTS), 3))
    for j, name in enumerate(JOINTS):
        b = BONES.index(ride[name])
        xyz[:, j] = H[:, b] + np.einsum("tij,j->ti", G[:, b] @ R[b].T, joint[name] - head[b])

    K = np.array([[1100.0, 0, 0.47 * image_size[0]], [0, 1100.0, 0.55 * image_size[1]], [0, 0, 1.0]])
    K[:2, :2] *= max(image_size) / 1280.0
    a = 0.08  # looks along +Y, a little down, at someone who faces -Y
    R_cam = np.array([[1.0, 0.0, 0.0], [0.0, -np.sin(a), -np.cos(a)], [0.0, np.cos(a), -np.sin(a)]])
    centre = np.array([0.1, -1.2 * t[-1] - 4.0, 1.5])
    t_cam = -R_cam @ centre
    xyz_camera = xyz @ R_cam.T + t_cam
    pixels = xyz_camera @ K.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    seen = np.ones(count, bool)
    if gap is not None:
        seen[gap[0] : gap[1] + 1] = False
    sigma = np.full((count, len(JOINTS)), 0.03)
    sigma[:, JOINTS.index("l_wrist")] = 0.03 + 0.2 * (0.5 - 0.5 * np.cos(phase))
    planted = np.stack(
        [np.sin(phase) > 0.2, np.sin(phase) > 0, np.sin(phase) < -0.2, np.sin(phase) < 0], axis=-1
    )
    before = local.copy()
    wobble = 0.15 * np.sin(9.0 * phase)
    before[:, 6] = quat_multiply(before[:, 6], quat_from_axis_angle(np.broadcast_to(x, (count, 3)), wobble))
    limb = np.array([np.linalg.norm(joint[a] - joint[b]) for a, b in LIMBS])
    return Capture(
        names=np.array(JOINTS), xyz=xyz, xyz_camera=xyz_camera, sigma=sigma, seen=seen, timestamps=t,
        frames=np.arange(count), fps=np.array(float(fps)), bone_names=np.array(BONES),
        bone_parents=np.array(BONE_PARENTS), rest_head=head, rest_tail=tail, rest_rotation=rest,
        local_rotation=local, root=root, limb_names=np.array([f"{a}-{b}" for a, b in LIMBS]), limb_lengths=limb,
        contacts=planted, contact_names=np.array(FEET),
        keypoints=np.concatenate([pixels, np.ones((count, len(JOINTS), 1))], axis=-1),
        keypoint_names=np.array(JOINTS), K=K, R=R_cam, t=t_cam, image_size=np.array(image_size),
        xyz_tgt=xyz, local_rotation_tgt=before, root_tgt=root + [0.0, 0.0, 0.01], meta=meta or {},
    )  # fmt: skip
