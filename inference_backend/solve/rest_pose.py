"""The rest pose: a T-pose with the person's own limb lengths, facing -Y, left at +X, Z up.

Head, hands and feet are rigid pieces with several tracked points; where these sit is measured
in the clip. Trunk, neck and head lean as they do in people who stand upright, so that an
upright person's rotations are small and another rig's rest pose corresponds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gentg_blender.core.rotations import basis_from, matrix_to_quat, normalize
from gentg_blender.core.skeleton import (
    BALL_FRACTION,
    BONE_INDEX,
    BONES,
    JOINT_INDEX,
    JOINT_MIRROR,
    NUM_JOINTS,
)

from .limb_lengths import weighted_median

# Forward lean in radians from the vertical: means over upright frames of 13 CMU subjects.
LEAN = {"spine": np.radians(-8.0), "chest": np.radians(5.0), "neck": np.radians(2.0), "head": np.radians(8.0)}
NOSE_BELOW_EARS = np.radians(16.5)  # of a level head, seen from the middle of the ears
# Height of the tracked points above the sole, as a fraction of the length from heel to toe tip.
HEEL_ABOVE_SOLE = 0.13
TOE_ABOVE_SOLE = 0.085
CROWN_ABOVE_TOP = 0.01  # metres from the head_top point to the crown

_HEAD_POINTS = ("head_top", "nose", "l_eye", "r_eye", "l_ear", "r_ear")
_HAND_POINTS = ("index", "pinky", "thumb")
_FOOT_POINTS = ("heel", "foot_index", "small_toe")

# The bone that carries each joint; a joint that is a bone's head is carried by that bone.
CARRIER: dict[str, str] = {
    "pelvis": "hips", "spine": "spine", "chest": "chest", "neck": "neck", "head": "head",
    **dict.fromkeys(_HEAD_POINTS, "head"),
}  # fmt: skip
for _s, _S in (("l", ".L"), ("r", ".R")):
    CARRIER |= {
        f"{_s}_shoulder": "upper_arm" + _S, f"{_s}_elbow": "forearm" + _S, f"{_s}_wrist": "hand" + _S,
        f"{_s}_hip": "thigh" + _S, f"{_s}_knee": "shin" + _S, f"{_s}_ankle": "foot" + _S,
        f"{_s}_heel": "foot" + _S, f"{_s}_small_toe": "foot" + _S, f"{_s}_foot_index": "toe" + _S,
        **{f"{_s}_{p}": "hand" + _S for p in _HAND_POINTS},
    }  # fmt: skip


@dataclass
class RestPose:
    """The body at rest in armature space, metres, soles on z = 0."""

    joints: np.ndarray  # (35, 3)
    head: np.ndarray  # (B, 3)
    tail: np.ndarray  # (B, 3)
    rotation: np.ndarray  # (B, 4) wxyz
    matrix: np.ndarray  # (B, 3, 3) the same: columns are the bone's axes, y from head to tail
    carrier: np.ndarray  # (35,) the bone that carries each joint
    offset: np.ndarray  # (35, 3) joint from the carrier's head, in the bone's axes

    @property
    def standing_height(self) -> float:
        """Crown above the soles, metres."""
        return float(self.joints[JOINT_INDEX["head_top"], 2]) + CROWN_ABOVE_TOP

    def point(self, name: str) -> np.ndarray:
        return self.joints[JOINT_INDEX[name]]


def head_axes(points: dict[str, np.ndarray]) -> np.ndarray:
    """Left, back, up of a head as columns (T, 3, 3), from its ears, nose and their middle."""
    left = normalize(points["l_ear"] - points["r_ear"])
    to_nose = points["nose"] - points["head"]
    ahead = normalize(to_nose - np.sum(to_nose * left, axis=-1, keepdims=True) * left)
    up = np.cross(ahead, left)
    level = np.cos(NOSE_BELOW_EARS) * ahead + np.sin(NOSE_BELOW_EARS) * up
    return np.stack([left, -level, np.cross(level, left)], axis=-1)


def hand_axes(wrist: np.ndarray, index: np.ndarray, pinky: np.ndarray, side: float) -> np.ndarray:
    """Axes (T, 3, 3) that equal the world's when the arm lies along x with the palm down."""
    along = normalize((index + pinky) / 2.0 - wrist)
    across = index - pinky
    ahead = normalize(across - np.sum(across * along, axis=-1, keepdims=True) * along)
    x, y = side * along, -ahead
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def foot_axes(ankle: np.ndarray, heel: np.ndarray, toe: np.ndarray) -> np.ndarray:
    """Left, back, up of a foot whose sole would be level, as columns (T, 3, 3)."""
    ahead = normalize(toe - heel)
    up = ankle - heel
    up = normalize(up - np.sum(up * ahead, axis=-1, keepdims=True) * ahead)
    slope = np.arcsin(HEEL_ABOVE_SOLE - TOE_ABOVE_SOLE)
    level = np.cos(slope) * ahead + np.sin(slope) * up
    up = np.cos(slope) * up - np.sin(slope) * ahead
    return np.stack([np.cross(up, level), -level, up], axis=-1)


def _piece_offsets(joints: np.ndarray, sigma: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Points of head, hands and feet from the piece's own joint, in its level axes. -> (35, 3)."""
    at = JOINT_INDEX

    def get(name: str) -> np.ndarray:
        return joints[:, at[name]]

    pieces = [("head", _HEAD_POINTS, head_axes({n: get(n) for n in ("head", *_HEAD_POINTS)}))]
    for s, side in (("l", 1.0), ("r", -1.0)):
        hand = hand_axes(get(s + "_wrist"), get(s + "_index"), get(s + "_pinky"), side)
        foot = foot_axes(get(s + "_ankle"), get(s + "_heel"), get(s + "_foot_index"))
        pieces.append((s + "_wrist", tuple(f"{s}_{p}" for p in _HAND_POINTS), hand))
        pieces.append((s + "_ankle", tuple(f"{s}_{p}" for p in _FOOT_POINTS), foot))
    offsets = np.zeros((NUM_JOINTS, 3))
    for base, names, axes in pieces:
        for name in names:
            local = np.einsum("tji,tj->ti", axes, get(name) - get(base))
            weight = 1.0 / (0.02**2 + sigma[:, at[name]] ** 2)[:, None]
            offsets[at[name]] = weighted_median(local, weight)
    offsets = (offsets + offsets[JOINT_MIRROR] * [-1.0, 1.0, 1.0]) / 2.0
    return normalize(offsets) * lengths[:, None]


def build_rest_pose(lengths: np.ndarray, joints: np.ndarray, sigma: np.ndarray) -> RestPose:
    """lengths (35,) from each joint to its parent; joints (T, 35, 3) in any axes and sigma (T, 35)
    show where face, hand and foot points sit."""
    return pose_from_offsets(lengths, _piece_offsets(joints, sigma, lengths))


def pose_from_offsets(lengths: np.ndarray, offsets: np.ndarray) -> RestPose:
    """The T-pose. offsets (35, 3): points of head, hands and feet as `RestPose.joints` holds them,
    from the head, wrist and ankle; other rows are not used."""
    at, x = JOINT_INDEX, np.zeros((NUM_JOINTS, 3))
    for name, parent in (("spine", "pelvis"), ("chest", "spine"), ("neck", "chest"), ("head", "neck")):
        x[at[name]] = x[at[parent]] + lengths[at[name]] * np.array(
            [0.0, -np.sin(LEAN[name]), np.cos(LEAN[name])]
        )
    for name in _HEAD_POINTS:
        x[at[name]] = x[at["head"]] + offsets[at[name]]
    for s, side in (("l", 1.0), ("r", -1.0)):
        for name, parent, direction in (
            ("shoulder", "neck", [side, 0, 0]), ("elbow", "l_shoulder", [side, 0, 0]),
            ("wrist", "l_elbow", [side, 0, 0]), ("hip", "pelvis", [side, 0, 0]),
            ("knee", "l_hip", [0, 0, -1.0]), ("ankle", "l_knee", [0, 0, -1.0]),
        ):  # fmt: skip
            joint, before = at[f"{s}_{name}"], at[parent.replace("l_", s + "_")]
            x[joint] = x[before] + lengths[joint] * np.array(direction)
        for base, names in (("wrist", _HAND_POINTS), ("ankle", _FOOT_POINTS)):
            for name in names:
                x[at[f"{s}_{name}"]] = x[at[f"{s}_{base}"]] + offsets[at[f"{s}_{name}"]]
    foot = np.linalg.norm(x[at["l_heel"]] - x[at["l_foot_index"]])
    x[:, 2] -= x[at["l_foot_index"], 2] - TOE_ABOVE_SOLE * foot
    return _with_bones(x)


def _with_bones(x: np.ndarray) -> RestPose:
    at = JOINT_INDEX
    front, up = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    ends = {
        "hips": ("pelvis", "spine"), "spine": ("spine", "chest"), "chest": ("chest", "neck"),
        "neck": ("neck", "head"), "head": ("head", "head_top"),
    }  # fmt: skip
    head, tail = np.zeros((len(BONES), 3)), np.zeros((len(BONES), 3))
    matrix = np.zeros((len(BONES), 3, 3))
    for s, S in (("l", ".L"), ("r", ".R")):
        ends |= {
            "shoulder" + S: ("neck", s + "_shoulder"), "upper_arm" + S: (s + "_shoulder", s + "_elbow"),
            "forearm" + S: (s + "_elbow", s + "_wrist"), "hand" + S: (s + "_wrist", s + "_index"),
            "thigh" + S: (s + "_hip", s + "_knee"), "shin" + S: (s + "_knee", s + "_ankle"),
        }  # fmt: skip
        ankle, tip = x[at[s + "_ankle"]], x[at[s + "_foot_index"]]
        below = np.array([ankle[0], ankle[1], tip[2]])
        ball = below + BALL_FRACTION * (tip - below)
        for bone, a, b in (("foot" + S, ankle, ball), ("toe" + S, ball, tip)):
            i = BONE_INDEX[bone]
            head[i], tail[i] = a, b
            matrix[i] = basis_from(b - a, up)
    for bone, (a, b) in ends.items():
        i = BONE_INDEX[bone]
        head[i], tail[i] = x[at[a]], x[at[b]]
        matrix[i] = basis_from(tail[i] - head[i], front)
    carrier = np.array([BONE_INDEX[CARRIER[n]] for n in at])
    offset = np.einsum("jba,jb->ja", matrix[carrier], x - head[carrier])
    return RestPose(x, head, tail, matrix_to_quat(matrix), matrix, carrier, offset)
