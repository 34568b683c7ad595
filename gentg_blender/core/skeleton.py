"""The two skeletons of the project: 35 tracked joints and 21 animated bones.

Joints are *points* (what networks and detectors speak of), bones are *rotating
segments* (what animators key). `l_` / `r_` and `.L` / `.R` are the person's own
left and right. All other modules take names, parents and symmetry from here.
"""

from __future__ import annotations

import numpy as np

# --------------------------------------------------------------------------- joints (points)
# name -> parent; parents stand before their children. `pelvis`, `neck` and `head` are the
# middles of the hips, shoulders and ears; `foot_index` is the tip of the big toe; `index` and
# `pinky` are the knuckles (MCP joints), `thumb` the last joint of the thumb.
_JOINT_PARENT: dict[str, str | None] = {
    "pelvis": None,
    "spine": "pelvis",
    "chest": "spine",
    "neck": "chest",
    "head": "neck",
    "head_top": "head",
    "nose": "head",
    "l_eye": "head",
    "r_eye": "head",
    "l_ear": "head",
    "r_ear": "head",
    "l_shoulder": "neck",
    "r_shoulder": "neck",
    "l_elbow": "l_shoulder",
    "r_elbow": "r_shoulder",
    "l_wrist": "l_elbow",
    "r_wrist": "r_elbow",
    "l_index": "l_wrist",
    "r_index": "r_wrist",
    "l_pinky": "l_wrist",
    "r_pinky": "r_wrist",
    "l_thumb": "l_wrist",
    "r_thumb": "r_wrist",
    "l_hip": "pelvis",
    "r_hip": "pelvis",
    "l_knee": "l_hip",
    "r_knee": "r_hip",
    "l_ankle": "l_knee",
    "r_ankle": "r_knee",
    "l_heel": "l_ankle",
    "r_heel": "r_ankle",
    "l_foot_index": "l_ankle",
    "r_foot_index": "r_ankle",
    "l_small_toe": "l_ankle",
    "r_small_toe": "r_ankle",
}


def mirror_name(name: str) -> str:
    """The same joint or bone on the other side of the body."""
    for a, b in (("l_", "r_"), ("r_", "l_")):
        if name.startswith(a):
            return b + name[2:]
    for a, b in ((".L", ".R"), (".R", ".L")):
        if name.endswith(a):
            return name[:-2] + b
    return name


JOINTS: tuple[str, ...] = tuple(_JOINT_PARENT)
JOINT_INDEX: dict[str, int] = {name: i for i, name in enumerate(JOINTS)}
JOINT_PARENTS: np.ndarray = np.array(
    [-1 if p is None else JOINT_INDEX[p] for p in _JOINT_PARENT.values()], dtype=np.int64
)
JOINT_MIRROR: np.ndarray = np.array([JOINT_INDEX[mirror_name(n)] for n in JOINTS], dtype=np.int64)
NUM_JOINTS = len(JOINTS)

# The 17 joints that published figures are given on (Human3.6M's set, our names).
MAIN_JOINTS: tuple[str, ...] = (
    "pelvis", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "spine", "neck",
    "nose", "head_top", "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
)  # fmt: skip

# Limb tokens of TGT: pairs of joints that the 2D input can see.
LIMBS: tuple[tuple[str, str], ...] = (
    ("l_shoulder", "r_shoulder"), ("l_hip", "r_hip"),
    ("l_shoulder", "l_hip"), ("r_shoulder", "r_hip"),
    ("l_shoulder", "l_elbow"), ("r_shoulder", "r_elbow"),
    ("l_elbow", "l_wrist"), ("r_elbow", "r_wrist"),
    ("l_wrist", "l_index"), ("r_wrist", "r_index"),
    ("l_hip", "l_knee"), ("r_hip", "r_knee"),
    ("l_knee", "l_ankle"), ("r_knee", "r_ankle"),
    ("l_heel", "l_foot_index"), ("r_heel", "r_foot_index"),
    ("l_ear", "r_ear"), ("nose", "neck"),
)  # fmt: skip
LIMB_INDEX: np.ndarray = np.array([[JOINT_INDEX[a], JOINT_INDEX[b]] for a, b in LIMBS], np.int64)

# --------------------------------------------------------------------------- bones (segments)
# name -> (parent, joint at the head, joint at the tail). The ball of the foot is no tracked
# joint: it lies at BALL_FRACTION of the way from the ankle's foot point to the toe tip.
_BONE: dict[str, tuple[str | None, str, str]] = {
    "hips": (None, "pelvis", "spine"),
    "spine": ("hips", "spine", "chest"),
    "chest": ("spine", "chest", "neck"),
    "neck": ("chest", "neck", "head"),
    "head": ("neck", "head", "head_top"),
    "shoulder.L": ("chest", "neck", "l_shoulder"),
    "upper_arm.L": ("shoulder.L", "l_shoulder", "l_elbow"),
    "forearm.L": ("upper_arm.L", "l_elbow", "l_wrist"),
    "hand.L": ("forearm.L", "l_wrist", "l_index"),
    "shoulder.R": ("chest", "neck", "r_shoulder"),
    "upper_arm.R": ("shoulder.R", "r_shoulder", "r_elbow"),
    "forearm.R": ("upper_arm.R", "r_elbow", "r_wrist"),
    "hand.R": ("forearm.R", "r_wrist", "r_index"),
    "thigh.L": ("hips", "l_hip", "l_knee"),
    "shin.L": ("thigh.L", "l_knee", "l_ankle"),
    "foot.L": ("shin.L", "l_ankle", "l_foot_index"),
    "toe.L": ("foot.L", "l_foot_index", "l_foot_index"),
    "thigh.R": ("hips", "r_hip", "r_knee"),
    "shin.R": ("thigh.R", "r_knee", "r_ankle"),
    "foot.R": ("shin.R", "r_ankle", "r_foot_index"),
    "toe.R": ("foot.R", "r_foot_index", "r_foot_index"),
}
BALL_FRACTION = 0.72

BONES: tuple[str, ...] = tuple(_BONE)
BONE_INDEX: dict[str, int] = {name: i for i, name in enumerate(BONES)}
BONE_PARENTS: np.ndarray = np.array(
    [-1 if p is None else BONE_INDEX[p] for p, _, _ in _BONE.values()], dtype=np.int64
)
BONE_JOINTS: tuple[tuple[str, str], ...] = tuple((h, t) for _, h, t in _BONE.values())
BONE_MIRROR: np.ndarray = np.array([BONE_INDEX[mirror_name(n)] for n in BONES], dtype=np.int64)

# Parts of the feet that can be planted, in the order of every `contacts` array.
FEET: tuple[str, ...] = ("l_heel", "l_foot_index", "r_heel", "r_foot_index")
