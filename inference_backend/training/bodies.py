"""Bodies: new limb lengths for recorded motion, at one standing height.

Joints are rebuilt from the recorded directions (parent to joint) and new lengths. Scaling a
person and the camera's distance together leaves the image unchanged, so every body is brought
to BODY_HEIGHT; the actor's real height, if known, scales the result afterwards.
"""

from __future__ import annotations

import torch

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINT_MIRROR, JOINT_PARENTS, JOINTS
from inference_backend.training.motion import BODY_HEIGHT

# Lengths of the edge from the parent in an average adult of BODY_HEIGHT, metres: between published
# segment proportions (Winter; Drillis and Contini) and the joint centres of skinned characters.
_ADULT = {
    "spine": 0.165, "chest": 0.135, "neck": 0.175, "head": 0.195, "l_shoulder": 0.173, "l_elbow": 0.272,
    "l_wrist": 0.243, "l_hip": 0.086, "l_knee": 0.408, "l_ankle": 0.416,
}  # fmt: skip
SOLE = 0.072 / 1.72  # height of the ankle above the floor / standing height; see the foot of motion.py
_STANDING = ("l_knee", "l_ankle", "spine", "chest", "neck", "head", "head_top")

# Edges that vary together: one random factor each (face, hand and foot points move as wholes).
_GROUPS = {
    "spine": 0, "chest": 0, "neck": 0, "head": 1, "head_top": 2, "nose": 2, "l_eye": 2, "l_ear": 2,
    "l_shoulder": 3, "l_elbow": 4, "l_wrist": 5, "l_index": 6, "l_pinky": 6, "l_thumb": 6,
    "l_hip": 7, "l_knee": 8, "l_ankle": 9, "l_heel": 10, "l_foot_index": 10, "l_small_toe": 10,
}  # fmt: skip
NUM_GROUPS = 11

# Shares of the body's weight and where between two joints each lies: Winter, "Biomechanics and Motor Control of Human
# Movement", table 4.1 (after Dempster 1955); hands with the forearms, the trunk from the hips to the neck.
_SEGMENTS = (
    ("pelvis", "neck", 0.497, 0.5), ("neck", "head", 0.081, 1.0),
    *((f"{s}_{a}", f"{s}_{b}", share, at) for s in "lr" for a, b, share, at in (
        ("shoulder", "elbow", 0.028, 0.436), ("elbow", "wrist", 0.022, 0.682), ("hip", "knee", 0.100, 0.433),
        ("knee", "ankle", 0.0465, 0.433), ("ankle", "foot_index", 0.0145, 0.5))),
)  # fmt: skip


def _weights() -> torch.Tensor:
    out = torch.zeros(len(JOINTS))
    for a, b, share, at in _SEGMENTS:
        out[J[a]] += share * (1.0 - at)
        out[J[b]] += share * at
    return out


def _side_of_left(name: str) -> str:
    return "l_" + name[2:] if name.startswith("r_") else name


PARENTS = torch.as_tensor(JOINT_PARENTS)
_PARENT_OR_SELF = PARENTS.clamp(min=0)
MIRROR = torch.as_tensor(JOINT_MIRROR)
GROUP_OF = torch.tensor([_GROUPS.get(_side_of_left(n), 0) for n in JOINTS])
WEIGHT = _weights()  # (35,) of each joint in the centre of mass
ADULT = torch.tensor([_ADULT.get(_side_of_left(n), 0.0) for n in JOINTS])


def edges_of(x: torch.Tensor) -> torch.Tensor:
    """Joints (..., 35, 3) -> vectors from the parent (..., 35, 3); zero for the pelvis."""
    return x - x[..., _PARENT_OR_SELF.to(x.device), :]


def standing_height(lengths: torch.Tensor) -> torch.Tensor:
    """Edge lengths (..., 35) -> crown above the floor of the straight body (...)."""
    return sum(lengths[..., J[n]] for n in _STANDING) / (1.0 - SOLE)


def random_lengths(own: torch.Tensor, spread: float, generator: torch.Generator) -> torch.Tensor:
    """Mean edge lengths of recorded bodies (B, 35) -> new symmetric ones (B, 35) at BODY_HEIGHT."""
    own = (own + own[:, MIRROR.to(own.device)]) / 2
    own = own * (BODY_HEIGHT / standing_height(own))[:, None]
    adult = ADULT.to(own)
    has = adult > 0
    towards = torch.rand(len(own), 1, generator=generator, device=own.device)
    mixed = torch.where(has, own ** (1 - towards) * adult.clamp(min=1e-3) ** towards, own)
    factor = torch.randn(len(own), NUM_GROUPS, generator=generator, device=own.device) * spread
    lengths = mixed * factor.exp()[:, GROUP_OF.to(own.device)]
    return lengths * (BODY_HEIGHT / standing_height(lengths))[:, None]
