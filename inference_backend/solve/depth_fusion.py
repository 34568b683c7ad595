"""A second opinion on depth: the detector's own 3D, weighed against the network's uncertainty.

Some detectors guess a 3D pose of their own from the image itself, which TGT never sees. On common
poses it is the worse of the two; in a somersault or a deep squat, where TGT says that it does not
know, it often is the better one. Only depth is taken: across the view the 2D points say it all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gentg_blender.core.rotations import normalize
from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_PARENTS, JOINTS
from inference_backend.lifting.lifted import Lifted

from .smoothing import local_mean

DETECTOR_SIGMA = 0.4  # metres: error of a detector's depth, against which TGT's sigma is weighed
AGREEMENT = 0.2  # metres: a joint that the two see further apart across the view is not the same joint
SMOOTHING = 0.19  # seconds, full width at half maximum: detectors that look at single frames flicker
# Limbs that both describe, for the scale between the two bodies.
_LIMBS = np.isin(JOINTS, [f"{s}_{n}" for s in "lr" for n in ("elbow", "wrist", "knee", "ankle")])
_CHUNK = 1024  # frames worked on at once: bounds memory on long clips
_HIPS = [JOINT_INDEX["l_hip"], JOINT_INDEX["r_hip"]]


def fuse_detector_depth(
    lifted: Lifted, world: np.ndarray | None, times: np.ndarray, seen: np.ndarray
) -> Lifted:
    """`lifted` with its joints moved along the line of sight towards the detector's own 3D.

    world (T, 35, 3) metres, hip-centred, x right, y down, z away from a camera that looks at the
    person; NaN where a joint has none; None when the detector has no 3D. times (T,) seconds, seen
    (T,) bool. Both estimates count as Gaussian: the share of the detector's is
    sigma^2 / (sigma^2 + DETECTOR_SIGMA^2), less where the two disagree across the view.
    """
    if world is None or not np.isfinite(world).any():
        return lifted
    scale = _scale(lifted.joints, world)
    pull = np.empty(lifted.joints.shape[:2])  # metres along the line of sight
    parts = [slice(start, start + _CHUNK) for start in range(0, len(lifted), _CHUNK)]
    for part in parts:
        view = _facing(lifted.root[part])  # (n, 3, 3) camera axes -> axes of the line of sight
        ours = np.einsum("tij,tkj->tki", view, lifted.joints[part])
        sigma2 = np.einsum("tij,tkj->tki", view**2, lifted.sigma_xyz[part] ** 2)[..., 2]
        valid = np.isfinite(world[part]).all(-1)  # (n, 35)
        theirs = np.nan_to_num(world[part]).astype(np.float64)
        theirs += (ours[:, _HIPS].mean(1) - theirs[:, _HIPS].mean(1))[:, None]
        apart = (theirs - ours[:, :1]) * scale - (ours - ours[:, :1])
        agreement = np.exp(-np.sum(apart[..., :2] ** 2, axis=-1) / AGREEMENT**2)
        pull[part] = sigma2 / (sigma2 + DETECTOR_SIGMA**2) * agreement * valid * apart[..., 2]
    depth = local_mean(pull, times, SMOOTHING, seen)
    depth -= depth[:, :1].copy()  # joints stay relative to the pelvis
    joints = lifted.joints.copy()
    for part in parts:
        joints[part] += depth[part, :, None] * _facing(lifted.root[part])[:, None, 2]
    return replace(lifted, joints=joints)


def _facing(root: np.ndarray) -> np.ndarray:
    """Rows (T, 3, 3): right, down and ahead of a camera that looks straight at the pelvis (T, 3)."""
    ahead = normalize(root)
    right = normalize(np.cross([0.0, 1.0, 0.0], ahead))
    return np.stack([right, np.cross(ahead, right), ahead], axis=-2)


def _scale(joints: np.ndarray, world: np.ndarray) -> float:
    """Median ratio of limb lengths, ours over the detector's (NaN where it has no joint)."""
    parents = np.maximum(JOINT_PARENTS, 0)[_LIMBS]
    ours = np.linalg.norm(joints[:, _LIMBS] - joints[:, parents], axis=-1)
    theirs = np.linalg.norm(world[:, _LIMBS] - world[:, parents], axis=-1)
    both = np.isfinite(theirs)
    return float(np.median(ours[both] / np.maximum(theirs[both], 1e-3))) if both.any() else 1.0
