"""Recorded poses changed into ones that few people were recorded in: bent limbs, crouches, lunges, raised legs, leans.

All of it changes directions of limbs in the world, z up, and never a length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINTS, NUM_JOINTS
from inference_backend.networks.blocks import ANCESTORS, joints_from_edges
from inference_backend.training import bodies
from inference_backend.training.config import GeneratorConfig
from inference_backend.training.noise import slow_noise

# Ball joints about which all below may be turned, from the trunk outwards.
_BALLS = [J[n] for n in ("spine", "neck", "l_shoulder", "r_shoulder", "l_hip", "r_hip")]
DEEPEST = 0.62  # lowering of the hips / leg length
SHORTEST, STRAIGHTEST = 0.30, 0.995  # distance from hip to ankle / leg length
_ARMS = [J[n] for n in JOINTS if any(part in n for part in ("elbow", "wrist", "index", "pinky", "thumb"))
         and "foot" not in n]  # fmt: skip
_HEAD = [J[n] for n in JOINTS if any(part in n for part in ("head", "nose", "eye", "ear"))]
_TRUNK = [J[n] for n in ("spine", "chest", "neck", "l_shoulder", "r_shoulder")]
_ANKLES = [J["l_ankle"], J["r_ankle"]]
STEADY = 0.3  # seconds within which a body comes back over its feet
LARGEST_SWAY = 0.5  # radians by which it is brought back
_HIPS = [J["l_hip"], J["r_hip"]]
_FREE_LEG = {s: [J[f"{s}_{n}"] for n in ("knee", "ankle", "heel", "foot_index", "small_toe")] for s in "lr"}
_FOOT = {s: [J[f"{s}_{n}"] for n in ("heel", "foot_index", "small_toe")] for s in "lr"}
_normal = torch.nn.functional.normalize


def turned(v: torch.Tensor, axis: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Vectors turned about unit axes (..., 3) by angles (..., 1) in radians: Rodrigues' rotation formula."""
    axis = axis.expand_as(v)
    return (v * angle.cos() + torch.cross(axis, v, dim=-1) * angle.sin()
            + axis * (axis * v).sum(-1, keepdim=True) * (1 - angle.cos()))  # fmt: skip


@dataclass(frozen=True)
class _Draw:
    """One random number a clip, in the shape that spreads over its frames: (size, 1, 1)."""

    size: int
    device: torch.device
    g: torch.Generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.size, 1, 1, generator=self.g, device=self.device)

    def normal(self, mean: float, spread: float) -> torch.Tensor:
        return mean + spread * torch.randn(self.size, 1, 1, generator=self.g, device=self.device)

    def slow(self, times: torch.Tensor) -> torch.Tensor:
        """What changes within a clip: unit variance, slower than a step. (size, T, 1)"""
        return slow_noise((1,), times, torch.full_like(times[:, 0], 0.8), self.g)


def bend(
    direction: torch.Tensor,
    lengths: torch.Tensor,
    times: torch.Tensor,
    c: GeneratorConfig,
    g: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Limbs, head and trunk turned slowly from where they were recorded, the weight as over the feet as it was.

    After Gong et al. 2021, "PoseAug", which learns such changes; here they are drawn at random.
    Arguments and results as of `change_stance`.
    """
    size, device = len(direction), direction.device
    if c.bent == 0:
        return direction, torch.zeros_like(direction[:, :, 0])
    recorded = direction
    shape = (size, len(_BALLS), 3)
    bent = torch.rand(size, 1, 1, generator=g, device=device) < c.bent
    bent = bent & (torch.rand(size, len(_BALLS), 1, generator=g, device=device) < 0.5)
    still = torch.randn(shape, generator=g, device=device)
    slow = slow_noise(shape[1:], times, torch.full_like(times[:, 0], 0.7), g)
    # (B, T, balls, 3) radians
    vectors = bent[:, None] * c.bent_spread * (0.9 * still[:, None] + 0.43 * slow)
    for k, ball in enumerate(_BALLS):
        below = ((ANCESTORS[:, ball] > 0) & (torch.arange(NUM_JOINTS) != ball)).nonzero()[:, 0]
        vector = vectors[:, :, k, None]
        angle = vector.norm(dim=-1, keepdim=True)
        moved = turned(direction[:, :, below], vector / angle.clamp(min=1e-9), angle)
        direction = direction.index_copy(2, below.to(device), moved)
    carries = _carrying(recorded, lengths)
    return rebalance(recorded, direction, lengths, times, carries, carries)


def rebalance(
    before: torch.Tensor,
    after: torch.Tensor,
    lengths: torch.Tensor,
    times: torch.Tensor,
    carried: torch.Tensor,
    carries: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standing bodies turned about their ankles, until the weight lies over the feet as it did `before`.

    An image's depth is told by balance as well: poses that would fall over teach that it is not.
    before, after (B, T, 35, 3) directions; lengths (B, 35); carried, carries (B, T, 2) how much of the weight each
    ankle bore and bears. -> `after` turned, feet as they are; by how much the pelvis moves (B, T, 3), metres.
    """
    old, new = (joints_from_edges(d * lengths[:, None, :, None]) for d in (before, after))
    apart = []
    for x, share in ((old, carried), (new, carries)):
        ankle = (share[..., None] * x[:, :, _ANKLES]).sum(2)
        apart.append(torch.einsum("btjc,j->btc", x, bodies.WEIGHT.to(x.device)) - ankle)
    kernel = torch.exp(-(((times[:, :, None] - times[:, None]) / STEADY) ** 2))
    kernel = kernel / kernel.sum(-1, keepdim=True)
    aside = kernel @ ((apart[0] - apart[1]) * _upright(before))
    up = torch.zeros_like(aside)
    up[..., 2] = 1.0
    vector = torch.cross(up, aside, dim=-1) / apart[1][..., 2:].clamp(min=0.4)
    angle = vector.norm(dim=-1, keepdim=True)
    axis = vector / angle.clamp(min=1e-9)
    swayed = turned(after, axis[:, :, None], angle.clamp(max=LARGEST_SWAY)[:, :, None])
    for side in "lr":
        swayed[:, :, _FOOT[side]] = after[:, :, _FOOT[side]]
    ankle = new[:, :, _ANKLES] - joints_from_edges(swayed * lengths[:, None, :, None])[:, :, _ANKLES]
    return swayed, (carries[..., None] * ankle).sum(2)


def _carrying(direction: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Shares (B, T, 2) of the weight on the two ankles: the lower one has it, both where they are level."""
    height = joints_from_edges(direction * lengths[:, None, :, None])[:, :, _ANKLES, 2]
    return torch.softmax(-height / 0.03, dim=-1)


def change_stance(
    direction: torch.Tensor,
    lengths: torch.Tensor,
    times: torch.Tensor,
    c: GeneratorConfig,
    g: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half of the chosen clips crouch, half raise a leg, to a varying degree; lying people stay as they are.

    Feet stay where they were unless a leg is raised, knees bend to the side they bent to (to the toes where
    they were straight), and the trunk leans against the weight that is moved.
    `direction` (B, T, 35, 3) from the parent, world, z up; `lengths` (B, 35) metres -> new directions, and
    by how much the pelvis moves (B, T, 3), metres.
    """
    if c.stances == 0:
        return direction, torch.zeros_like(direction[:, :, 0])

    draw = _Draw(len(direction), direction.device, g)
    rand, normal = draw.uniform, draw.normal
    chosen = (rand() < c.stances).float()
    crouch = (rand() < 0.5).float()
    left, up = _heading(direction)
    forward = torch.cross(left, up, dim=-1)
    much = (
        chosen * _upright(direction) * torch.sigmoid(2.0 * (draw.slow(times) + normal(0.3, 1.0)))
    )  # (B, T, 1)

    leg = (lengths[:, J["l_knee"]] + lengths[:, J["l_ankle"]])[:, None, None]
    down = crouch * much * rand(0.0, DEEPEST)
    shift = leg * down * (left * normal(0.0, 0.2) - up - forward * rand(0.0, 0.35))
    lift = (1 - crouch) * much * (forward * normal(0.25, 0.35) + up * rand(0.05, 0.6))  # of leg lengths
    outward = (1 - crouch) * much * normal(0.08, 0.2)
    which = (rand() < 0.5).float()  # 1: the left leg is raised
    sign = 2 * which - 1

    changed = direction.clone()
    for side, raised in (("l", which), ("r", 1 - which)):
        move = leg * raised * (lift + left * outward * sign) - shift
        _move_ankle(changed, lengths, side, move, raised * (1 - crouch))
    # Weight in front is balanced by leaning back, weight to a side by leaning to the other; how far is up to people.
    pitch = down * normal(1.1, 0.7) + (lift * forward).sum(-1, keepdim=True) * normal(-0.5, 0.3)
    roll = outward * sign * normal(0.4, 0.3)
    for part, share in ((_TRUNK, 1.0), (_ARMS, rand()), (_HEAD, rand())):
        leant = turned(changed[:, :, part], left[:, :, None], (share * pitch)[:, :, None])
        changed[:, :, part] = turned(leant, forward[:, :, None], (share * roll)[:, :, None])
    return changed, shift


def lean(
    direction: torch.Tensor,
    lengths: torch.Tensor,
    times: torch.Tensor,
    c: GeneratorConfig,
    g: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standing people of `c.leans` of the clips lean far over one leg: the hips tilt over its hip joint, mostly to its
    side, the trunk tilts further, the free leg goes out with the hips, and the knee that carries may bend.

    Arguments and results as of `change_stance`. Weight on one leg with the hips level and the trunk upright is what
    recordings of walking hold; with hips that tilt, the same image has other depths.
    """
    if c.leans == 0:
        return direction, torch.zeros_like(direction[:, :, 0])

    draw = _Draw(len(direction), direction.device, g)
    rand, normal = draw.uniform, draw.normal
    chosen = (rand() < c.leans).float()
    left, up = _heading(direction)
    slow = draw.slow(times)
    much = chosen * _upright(direction) * torch.sigmoid(2.0 * (slow + normal(0.7, 1.0)))  # (B, T, 1)
    carries = (rand() < 0.5).float()  # 1: the left leg carries
    aside = normal(0.0, 0.5) + normal(0.0, 0.2) * slow
    towards = turned((2 * carries - 1) * left, up, aside)
    axis = torch.cross(up, towards, dim=-1)  # turning about it takes up to `towards`
    tilt = much * rand(0.0, 0.8)  # radians

    changed = direction.clone()
    for part, angle in ((_HIPS, tilt), (_TRUNK, tilt * normal(1.35, 0.45)), (_ARMS, tilt * rand(0.0, 1.5)),
                        (_HEAD, tilt * rand(0.0, 1.5))):  # fmt: skip
        changed[:, :, part] = turned(direction[:, :, part], axis[:, :, None], angle[:, :, None])
    leg = (lengths[:, J["l_knee"]] + lengths[:, J["l_ankle"]])[:, None, None]
    out = tilt * normal(1.2, 0.6)
    # Of the carrying ankle against its hip; the free one goes up with it, and further.
    move = leg * tilt * (up * rand(0.0, 0.4) + left * normal(0.0, 0.1))
    lift = leg * tilt * up * rand(0.0, 0.3)
    shift = torch.zeros_like(move)
    for side, carrying in (("l", carries), ("r", 1 - carries)):
        part = _FREE_LEG[side]
        free = turned(direction[:, :, part], axis[:, :, None], out[:, :, None])
        changed[:, :, part] = torch.where(carrying[:, :, None] > 0, direction[:, :, part], free)
        _move_ankle(changed, lengths, side, move + (1 - carrying) * lift, 1 - carrying)
        chain = [J[f"{side}_{n}"] for n in ("hip", "knee", "ankle")]
        step = ((direction - changed)[:, :, chain] * lengths[:, None, chain, None]).sum(2)
        shift = shift + carrying * step  # the foot that carries stays
    carried = _carrying(direction, lengths)
    stands = torch.cat([carries, 1 - carries], dim=-1).expand_as(carried)
    swayed, back = rebalance(direction, changed, lengths, times, carried, stands)
    return torch.where(chosen[..., None] > 0, swayed, direction), chosen * (shift + back)


def _heading(direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors (B, T, 3), world: the pelvis's left, made level, and up."""
    up = torch.zeros_like(direction[:, :, 0])
    up[..., 2] = 1.0
    across = direction[:, :, J["l_hip"]] - direction[:, :, J["r_hip"]]
    return _normal(across * (1 - up), dim=-1), up


def _upright(direction: torch.Tensor) -> torch.Tensor:
    """1 for standing people, 0 for lying ones, between them what lies between. (B, T, 1)"""
    return ((direction[:, :, J["spine"], 2:] - 0.5) / 0.3).clamp(0.0, 1.0)


def _move_ankle(
    direction: torch.Tensor, lengths: torch.Tensor, side: str, move: torch.Tensor, carried: torch.Tensor
) -> None:
    """Two-bone inverse kinematics: the ankle goes by `move` (B, T, 3) against the hip. Writes into `direction`.

    `carried` (B, 1, 1): 1 where the foot turns with the shin, 0 where it keeps its place on the floor.
    """
    knee, ankle, toe = J[f"{side}_knee"], J[f"{side}_ankle"], J[f"{side}_foot_index"]
    a, b = lengths[:, knee, None, None], lengths[:, ankle, None, None]
    thigh, shin = direction[:, :, knee] * a, direction[:, :, ankle] * b
    before = thigh + shin
    after = before + move
    along, towards = _normal(before, dim=-1), _normal(after, dim=-1)
    distance = after.norm(dim=-1, keepdim=True).minimum(before.norm(dim=-1, keepdim=True).maximum(
        STRAIGHTEST * (a + b))).maximum(SHORTEST * (a + b))  # fmt: skip
    side_of_knee = thigh + 0.15 * a * direction[:, :, toe]
    pole = _carried(side_of_knee, along, towards)
    pole = _normal(pole - (pole * towards).sum(-1, keepdim=True) * towards, dim=-1)
    cosine = ((a**2 + distance**2 - b**2) / (2 * a * distance)).clamp(-1.0, 1.0)
    new_thigh = a * (cosine * towards + (1 - cosine**2).clamp(min=0.0).sqrt() * pole)
    new_shin = _normal(distance * towards - new_thigh, dim=-1)
    moved = move.norm(dim=-1, keepdim=True) > 1e-6
    foot = direction[:, :, _FOOT[side]]
    turned_foot = _carried(foot, direction[:, :, None, ankle], new_shin[:, :, None])
    direction[:, :, _FOOT[side]] = torch.where((moved & (carried > 0))[:, :, None], turned_foot, foot)
    direction[:, :, ankle] = torch.where(moved, new_shin, direction[:, :, ankle])
    direction[:, :, knee] = torch.where(moved, new_thigh / a, direction[:, :, knee])


def _carried(v: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Vectors turned by the shortest rotation that takes the unit vector `before` to `after`."""
    axis = torch.cross(before, after, dim=-1)
    angle = torch.atan2(axis.norm(dim=-1, keepdim=True), (before * after).sum(-1, keepdim=True))
    return turned(v, _normal(axis, dim=-1), angle)
