"""What a 2D detector does to exact projections, as measured and then spread wider.

Sizes come from a real detector against exact projections of rendered people: the error is slow
(correlation 0.1 to 0.4 s), mostly independent between joints, heavy-tailed, several times larger
where a joint is hidden; a constant part comes from where a detector puts a joint's "centre"; its
confidence orders the error but does not flag occlusion. Lengths are metres at the person's depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINTS, NUM_JOINTS
from inference_backend.keypoints.layouts import present
from inference_backend.networks.tgt import BLAZEPOSE, FAMILIES
from inference_backend.training.bodies import MIRROR, PARENTS


def _table(values: dict[str, float] | dict[str, tuple], default: float | tuple) -> torch.Tensor:
    """Joint name without its side -> (35,), or (35, n) of tuples."""
    return torch.tensor([values.get(n.removeprefix("l_").removeprefix("r_"), default) for n in JOINTS])


MOVING = _table(
    {"shoulder": 0.018, "elbow": 0.031, "wrist": 0.028, "hip": 0.014, "knee": 0.030, "ankle": 0.030,
     "heel": 0.032, "foot_index": 0.039, "ear": 0.020, "nose": 0.020, "index": 0.038, "pinky": 0.036,
     "thumb": 0.043, "pelvis": 0.018, "neck": 0.018, "eye": 0.016}, 0.025)  # fmt: skip
WHITE = _table(
    {"shoulder": 0.0018, "hip": 0.0018, "ear": 0.0018, "nose": 0.002, "eye": 0.002, "heel": 0.004,
     "foot_index": 0.004}, 0.003)  # fmt: skip
CLIP_OFFSET = _table(
    {"shoulder": 0.012, "elbow": 0.026, "wrist": 0.011, "hip": 0.012, "knee": 0.012, "ankle": 0.014,
     "heel": 0.017, "foot_index": 0.015, "ear": 0.013, "nose": 0.008, "index": 0.019, "pinky": 0.022,
     "thumb": 0.029, "pelvis": 0.018, "eye": 0.008}, 0.018)  # fmt: skip
# Definition bias of BlazePose: outward, forward, up (limbs: towards their upper end), metres.
_BLAZEPOSE = {
    "shoulder": (-0.015, 0.003, 0.012), "elbow": (-0.009, 0.002, 0.012), "wrist": (0.001, -0.004, 0.003),
    "hip": (0.003, 0.000, -0.012), "knee": (0.002, -0.010, 0.015), "ankle": (0.001, 0.009, 0.009),
    "heel": (0.004, -0.013, 0.002), "foot_index": (0.009, 0.028, 0.009), "ear": (-0.037, 0.045, 0.003),
    "nose": (0.002, -0.022, 0.008), "eye": (-0.007, -0.004, 0.0), "index": (-0.008, -0.018, 0.008),
    "pinky": (-0.020, 0.0, -0.002), "thumb": (0.026, 0.0, 0.014),
}  # fmt: skip
BLAZEPOSE_BIAS = _table(_BLAZEPOSE, (0.0, 0.0, 0.0))
# Spread of a definition from person to person beyond 0.012, the same on both sides: where a body's hips and
# soles are, clothes and shoes hide.
_SPREAD = {"hip": (0.003, 0.003, 0.016), "ankle": (0.0, 0.0, 0.008), "heel": (0.0, 0.0, 0.015),
           "foot_index": (0.0, 0.012, 0.012)}  # fmt: skip
SPREAD = _table(_SPREAD, (0.0, 0.0, 0.0))
# Both hips are found by the trunk's outline and err together: left, forward, up, metres.
HIPS = torch.tensor([float(n in ("l_hip", "r_hip", "pelvis")) for n in JOINTS])
HIP_SWAY = torch.tensor([0.012, 0.012, 0.020])
OUTWARD = torch.tensor([1.0 if n.startswith("l_") else -1.0 if n.startswith("r_") else 0.0 for n in JOINTS])
LIMB_JOINT = torch.tensor(
    [
        any(
            k in n
            for k in ("elbow", "wrist", "knee", "ankle", "heel", "foot", "toe", "index", "pinky", "thumb")
        )
        for n in JOINTS
    ]
)

# Capsules that hide what lies behind them: ends and radius.
_CAPSULES = (
    ("neck", "pelvis", 0.13), ("head", "head_top", 0.09), ("l_shoulder", "l_elbow", 0.05),
    ("r_shoulder", "r_elbow", 0.05), ("l_elbow", "l_wrist", 0.04), ("r_elbow", "r_wrist", 0.04),
    ("l_hip", "l_knee", 0.075), ("r_hip", "r_knee", 0.075), ("l_knee", "l_ankle", 0.055),
    ("r_knee", "r_ankle", 0.055),
)  # fmt: skip
_CAP_A = torch.tensor([J[a] for a, _, _ in _CAPSULES])
_CAP_B = torch.tensor([J[b] for _, b, _ in _CAPSULES])
_CAP_R = torch.tensor([r for _, _, r in _CAPSULES])


def _near_capsule() -> torch.Tensor:
    """(35, capsules) bool: joints that belong to a capsule and so are never hidden by it."""
    own = torch.zeros(NUM_JOINTS, len(_CAPSULES), dtype=torch.bool)
    trunk = {"neck", "pelvis", "spine", "chest", "l_hip", "r_hip", "l_shoulder", "r_shoulder"}
    for c, (a, b, _) in enumerate(_CAPSULES):
        for j, name in enumerate(JOINTS):
            face = a == "head" and (name.startswith("head") or "neck" == name)
            near = j in (J[a], J[b]) or int(PARENTS[j]) == J[b]
            own[j, c] = near or face or (a == "neck" and name in trunk)
    return own


_OWN = _near_capsule()

# Body parts that are hidden or exchanged together; the number grows along the chain and scales
# how far a guessed chain strays.
_ARM = {"elbow": 0.5, "wrist": 1.0, "index": 1.1, "pinky": 1.1, "thumb": 1.1}
_LEG = {"hip": 0.15, "knee": 0.6, "ankle": 1.0, "heel": 1.05, "foot_index": 1.1, "small_toe": 1.1}


def _chain(sides: str, chain: dict[str, float]) -> torch.Tensor:
    return torch.tensor([chain.get(n[2:], 0.0) if n[:2] in {s + "_" for s in sides} else 0.0 for n in JOINTS])


_PARTS = torch.stack(
    [_chain("l", _ARM), _chain("r", _ARM), _chain("lr", _LEG), _chain("l", _LEG), _chain("r", _LEG),
     _chain("lr", {k: v for k, v in _LEG.items() if k not in ("hip", "knee")}), _chain("lr", _ARM)]
)  # (parts, 35)  # fmt: skip


_ONE_SIDED = torch.tensor([bool(((p > 0) & (p[MIRROR] == 0)).any()) for p in _PARTS])


def body_parts(device: torch.device) -> torch.Tensor:
    """(7, 35): positive where a joint belongs to a part (arms, legs) that is hidden together."""
    return _PARTS.to(device)


_SWAPS = torch.stack([_PARTS[6] > 0, _PARTS[2] > 0, OUTWARD != 0])  # arms, legs, everything


@dataclass
class Detected:
    """What a detector reports: `points` (B, T, 35, 2) normalised, `confidence` (B, T, 35), `family` (B,)."""

    points: torch.Tensor
    confidence: torch.Tensor
    family: torch.Tensor


def self_occlusion(xyz: torch.Tensor) -> torch.Tensor:
    """Camera-axes joints (B, T, 35, 3) -> bool (B, T, 35): behind a limb, the trunk or the head."""
    device = xyz.device
    a, b = xyz[:, :, _CAP_A.to(device)], xyz[:, :, _CAP_B.to(device)]  # (B, T, C, 3)
    eye_ray = xyz / xyz.norm(dim=-1, keepdim=True)  # (B, T, 35, 3)
    # Closest approach of the ray through a joint and a capsule's axis, both as lines from the camera.
    u = b - a
    d_u = torch.einsum("btji,btci->btjc", eye_ray, u)
    d_a = torch.einsum("btji,btci->btjc", eye_ray, a)
    uu, ua = (u * u).sum(-1)[:, :, None], (u * a).sum(-1)[:, :, None]
    s = ((d_u * d_a - ua) / (uu - d_u**2).clamp(min=1e-6)).clamp(0, 1)  # place along the axis
    along = d_a + s * d_u  # distance from the camera at the closest approach
    aa = (a * a).sum(-1)[:, :, None]
    gap2 = aa + 2 * s * ua + s**2 * uu - along**2
    radius = _CAP_R.to(device)
    hit = (gap2 < radius**2) & (along + radius < xyz.norm(dim=-1)[..., None])
    return (hit & ~_OWN.to(device)).any(-1)


def slow_noise(
    shape: tuple[int, ...], times: torch.Tensor, tau: torch.Tensor, g: torch.Generator
) -> torch.Tensor:
    """Unit-variance noise (B, T, *shape) with correlation time `tau` (B,) seconds at `times` (B, T)."""
    b, t = times.shape
    white = torch.randn(b, t, *shape, generator=g, device=times.device)
    gap = (times[:, :, None] - times[:, None, :]) / tau[:, None, None]
    kernel = torch.exp(-(gap**2))
    kernel = kernel / kernel.square().sum(-1, keepdim=True).sqrt()
    return torch.einsum("bts,bs...->bt...", kernel, white)


def _bursts(times: torch.Tensor, whole: float, longest: float, g: torch.Generator) -> torch.Tensor:
    """(B, T) bool: one interval a clip of 0.15 s up to `longest`, or all of it with probability `whole`."""
    b, device = len(times), times.device
    u = torch.rand(4, b, generator=g, device=device)
    length = 0.15 + (longest - 0.15) * u[0] ** 2
    start = (times[:, -1] + length) * u[1] - length
    inside = (times >= start[:, None]) & (times <= (start + length)[:, None])
    return inside | (u[2] < whole)[:, None]


def _body_axes(xyz: torch.Tensor) -> torch.Tensor:
    """(B, T, 3, 3): rows left, forward, up of the trunk in camera axes."""
    up = torch.nn.functional.normalize(xyz[:, :, J["neck"]] - xyz[:, :, J["pelvis"]], dim=-1)
    left = (
        xyz[:, :, J["l_shoulder"]]
        - xyz[:, :, J["r_shoulder"]]
        + xyz[:, :, J["l_hip"]]
        - xyz[:, :, J["r_hip"]]
    )
    left = torch.nn.functional.normalize(left - (left * up).sum(-1, keepdim=True) * up, dim=-1)
    # Camera axes are right-handed, so left x up points out of the chest.
    return torch.stack([left, torch.cross(left, up, dim=-1), up], dim=-2)


def _definition_bias(
    xyz: torch.Tensor, axes: torch.Tensor, family: torch.Tensor, g: torch.Generator
) -> torch.Tensor:
    """(B, T, 35, 3) camera axes: where this clip's detector thinks the joints are; `axes` of the trunk."""
    b, device = len(xyz), xyz.device
    blaze = (family == BLAZEPOSE).float()[:, None, None]
    random = torch.randn(b, NUM_JOINTS, 3, generator=g, device=device)
    random = (random + random[:, MIRROR.to(device)]) / 2**0.5  # a definition is the same on both sides
    strength = 0.4 + 1.0 * torch.rand(b, 1, 1, generator=g, device=device)
    random = random * (0.012 * (1.5 - 0.9 * blaze) + SPREAD.to(device))
    bias = blaze * strength * BLAZEPOSE_BIAS.to(device) + random  # (B, 35, 3)
    toward = torch.nn.functional.normalize(xyz[:, :, PARENTS.clamp(min=0).to(device)] - xyz + 1e-6, dim=-1)
    up = torch.where(LIMB_JOINT.to(device)[:, None], toward, axes[:, :, None, 2])
    bias = bias[:, None]
    return (
        (bias[..., 0] * OUTWARD.to(device))[..., None] * axes[:, :, None, 0]
        + bias[..., 1:2] * axes[:, :, None, 1]
        + bias[..., 2:3] * up
    )


def detect(
    filmed, times: torch.Tensor, config, g: torch.Generator, family: torch.Tensor | None = None
) -> Detected:
    """Exact camera-axes joints -> what a random detector would report. `family` (B,) indexes FAMILIES."""
    xyz = filmed.xyz
    b, t = xyz.shape[:2]
    device = xyz.device

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=g, device=device)

    if family is None:
        # Half the clips wear the default detector's layout, the rest the others.
        other = torch.randint(len(FAMILIES), (b,), generator=g, device=device)
        family = torch.where(rand(b) < 0.5, BLAZEPOSE, other)
    clean = (rand(b) < config.fault_free).float() if config.noise > 0 else torch.ones(b, device=device)
    level = config.noise * (1 - clean) * torch.exp(0.35 * torch.randn(b, generator=g, device=device))
    level = level[:, None, None, None]

    hidden = self_occlusion(xyz)
    exact = xyz[..., :2] / xyz[..., 2:].clamp(min=0.1)
    outside = (exact[..., 0].abs() > filmed.half_width[:, None, None]) | (
        exact[..., 1].abs() > filmed.half_height[:, None, None]
    )

    # Error in metres at the person's depth, parallel to the image.
    tau = 0.08 + 0.25 * rand(b)
    slow = slow_noise((NUM_JOINTS, 2), times, tau, g)
    envelope = torch.exp(0.55 * slow_noise((NUM_JOINTS, 1), times, 2 * tau, g))  # heavy tails
    # Limbs in plain sight are found better than their mean error says: the hidden ones make up the rest.
    plain = torch.where(LIMB_JOINT.to(device), 0.65, 1.0)
    worse = plain + hidden.float() * (1.2 + 2.0 * rand(b, 1, NUM_JOINTS)) + outside.float() * 2.0
    error = slow * envelope * worse[..., None] * (0.75 * MOVING.to(device) / 2**0.5)[:, None]
    error = (
        error
        + CLIP_OFFSET.to(device)[:, None]
        * torch.randn(b, 1, NUM_JOINTS, 2, generator=g, device=device)
        / 2**0.5
    )
    error = error + WHITE.to(device)[:, None] * torch.randn(b, t, NUM_JOINTS, 2, generator=g, device=device)
    common = slow_noise((1, 2), times, tau, g) * 0.008
    error = (error + common) * level

    # Things in the way: a chain of joints is guessed (strays together) or missing.
    part = torch.randint(len(_PARTS), (b,), generator=g, device=device)
    chain = body_parts(device)[part]  # (B, 35)
    covered = _bursts(times, 0.3, 2.0, g) & ((rand(b) < config.occlusion) & (clean == 0))[:, None]
    covered = covered[:, :, None] & (chain > 0)[:, None]
    missing_kind = (rand(b) < 0.35)[:, None, None]
    stray = slow_noise((2,), times, 0.25 + 0.5 * rand(b), g) * 0.10 + 0.07 * torch.randn(
        b, 1, 2, generator=g, device=device
    )
    # A guess is mostly near and sometimes half a body away.
    far = 0.7 * torch.exp(0.8 * torch.randn(b, 1, 1, 1, generator=g, device=device)).clamp(max=4.0)
    stray = stray[:, :, None] * chain[:, None, :, None] * far
    # Or the detector lays a hidden limb on the one that it sees on the other side.
    other_side = (exact[:, :, MIRROR.to(device)] - exact) * xyz[..., 2:].clamp(min=0.1)
    drawn = (0.4 + 0.7 * rand(b)) * (rand(b) < 0.35) * _ONE_SIDED.to(device)[part]
    stray = stray + drawn[:, None, None, None] * chain.clamp(max=1.0)[:, None, :, None] * other_side
    error = error + torch.where((covered & ~missing_kind)[..., None], stray, 0.0)

    axes = _body_axes(xyz)
    sway = slow_noise((3,), times, tau, g) * HIP_SWAY.to(device)  # (B, T, 3)
    sway = torch.einsum("btk,btkc->btc", sway, axes)[:, :, None] * HIPS.to(device)[:, None] * level
    bias = _definition_bias(xyz, axes, family, g) * ((config.noise > 0) * (1 - clean))[:, None, None, None]
    biased = xyz + bias + sway
    points = (biased[..., :2] + error) / biased[..., 2:].clamp(min=0.1)

    # Left and right exchanged for a moment.
    swap = _bursts(times, 0.02, 0.5, g) & ((rand(b) < config.swap) & (clean == 0))[:, None]
    which = _SWAPS.to(device)[torch.randint(len(_SWAPS), (b,), generator=g, device=device)]
    points = torch.where(
        (swap[:, :, None] & which[:, None])[..., None], points[:, :, MIRROR.to(device)], points
    )

    # Confidence orders the error but does not flag occlusion: half of what is hidden still scores high.
    doubt = torch.rand(b, t, NUM_JOINTS, generator=g, device=device)
    steady = slow_noise((NUM_JOINTS,), times, 0.3 + 0 * tau, g)
    seen_score = 1.0 - 0.25 * doubt**4 - 0.03 * steady.abs()
    size = error.norm(dim=-1)
    low = torch.sigmoid(-0.4 + 1.3 * steady - 7.0 * size)
    hidden_score = torch.where(
        (steady + 0.3 * torch.randn(b, 1, NUM_JOINTS, generator=g, device=device)) > 0.2, seen_score, low
    )
    score = torch.where(hidden, hidden_score, seen_score - (2.0 * (size - 0.06)).clamp(0, 0.5))
    score = torch.where(covered | outside, 0.75 * low, score)
    gamma = torch.exp(0.5 * torch.randn(b, 1, 1, generator=g, device=device))  # detectors' scales differ
    confidence = score.clamp(0.01, 1.0) ** gamma
    confidence = torch.where((clean > 0)[:, None, None], torch.where(hidden, confidence, 1.0), confidence)

    reported = joint_mask_table(device)[family][:, None].expand(b, t, -1).clone()
    reported &= ~(covered & missing_kind)
    dropped = (rand(b, t) < 0.3) & ((rand(b) < config.frame_drop) & (clean == 0))[:, None]
    reported &= ~dropped[..., None]
    confidence = torch.where(reported, confidence, 0.0)
    return Detected(torch.where(reported[..., None], points, 0.0), confidence, family)


def joint_mask_table(device: torch.device) -> torch.Tensor:
    """(families, 35) bool: the joints each detector family can report."""
    return torch.stack([torch.as_tensor(present(f)) for f in FAMILIES]).to(device)
