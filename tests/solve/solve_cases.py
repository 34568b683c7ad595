"""Inputs for the solver's tests: people with a known truth, filmed by a known camera."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from gentg_blender.core.contract import EstimateSettings
from gentg_blender.core.kinematics import forward_kinematics
from gentg_blender.core.rotations import quat_from_axis_angle, quat_to_matrix
from gentg_blender.core.skeleton import (
    BONE_JOINTS,
    BONE_PARENTS,
    BONES,
    FEET,
    JOINT_INDEX,
    JOINT_MIRROR,
    JOINT_PARENTS,
    MAIN_JOINTS,
    NUM_JOINTS,
)
from inference_backend.lifting.lifted import Lifted
from inference_backend.solve.limb_lengths import clip_lengths
from inference_backend.solve.rest_pose import RestPose, build_rest_pose, pose_from_offsets
from inference_backend.solve.solve import solve

IMAGE = (1280, 720)
K = np.array([[1100.0, 0, 640.0], [0, 1100.0, 360.0], [0, 0, 1.0]])


@dataclass
class FakeTrack:
    keypoints: np.ndarray
    timestamps: np.ndarray
    seen: np.ndarray
    world: np.ndarray | None = None


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


def drawn_height(lifted: Lifted) -> float:
    """How tall a made-up network drew the body: solving for it leaves the size as it is."""
    lengths = clip_lengths(lifted.joints, lifted.sigma, lifted.sigma_xyz, lifted.edge_lengths)
    return build_rest_pose(lengths, lifted.joints, lifted.sigma).standing_height


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


# --------------------------------------------------------------------------- real motion

_CMU = {
    "spine": "Spine", "chest": "Spine1", "l_shoulder": "LeftArm", "r_shoulder": "RightArm",
    "l_elbow": "LeftForeArm", "r_elbow": "RightForeArm", "l_wrist": "LeftFingerBase",
    "r_wrist": "RightFingerBase", "l_hip": "LeftUpLeg", "r_hip": "RightUpLeg", "l_knee": "LeftLeg",
    "r_knee": "RightLeg", "l_ankle": "LeftFoot", "r_ankle": "RightFoot",
}  # fmt: skip
_HEAD = {"head": (0, 0.1, 0), "head_top": (0, 0.23, 0.02), "nose": (0, 0.06, 0.14), "l_eye": (0.03, 0.1, 0.1),
         "r_eye": (-0.03, 0.1, 0.1), "l_ear": (0.085, 0.1, 0), "r_ear": (-0.085, 0.1, 0)}  # fmt: skip
_HAND = {"index": (0.085, 0, 0.03), "pinky": (0.08, 0, -0.035), "thumb": (0.055, -0.04, 0.055)}
_FOOT = {"heel": (0, -0.05, -0.06), "foot_index": (0, -0.065, 0.19), "small_toe": (0.045, -0.065, 0.13)}
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])


@dataclass
class Motion:
    world: np.ndarray  # (T, 35, 3) Z up
    times: np.ndarray  # (T,)
    rotation: dict[str, np.ndarray]  # joint of the file -> (T, 3, 3) global rotation, Z up


def real_motion(clip: str, start: int = 0, stop: int | None = None) -> Motion:
    """Joints of a CMU clip; face, hand and foot points are fixed to its bones."""
    with np.load(shared_motion(), allow_pickle=False) as z:
        index = json.loads(z["index"].tobytes().decode())
        info = next(c for c in index["clips"] if c["id"] == clip)
        skeleton = index["skeletons"][info["skeleton"]]
        q = z["rot/" + clip][start:stop].astype(float)
        root = z["pos/" + clip][start:stop].astype(float)
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    local, names = quat_to_matrix(q), skeleton["names"]
    rot, pos = np.empty_like(local), np.empty(local.shape[:2] + (3,))
    for j, p in enumerate(skeleton["parents"]):
        rot[:, j] = local[:, j] if p < 0 else rot[:, p] @ local[:, j]
        pos[:, j] = root if p < 0 else pos[:, p] + rot[:, p] @ np.array(skeleton["offsets"][j])
    x = np.zeros((len(q), NUM_JOINTS, 3))
    for ours, theirs in _CMU.items():
        x[:, JOINT_INDEX[ours]] = pos[:, names.index(theirs)]

    def fix(name: str, bone: str, offset) -> None:
        x[:, JOINT_INDEX[name]] = pos[:, names.index(bone)] + rot[:, names.index(bone)] @ np.array(offset)

    for name, offset in _HEAD.items():
        fix(name, "Head", offset)
    for s, Side, out in (("l", "Left", 1.0), ("r", "Right", -1.0)):
        # The foot's rest axes pitch with the file's rest pose: level them on its flattest frames.
        foot = rot[:, names.index(Side + "Foot")]
        low = pos[:, names.index(Side + "Foot"), 1]
        up = foot[low <= np.quantile(low, 0.3)][:, 1].mean(0)
        up /= np.linalg.norm(up)
        ahead = np.array([0, 0, 1.0]) - up[2] * up
        ahead /= np.linalg.norm(ahead)
        axes = np.stack([np.cross(up, ahead), up, ahead], axis=-1)
        for name, (a, b, c) in _HAND.items():
            fix(f"{s}_{name}", Side + "FingerBase", (out * a, b, c))
        for name, (a, b, c) in _FOOT.items():
            fix(f"{s}_{name}", Side + "Foot", axes @ np.array([out * a, b, c]))
    x[:, JOINT_INDEX["pelvis"]] = (x[:, JOINT_INDEX["l_hip"]] + x[:, JOINT_INDEX["r_hip"]]) / 2
    x[:, JOINT_INDEX["neck"]] = (x[:, JOINT_INDEX["l_shoulder"]] + x[:, JOINT_INDEX["r_shoulder"]]) / 2
    turned = Y_UP_TO_Z_UP @ rot
    return Motion(
        world=x @ Y_UP_TO_Z_UP.T,
        times=np.arange(len(x)) / 30.0,
        rotation={n: turned[:, j] for j, n in enumerate(names)},
    )


# --------------------------------------------------------------------------- made-up bodies


def lengths_of(x: np.ndarray) -> np.ndarray:
    """(35,) symmetric lengths of the first frame of (T, 35, 3) or of (35, 3)."""
    x = x.reshape(-1, NUM_JOINTS, 3)[0]
    lengths = np.linalg.norm(x - x[np.maximum(JOINT_PARENTS, 0)], axis=-1)
    return (lengths + lengths[JOINT_MIRROR]) / 2.0


def adult() -> RestPose:
    """A person of about 1.75 m in the solver's rest pose."""
    edges = {"spine": 0.21, "chest": 0.12, "neck": 0.19, "head": 0.20, "shoulder": 0.17, "elbow": 0.28,
             "wrist": 0.25, "hip": 0.09, "knee": 0.41, "ankle": 0.41}  # fmt: skip
    lengths, offsets = np.zeros(NUM_JOINTS), np.zeros((NUM_JOINTS, 3))
    places = {"head_top": (0, -0.02, 0.14), "nose": (0, -0.138, -0.041), "eye": (0.03, -0.1, 0.0), "ear": (0.085, 0, 0),
              "index": (0.086, -0.033, 0), "pinky": (0.079, 0.033, 0), "thumb": (0.057, -0.058, -0.03),
              "heel": (0, 0.055, -0.058), "foot_index": (0, -0.195, -0.070), "small_toe": (0.045, -0.135, -0.072)}  # fmt: skip
    for name, joint in JOINT_INDEX.items():
        bare = name[2:] if name[:2] in ("l_", "r_") else name
        side = -1.0 if name.startswith("r_") else 1.0
        if bare in places:
            offsets[joint] = np.array(places[bare]) * [side, 1.0, 1.0]
            lengths[joint] = np.linalg.norm(offsets[joint])
        elif bare in edges:
            lengths[joint] = edges[bare]
    return pose_from_offsets(lengths, offsets)


def still(rest: RestPose, frames: int, fps: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """The rest pose held (T, 35, 3) and its times."""
    return np.repeat(rest.joints[None], frames, 0), np.arange(frames) / fps


# --------------------------------------------------------------------------- solving and judging

MAIN = [JOINT_INDEX[n] for n in MAIN_JOINTS]
FEET_AT = [JOINT_INDEX[n] for n in FEET]
NOISY = {"noise": 0.05, "jitter": 0.004, "pixels": 3.0, "depth_error": 0.02}


def shoot(world, times, view=(5.0, 0.0, 0.0, 1.4, 5.0), options=None, **noise):
    about = (world[:, 0, :2].min(0) + world[:, 0, :2].max(0)) / 2.0
    R, t = camera(*view, about)
    case = film(world, times, R=R, t=t, **noise)
    options = {"height": drawn_height(case.lifted)} | (options or {})
    return case, solve(case.lifted, case.track, K, settings(**options), quiet)


def posed(solved):
    return forward_kinematics(
        solved.rest_head,
        solved.rest_tail,
        solved.rest_rotation,
        BONE_PARENTS,
        solved.local_rotation,
        solved.root,
    )


def mpjpe(a, b):
    return float(np.linalg.norm((a - a[:, :1]) - (b - b[:, :1]), axis=-1)[:, MAIN].mean())


def acceleration_error(a, b, times):
    def acceleration(x):
        return np.diff(x - x[:, :1], 2, axis=0) / np.median(np.diff(times)) ** 2

    return float(np.linalg.norm(acceleration(a) - acceleration(b), axis=-1)[:, MAIN].mean())


def check_contract(solved):
    """What every result must satisfy, whatever went in."""
    for name in ("xyz", "xyz_camera", "local_rotation", "root", "R", "t", "limb_lengths", "sigma"):
        assert np.isfinite(getattr(solved, name)).all(), name
    assert np.allclose(np.linalg.norm(solved.local_rotation, axis=-1), 1.0, atol=1e-9)
    pose = posed(solved)
    at = JOINT_INDEX
    for bone, (head, tail) in enumerate(BONE_JOINTS):
        if not BONES[bone].startswith("toe"):
            assert np.abs(pose.head[:, bone] - solved.xyz[:, at[head]]).max() < 1e-4, BONES[bone]
        if not BONES[bone].startswith("foot"):  # its tail is the ball, which is no joint
            assert np.abs(pose.tail[:, bone] - solved.xyz[:, at[tail]]).max() < 1e-4, BONES[bone]
    for name, length in zip(solved.limb_names, solved.limb_lengths, strict=True):
        a, b = name.split("-")
        measured = np.linalg.norm(solved.xyz[:, at[a]] - solved.xyz[:, at[b]], axis=-1)
        assert np.allclose(measured, length, atol=1e-9), name
    assert np.allclose(solved.xyz @ solved.R.T + solved.t, solved.xyz_camera, atol=1e-9)
