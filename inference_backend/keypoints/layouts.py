"""Keypoint layouts of common 2D detectors and their way into the project's 35 joints.

Sources of the orders: COCO 2017 keypoints; Halpe-FullBody (26); COCO-WholeBody (133: body, feet, 68
face, 21 left hand, 21 right hand); MediaPipe BlazePose (33); Human3.6M as used since Martinez 2017.
"""

from __future__ import annotations

import numpy as np

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX, NUM_JOINTS

_COCO = (
    "nose", "l_eye", "r_eye", "l_ear", "r_ear", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow",
    "l_wrist", "r_wrist", "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle",
)  # fmt: skip
_HAND = (
    "wrist_root",
    *(f"{finger}_{i}" for finger in ("thumb", "index", "middle", "ring", "pinky") for i in range(1, 5)),
)
# The hand's points that are joints of ours: knuckles (MCP), and of the thumb the last joint (IP).
_HAND_JOINTS = {"thumb_3": "thumb", "index_1": "index", "pinky_1": "pinky"}

# Names equal to core.skeleton.JOINTS are the same point; all others have no counterpart there.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "coco17": _COCO,
    "halpe26": (
        *_COCO, "head_top", "neck", "pelvis", "l_foot_index", "r_foot_index", "l_small_toe", "r_small_toe",
        "l_heel", "r_heel",
    ),
    "wholebody133": (
        *_COCO, "l_foot_index", "l_small_toe", "l_heel", "r_foot_index", "r_small_toe", "r_heel",
        *(f"face_{i}" for i in range(68)),
        *(f"{side}_{_HAND_JOINTS.get(point, 'hand_' + point)}" for side in "lr" for point in _HAND),
    ),
    "blazepose33": (
        "nose", "l_eye_inner", "l_eye", "l_eye_outer", "r_eye_inner", "r_eye", "r_eye_outer", "l_ear", "r_ear",
        "l_mouth", "r_mouth", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist", "l_pinky",
        "r_pinky", "l_index", "r_index", "l_thumb", "r_thumb", "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle",
        "r_ankle", "l_heel", "r_heel", "l_foot_index", "r_foot_index",
    ),
    "h36m17": (
        "pelvis", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "spine", "neck", "nose", "head_top",
        "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
    ),
}  # fmt: skip

# Joints that core.skeleton defines as middles: joint -> its pair.
MIDDLES: dict[str, tuple[str, str]] = {
    "pelvis": ("l_hip", "r_hip"),
    "neck": ("l_shoulder", "r_shoulder"),
    "head": ("l_ear", "r_ear"),
}


def layout_names(layout: str) -> tuple[str, ...]:
    """Point names of a layout. Raises GentgError("bad_keypoints") for an unknown one."""
    if layout not in LAYOUTS:
        raise GentgError(
            "bad_keypoints",
            f"The keypoint layout {layout!r} is unknown.",
            hint=f"Known layouts: {', '.join(LAYOUTS)}.",
        )
    return LAYOUTS[layout]


def to_canonical(keypoints: np.ndarray, layout: str) -> np.ndarray:
    """(..., K, D) values of a layout -> (..., 35, D) in core.skeleton.JOINTS order; absent joints are 0.

    The last of the D channels is the confidence, the others coordinates. Pelvis, neck and head are
    the middles of their pairs with the lower confidence of the two; where a member of the pair has
    confidence 0 the detector's own point stands, if the layout has one.
    Raises GentgError("bad_keypoints") for an unknown layout or a wrong number of points.
    """
    names = layout_names(layout)
    keypoints = np.asarray(keypoints)
    if keypoints.ndim < 2 or keypoints.shape[-2] != len(names):
        raise GentgError(
            "bad_keypoints",
            f"The layout {layout} has {len(names)} points, but the array's shape is {keypoints.shape}.",
        )
    out = np.zeros((*keypoints.shape[:-2], NUM_JOINTS, keypoints.shape[-1]), dtype=keypoints.dtype)
    source = [i for i, name in enumerate(names) if name in JOINT_INDEX]
    out[..., [JOINT_INDEX[names[i]] for i in source], :] = keypoints[..., source, :]
    derive_middles(out)
    return out


def derive_middles(keypoints: np.ndarray) -> None:
    """Set pelvis, neck and head of (..., 35, D) in place from their pairs, where both are seen."""
    for joint, (left, right) in MIDDLES.items():
        a, b = keypoints[..., JOINT_INDEX[left], :], keypoints[..., JOINT_INDEX[right], :]
        middle = np.concatenate([(a + b)[..., :-1] / 2, np.minimum(a, b)[..., -1:]], axis=-1)
        both = (middle[..., -1:] > 0) & np.isfinite(middle[..., :1])
        keypoints[..., JOINT_INDEX[joint], :] = np.where(both, middle, keypoints[..., JOINT_INDEX[joint], :])


def present(layout: str) -> np.ndarray:
    """(35,) bool: the joints that a layout can report, the derived ones included."""
    probe = np.zeros((len(layout_names(layout)), 3))
    probe[:, 2] = 1.0
    return to_canonical(probe, layout)[:, 2] > 0
