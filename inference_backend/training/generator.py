"""Batches of synthetic films: recorded motion, new bodies, random cameras, a faulty detector.

Everything runs on the training device. Motion lies there as one long array; a batch picks
windows, resamples them in time, mirrors, mixes, re-proportions, films and detects them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gentg_blender.core.skeleton import FEET, NUM_JOINTS
from gentg_blender.core.skeleton import JOINT_INDEX as J
from inference_backend.networks.blocks import joints_from_edges
from inference_backend.networks.normalise import Normalised, normalise, screen_coordinates
from inference_backend.training import bodies, cameras, noise, poses
from inference_backend.training.config import GeneratorConfig
from inference_backend.training.motion import MotionClip

_LOWER = ("pelvis", "hip", "knee", "ankle", "heel", "foot", "toe")
_UPPER = torch.tensor([not any(part in n for part in _LOWER) for n in J])
_HAND = {s: torch.tensor([J[f"{s}_{n}"] for n in ("index", "pinky", "thumb")]) for s in "lr"}
_FEET = torch.tensor([J[n] for n in FEET])


@dataclass
class Batch:
    """B clips of T frames. Lengths in metres for a body of BODY_HEIGHT, camera axes."""

    points: torch.Tensor  # (B, T, 35, 2) normalised image coordinates; 0 where absent
    confidence: torch.Tensor  # (B, T, 35); 0 where absent
    times: torch.Tensor  # (B, T) seconds, from 0
    family: torch.Tensor  # (B,) index into noise.FAMILIES
    xyz: torch.Tensor  # (B, T, 35, 3) truth
    gravity: torch.Tensor  # (B, T, 3) truth, down
    contacts: torch.Tensor  # (B, T, 4) truth 0/1 in FEET order
    lengths: torch.Tensor  # (B, 35) truth, edge from the parent
    half_width: torch.Tensor  # (B,) edge of the image in the units of `points`

    def normalised(self, rays: bool = True) -> Normalised:
        """What a network sees of it; `rays` False: screen coordinates, as in the ablation."""
        if rays:
            return normalise(self.points, self.confidence, self.times)
        return screen_coordinates(self.points, self.confidence, self.times, self.half_width)


class Generator:
    """Draws batches. State is one torch.Generator, so that training resumes bit for bit."""

    def __init__(self, clips: list[MotionClip], config: GeneratorConfig, device: torch.device, seed: int = 0):
        if not clips:
            raise ValueError("no motion to train on")
        self.config, self.device = config, device
        lengths = np.array([len(c.xyz) for c in clips])
        self.xyz = torch.as_tensor(np.concatenate([c.xyz for c in clips]), device=device)  # (N, 35, 3)
        self.first = torch.as_tensor(np.concatenate([[0], np.cumsum(lengths)[:-1]]), device=device)
        self.length = torch.as_tensor(lengths, device=device)
        self.rate = float(clips[0].fps)
        own = [bodies.edges_of(torch.as_tensor(c.xyz)).norm(dim=-1).median(0).values for c in clips]
        self.own_lengths = torch.stack(own).to(device)  # (clips, 35)
        # Square root: long recordings of one subject must not drown the others.
        self.weight = torch.as_tensor(np.sqrt(lengths), device=device, dtype=torch.float32)
        self.random = torch.Generator(device=device)
        self.random.manual_seed(seed)

    def batch(self, size: int, family: torch.Tensor | None = None) -> Batch:
        """Draw `size` clips of config.frames frames."""
        g, c, device = self.random, self.config, self.device

        def rand(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=g, device=device)

        rates = torch.tensor(c.frame_rates, device=device)
        rate = rates[torch.randint(len(rates), (size,), generator=g, device=device)]
        times = torch.arange(c.frames, device=device)[None] / rate[:, None]  # (B, T)
        speed = torch.exp(c.speed_spread * torch.randn(size, generator=g, device=device))
        index, own, x = self._motion(times * speed[:, None])
        if c.limb_mixing > 0:
            mixed = (rand(size) < c.limb_mixing).nonzero()[:, 0]
            if len(mixed):
                _, _, other = self._motion((times * speed[:, None])[mixed])
                x[mixed] = _mix_limbs(x[mixed], other)
        mirrored = rand(size) < c.mirror
        flipped = x[:, :, bodies.MIRROR.to(device)] * torch.tensor([-1.0, 1.0, 1.0], device=device)
        x = torch.where(mirrored[:, None, None, None], flipped, x)

        x = self._turn_hands(x, times)
        lengths = bodies.random_lengths(own, c.body_spread, g)
        leg = J["l_knee"], J["l_ankle"]
        stride = (lengths[:, leg].sum(-1) / own[:, leg].sum(-1))[:, None, None]
        direction = torch.nn.functional.normalize(bodies.edges_of(x), dim=-1)
        root = x[:, :, 0] * stride
        for change in (poses.bend, poses.lean, poses.change_stance):
            direction, shift = change(direction, lengths, times, c, g)
            root = root + shift
        x = joints_from_edges(direction * lengths[:, None, :, None]) + root[:, :, None]

        contacts = _contacts(x, times)
        filmed = cameras.film(x, times, c, g)
        found = noise.detect(filmed, times, c, g, family)
        points, half_width = found.points, filmed.half_width
        if c.focal_error > 0:
            wrong = (rand(size) < c.focal_error).float()
            factor = torch.exp(wrong * c.focal_error_spread * torch.randn(size, generator=g, device=device))
            points, half_width = points * factor[:, None, None, None], half_width * factor
        return Batch(points, found.confidence, times, found.family, filmed.xyz, filmed.gravity, contacts,
                     lengths, half_width)  # fmt: skip

    def _motion(self, when: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Windows at `when` (B, T) seconds -> clip numbers, their edge lengths, joints (B, T, 35, 3)."""
        g, device = self.random, self.device
        clip = torch.multinomial(self.weight, len(when), replacement=True, generator=g)
        span = when[:, -1] * self.rate
        room = (self.length[clip] - 2 - span).clamp(min=0.0)
        start = torch.rand(len(when), generator=g, device=device) * room
        frame = (start[:, None] + when * self.rate).minimum((self.length[clip] - 1.001)[:, None].float())
        k = frame.floor()
        f = (frame - k)[..., None, None]
        last = (self.length[clip] - 1)[:, None]
        first = self.first[clip][:, None]
        # Catmull-Rom spline: passes through the recorded poses, smooth in velocity.
        a, b, c, d = (self.xyz[first + (k.long() + tap).clamp(min=0).minimum(last)] for tap in (-1, 0, 1, 2))
        x = b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)))
        return clip, self.own_lengths[clip], x

    def _turn_hands(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Forearm rotation was hardly recorded: turn the hands about the forearms at random, slowly."""
        g, size = self.random, len(x)
        for side in "lr":
            hand, wrist, elbow = _HAND[side].to(x.device), J[f"{side}_wrist"], J[f"{side}_elbow"]
            still = 0.7 * torch.randn(size, 1, generator=g, device=x.device)
            slow = 0.3 * noise.slow_noise((), times, torch.full_like(times[:, 0], 0.5), g)
            angle = (still + slow)[..., None, None]  # (B, T, 1, 1)
            axis = torch.nn.functional.normalize(x[:, :, wrist] - x[:, :, elbow], dim=-1)[:, :, None]
            turned = poses.turned(x[:, :, hand] - x[:, :, wrist, None], axis, angle)
            x = x.index_copy(2, hand, x[:, :, wrist, None] + turned)
        return x


def _pelvis_axes(x: torch.Tensor) -> torch.Tensor:
    """(B, T, 3, 3): columns left, back, up of the pelvis, world."""
    n = torch.nn.functional.normalize
    left = n(x[:, :, J["l_hip"]] - x[:, :, J["r_hip"]], dim=-1)
    up = x[:, :, J["spine"]] - x[:, :, J["pelvis"]]
    up = n(up - (up * left).sum(-1, keepdim=True) * left, dim=-1)
    return torch.stack([left, torch.cross(up, left, dim=-1), up], dim=-1)


def _mix_limbs(legs: torch.Tensor, trunk: torch.Tensor) -> torch.Tensor:
    """The trunk, arms and head of one motion on the pelvis and legs of another. (B, T, 35, 3) each."""
    local = torch.einsum("btji,btkj->btki", _pelvis_axes(trunk), trunk - trunk[:, :, :1])
    moved = torch.einsum("btij,btkj->btki", _pelvis_axes(legs), local) + legs[:, :, :1]
    return torch.where(_UPPER.to(legs.device)[:, None], moved, legs)


def _contacts(x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Feet that rest: slower than 0.2 m/s and within 6 cm of the lowest they get. -> (B, T, 4)."""
    feet = x[:, :, _FEET.to(x.device)]
    step = (times[:, 1:2] - times[:, :1])[..., None]
    v = torch.zeros_like(feet[..., 0])
    v[:, 1:-1] = (feet[:, 2:] - feet[:, :-2]).norm(dim=-1) / (2 * step)
    v[:, 0], v[:, -1] = v[:, 1], v[:, -2]
    height = feet[..., 2] - feet[..., 2].amin(dim=1, keepdim=True)
    return ((v < 0.2) & (height < 0.06)).float()


assert len(_UPPER) == NUM_JOINTS
