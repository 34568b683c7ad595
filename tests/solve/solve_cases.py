"""Inputs for the solver's tests: people with a known truth, filmed by a known camera."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from gentg_blender.core.contract import EstimateSettings
from gentg_blender.core.rotations import quat_from_axis_angle, quat_to_matrix
from gentg_blender.core.skeleton import FEET, JOINT_INDEX, JOINT_PARENTS, NUM_JOINTS
from inference_backend.lifting.lifted import Lifted

IMAGE = (1280, 720)
K = np.array([[1100.0, 0, 640.0], [0, 1100.0, 360.0], [0, 0, 1.0]])


@dataclass
class FakeTrack:
    keypoints: np.ndarray
    timestamps: np.ndarray
    seen: np.ndarray


@dataclass
class Case:
    lifted: Lifted
    track: FakeTrack
    world: np.ndarray  # (T, 35, 3) the truth, Z up, floor 0
    R: np.ndarray
    t: np.ndarray


def shared_motion() -> Path:
    """The packed motion; skips the test where it is absent."""
    root = Path(os.environ.get("GENTG_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    path = root / "data" / "motion" / "cmu_mocap.npz"
    if not path.is_file():
        pytest.skip(f"no motion data at {path} (set GENTG_SHARED)")
    return path


def quiet(stage: str, done: int, total: int | None) -> None:
    assert stage == "solve" and total is not None and 0 <= done <= total


def settings(**values) -> EstimateSettings:
    return replace(EstimateSettings(), **values)


def rotation_about(axis, degrees: float) -> np.ndarray:
    axis = np.asarray(axis, float)
    return quat_to_matrix(quat_from_axis_angle(axis / np.linalg.norm(axis), np.radians(degrees)))


def camera(pitch: float, roll: float, heading: float, height: float, distance: float, about: np.ndarray):
    """R, t of a camera that circles `about` (2,); degrees and metres. Pitch is positive downwards."""
    forward_level = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # looks along +Y
    R = rotation_about([0, 0, 1], roll) @ rotation_about([1, 0, 0], pitch) @ forward_level
    R = R @ rotation_about([0, 0, 1], -heading)
    eye = np.array([*about, height]) - distance * (rotation_about([0, 0, 1], heading) @ [0.0, 1.0, 0.0])
    return R, -R @ eye


def slow_noise(rng, frames: int, shape: tuple[int, ...], fps: float, seconds: float = 0.4) -> np.ndarray:
    """Unit-variance noise (frames, *shape) that changes over about `seconds`."""
    from scipy.ndimage import gaussian_filter1d

    width = max(seconds * fps / 2.0, 0.5)
    noise = gaussian_filter1d(rng.standard_normal((frames + int(8 * width), *shape)), width, axis=0)
    noise = noise[int(4 * width) :][:frames]
    return noise * np.sqrt(2.0 * np.sqrt(np.pi) * width)


def true_contacts(world: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(T, 4) planted by speed and height of the truth."""
    feet = world[:, [JOINT_INDEX[n] for n in FEET]]
    if len(world) < 2:
        return feet[..., 2] < 0.08
    speed = np.linalg.norm(np.gradient(feet, times, axis=0), axis=-1)
    return (speed < 0.2) & (feet[..., 2] < 0.08)


def film(
    world: np.ndarray,
    times: np.ndarray,
    *,
    R: np.ndarray,
    t: np.ndarray,
    noise: float = 0.0,
    jitter: float = 0.0,
    pixels: float = 0.0,
    depth_error: float = 0.0,
    seed: int = 0,
    seen: np.ndarray | None = None,
) -> Case:
    """What a network would say. `noise`: slow error of each edge as a fraction of its length, handed
    down to its children as in real lifters; jitter: white, metres; both doubled in depth."""
    rng = np.random.default_rng(seed)
    frames = len(world)
    fps = 1.0 / np.median(np.diff(times)) if frames > 1 else 30.0
    seen = np.ones(frames, bool) if seen is None else seen
    cam = world @ R.T + t
    axes = np.array([1.0, 1.0, 2.0])
    lengths = np.median(np.linalg.norm(world - world[:, np.maximum(JOINT_PARENTS, 0)], axis=-1), axis=0)
    error = noise * lengths[:, None] * slow_noise(rng, frames, (NUM_JOINTS, 3), fps)
    variance = np.square(noise * lengths)
    for joint in range(1, NUM_JOINTS):
        error[:, joint] += error[:, JOINT_PARENTS[joint]]
        variance[joint] += variance[JOINT_PARENTS[joint]]
    error = (error + jitter * rng.standard_normal(cam.shape)) * axes
    error[:, 0] = 0.0
    joints = cam - cam[:, :1] + error
    root = cam[:, 0] * (1.0 + depth_error * slow_noise(rng, frames, (1,), fps, 1.0))
    uv = cam[..., :2] / cam[..., 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    uv = uv + pixels * slow_noise(rng, frames, (NUM_JOINTS, 2), fps)
    keypoints = np.concatenate([uv, np.full(uv.shape[:2] + (1,), 0.9)], axis=-1)
    keypoints[~seen] = 0.0
    sigma_xyz = np.sqrt(variance + jitter**2 + 0.005**2)[:, None] * axes
    sigma_xyz = np.broadcast_to(sigma_xyz, joints.shape).copy()
    probability = np.where(true_contacts(world, times), 0.93, 0.04)
    lifted = Lifted(
        joints=joints,
        root=root,
        sigma=np.linalg.norm(sigma_xyz, axis=-1),
        sigma_xyz=sigma_xyz,
        edge_lengths=lengths,
        contacts=probability,
        gravity=R @ np.array([0.0, 0.0, -1.0]),
    )
    return Case(lifted, FakeTrack(keypoints, times, seen), world, R, t)
