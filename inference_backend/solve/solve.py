"""The solver's entry: free joints with uncertainty -> one rigid, level, grounded animation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gentg_blender.core.contract import EstimateSettings, GentgError
from gentg_blender.core.kinematics import PosedBones, forward_kinematics, local_rotations
from gentg_blender.core.rotations import matrix_to_quat, quat_continuous, quat_multiply, quat_rotate
from gentg_blender.core.skeleton import BONE_PARENTS, FEET, JOINT_INDEX, JOINT_PARENTS, JOINTS
from inference_backend.lifting.lifted import Lifted

from .contacts import detect_contacts, soft_contacts
from .depth_fusion import fuse_detector_depth
from .foot_lock import LEGS_LIFT, lock_feet
from .limb_lengths import clip_lengths
from .orientation import bone_rotations, hips_rotation, resolve_chest_twist, rotation_confidence
from .rest_pose import RestPose, build_rest_pose
from .rigid_fit import ObservedKeypoints, fit_limbs, stretch_limbs
from .root_path import estimate_camera_translation, place_root, smooth_path
from .smoothing import fill_gaps, local_fit, runs, smooth_rotations
from .world import floor_height, level_by_feet, world_rotation

Report = Callable[[str, int, "int | None"], None]

STANDARD_HEIGHT = 1.72  # metres: all the bodies that the networks are trained on stand that tall
_CHUNK = 1024  # frames worked on at once: bounds memory on long clips
_BODY_SAMPLE = 3000  # frames that the body's shape is measured on
_SIGMA_FLOOR = 0.01  # metres: no joint counts as more certain
_FEET_AT = np.array([JOINT_INDEX[n] for n in FEET])
_BELOW_KNEE = np.array([any(p in n for p in ("ankle", "heel", "foot_index", "small_toe")) for n in JOINTS])
_TRUNK = np.isin(JOINTS, ("pelvis", "spine", "l_hip", "r_hip"))

# Limbs whose length is the same in every frame: all but ankle to toe tip, which bends at the ball.
LIMB_EDGES: tuple[tuple[str, str], ...] = tuple(
    (JOINTS[p], n)
    for n, p in zip(JOINTS, JOINT_PARENTS, strict=True)
    if p >= 0 and not n.endswith("foot_index")
)


class Track(Protocol):
    """What the solver reads of keypoints.track.KeypointTrack."""

    keypoints: np.ndarray  # (T, 35, 3) px and confidence
    timestamps: np.ndarray  # (T,) seconds
    seen: np.ndarray  # (T,) bool
    world: np.ndarray | None  # (T, 35, 3) the detector's own 3D, metres, hip-centred, camera axes; NaN = none


@dataclass
class Solved:
    """core.contract.Capture's solved part; shapes, units and axes as there."""

    xyz: np.ndarray
    xyz_camera: np.ndarray
    sigma: np.ndarray
    rest_head: np.ndarray
    rest_tail: np.ndarray
    rest_rotation: np.ndarray
    local_rotation: np.ndarray
    root: np.ndarray
    limb_names: np.ndarray
    limb_lengths: np.ndarray
    contacts: np.ndarray
    R: np.ndarray
    t: np.ndarray
    standing_height: float  # metres, of the rest pose, crown above soles
    warnings: list[str] = field(default_factory=list)
    local_rotation_free: np.ndarray | None = None  # float32; None without a foot lock
    root_free: np.ndarray | None = None
    rest: RestPose = field(kw_only=True, repr=False)
    scale: float = field(kw_only=True)  # our metres in one of the network's
    # (3,) what became the world's zero, from the camera that `root_path.place_root` saw, in axes of the world
    origin: np.ndarray = field(kw_only=True, repr=False)


def solve(
    lifted: Lifted,
    track: Track,
    K: np.ndarray,
    settings: EstimateSettings,
    report: Report,
    *,
    like: Solved | None = None,
) -> Solved:
    """Second opinion on depth, lengths, rigid fit, path, rotations, smoothing, contacts and foot lock, in that order.

    K (3, 3) of the pixels in `track`. The camera is taken to stand still. With `like`, another
    result of the same clip, the body and the world are taken from there, so that both move one
    armature and can be mixed. Raises GentgError("no_person") if no frame was seen, ValueError if
    shapes disagree.
    """
    times = np.asarray(track.timestamps, dtype=np.float64)
    seen = np.asarray(track.seen, dtype=bool)
    frames = len(lifted)
    if len(times) != frames or len(seen) != frames or len(track.keypoints) != frames:
        raise ValueError(f"{frames} lifted frames, but {len(track.keypoints)} of keypoints")
    if not seen.any():
        raise GentgError(
            "no_person",
            "No frame shows a person well enough to animate.",
            hint="Choose another part of the clip, or one in which the person is larger.",
        )
    warnings: list[str] = []

    lifted = fuse_detector_depth(lifted, track.world, times, seen)
    rest, scale = _body(lifted, seen, settings.height) if like is None else (like.rest, like.scale)
    x, root, information = _fit(lifted, track, K, rest, scale, report)
    sigma = lifted.sigma * scale
    x = resolve_chest_twist(x, lifted.joints * scale, sigma, rest, times, seen)

    R = world_rotation(lifted.gravity) if like is None else like.R
    rotation = bone_rotations(x @ R, sigma, rest, times, seen)
    confidence = rotation_confidence(lifted.joints * scale, rest)
    contact_odds = lifted.contacts
    del x, lifted  # as large as all that follows, on a long clip
    rotation = smooth_rotations(rotation, times, settings.smoothing, seen, confidence)

    def walk(origin: np.ndarray | None = None, give: float = 0.0) -> np.ndarray:
        path = _path(rest, rotation, root, information, R, trusted, times, seen, origin, give)
        return local_fit(path, times, settings.smoothing, seen)[0]

    trusted = np.zeros_like(contact_odds)
    height = rest.joints[_FEET_AT, 2]
    trusted = soft_contacts(_feet(rest, rotation, walk()), height, contact_odds, times, seen)
    if like is None:
        # Level the world on the feet, then put the floor at zero under them.
        tilt = _tilt(_feet(rest, rotation, walk()) - [0.0, 0.0, 1.0] * height[:, None], trusted)
        R = R @ tilt.T
        rotation = quat_multiply(matrix_to_quat(tilt), rotation)
        path = walk()
        soles = _standing_heights(rest, rotation, path)
        floor, grounded = floor_height(soles[:, _FEET_AT], soles.min(1), trusted, seen)
        if not grounded:
            warnings.append("No foot was seen on the ground: the floor is set to the body's lowest point.")
        first = int(np.argmax(seen))
        origin = np.array([path[first, 0], path[first, 1], floor])
    else:
        origin = like.origin
    path = walk(origin)  # planted feet, if any, are drawn to the floor

    contacts = detect_contacts(_feet(rest, rotation, path), height, contact_odds, times, seen)
    report("solve", frames, frames)

    def finished(rotation: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        local = quat_continuous(
            fill_gaps(local_rotations(rest.rotation, BONE_PARENTS, rotation), times, seen, rotation=True)
        )
        return local, fill_gaps(path, times, seen, rotation=False)

    free: tuple[np.ndarray | None, ...] = (None, None)
    if settings.foot_lock:
        free = tuple(a.astype(np.float32) for a in finished(rotation, path))
        trusted = contacts.astype(np.float64)
        path = walk(origin, LEGS_LIFT)  # the pelvis, not the legs, takes up what held feet would drift
        rotation, path, contacts = lock_feet(rest, rotation, path, contacts, times, seen)

    local, path = finished(rotation, path)
    xyz = joints_of(rest, _pose(rest, local, path))
    t = estimate_camera_translation(root - path @ R.T, information, seen) if like is None else like.t
    lengths = np.array([np.linalg.norm(rest.point(a) - rest.point(b)) for a, b in LIMB_EDGES])
    return Solved(
        xyz=xyz,
        xyz_camera=xyz @ R.T + t,
        sigma=sigma,
        rest_head=rest.head,
        rest_tail=rest.tail,
        rest_rotation=rest.rotation,
        local_rotation=local,
        root=path,
        limb_names=np.array([f"{a}-{b}" for a, b in LIMB_EDGES]),
        limb_lengths=lengths,
        contacts=contacts,
        R=R,
        t=t,
        standing_height=rest.standing_height,
        warnings=warnings,
        local_rotation_free=free[0],
        root_free=free[1],
        rest=rest,
        scale=scale,
        origin=origin,
    )


def joints_of(rest: RestPose, pose: PosedBones) -> np.ndarray:
    """All 35 joints (T, 35, 3), each carried rigidly by its bone."""
    joints = np.empty((len(pose.head), *rest.offset.shape))
    for start in range(0, len(joints), _CHUNK):
        part = slice(start, start + _CHUNK)
        turned = quat_rotate(pose.rotation[part][:, rest.carrier], rest.offset)
        joints[part] = pose.head[part][:, rest.carrier] + turned
    return joints


def _pose(rest: RestPose, local: np.ndarray, root: np.ndarray) -> PosedBones:
    return forward_kinematics(rest.head, rest.tail, rest.rotation, BONE_PARENTS, local, root)


def _some_joints(rest: RestPose, rotation: np.ndarray, root: np.ndarray, pick: Callable) -> np.ndarray:
    """`pick` of all joints (n, 35, 3) of a few frames at once, for all frames."""
    return np.concatenate(
        [
            pick(
                joints_of(
                    rest,
                    _pose(rest, local_rotations(rest.rotation, BONE_PARENTS, rotation[part]), root[part]),
                )
            )
            for part in (slice(start, start + _CHUNK) for start in range(0, len(root), _CHUNK))
        ]
    )


def _feet(rest: RestPose, rotation: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Heels and toe tips (T, 4, 3) in FEET order."""
    return _some_joints(rest, rotation, root, lambda joints: joints[:, _FEET_AT])


def _standing_heights(rest: RestPose, rotation: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Heights (T, 35) of what can touch the floor: joints, and soles in place of heels and toe tips."""
    heights = _some_joints(rest, rotation, root, lambda joints: joints[..., 2])
    heights[:, _FEET_AT] -= rest.joints[_FEET_AT, 2]
    return heights


def _body(lifted: Lifted, seen: np.ndarray, height: float | None) -> tuple[RestPose, float]:
    """The rest pose, and the factor between the network's metres and ours.

    Without a known height the body stands STANDARD_HEIGHT: an image tells no size, so that what the
    lengths add up to otherwise (1 to 3 % less, as the means of uncertain limbs and soles are short) is
    error and no measurement.
    """
    height = STANDARD_HEIGHT if height is None else height
    at = np.flatnonzero(seen)
    at = at[np.linspace(0, len(at) - 1, min(len(at), _BODY_SAMPLE)).astype(int)]
    joints, sigma, sigma_xyz = (
        a[at].astype(np.float64) for a in (lifted.joints, lifted.sigma, lifted.sigma_xyz)
    )
    lengths = clip_lengths(joints, sigma, sigma_xyz, lifted.edge_lengths)
    rest = build_rest_pose(lengths, joints, sigma)
    scale = height / rest.standing_height
    for _ in range(3):  # the crown's allowance does not scale: a few rounds make the height exact
        rest = build_rest_pose(lengths * scale, joints, sigma)
        scale *= height / rest.standing_height
    return build_rest_pose(lengths * scale, joints, sigma), scale


def _fit(
    lifted: Lifted, track: Track, K: np.ndarray, rest: RestPose, scale: float, report: Report
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rigid joints from the pelvis (T, 35, 3), pelvis (T, 3) and its information, camera axes."""
    frames = len(lifted)
    lengths = np.linalg.norm(rest.joints - rest.joints[np.maximum(JOINT_PARENTS, 0)], axis=-1)
    x, root = np.empty((frames, len(JOINTS), 3)), np.empty((frames, 3))
    information = np.empty((frames, 3, 3))
    observed = ObservedKeypoints(
        np.asarray(track.keypoints, dtype=np.float64), np.asarray(K, dtype=np.float64)
    )
    trunk_at = np.flatnonzero(_TRUNK)
    for start in range(0, frames, _CHUNK):
        report("solve", start, frames)
        part = slice(start, min(start + _CHUNK, frames))
        view = observed.part(part)
        joints = stretch_limbs(lifted.joints[part].astype(np.float64) * scale, lengths)
        prior_root = lifted.root[part] * scale
        sigma = np.maximum(lifted.sigma[part].astype(np.float64) * scale, _SIGMA_FLOOR)
        joint_information = np.maximum(lifted.sigma_xyz[part].astype(np.float64) * scale, _SIGMA_FLOOR) ** -2
        place, _ = place_root(joints, sigma, prior_root, view)
        mean = place[:, None] + joints
        fitted = fit_limbs(mean, mean, joint_information, lengths, view)
        # The pelvis is one rigid piece: set hips and spine, then fit the limbs that hang on it.
        hips = hips_rotation(fitted, rest, sigma)
        fitted[:, trunk_at] = place[:, None] + (rest.joints[trunk_at] - rest.joints[0]) @ np.swapaxes(
            hips, -1, -2
        )
        fitted = fit_limbs(fitted, mean, joint_information, lengths, view, frozen=_TRUNK, steps=2)
        x[part] = fitted - fitted[:, :1]
        root[part], information[part] = place_root(x[part], sigma, prior_root, view)
    return x, root, information


def _path(rest, rotation, root, information, R, planted, times, seen, origin=None, give=0.0) -> np.ndarray:
    """The smooth path in the world of R; with `origin` (3,) that point becomes zero, planted feet
    are drawn to the floor and nothing sinks below it, feet by no more than `give` metres."""
    feet = _feet(rest, rotation, np.zeros_like(root))
    if origin is None:
        return smooth_path(root @ R, R.T @ information @ R, feet, planted, times, seen)
    level = rest.joints[_FEET_AT, 2]
    heights = _standing_heights(rest, rotation, np.zeros_like(root))
    heights[:, _BELOW_KNEE] += give
    lowest = heights.min(1)
    return smooth_path(root @ R - origin, R.T @ information @ R, feet, planted, times, seen, level, lowest)


def _tilt(soles: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) that levels the mean places (each stance of each foot part counts once)."""
    points, weights = [], []
    for part in range(planted.shape[1]):
        for start, stop in runs(planted[:, part] > 0.5):
            points.append(soles[start:stop, part].mean(0))
            weights.append(planted[start:stop, part].mean())
    return level_by_feet(np.array(points).reshape(-1, 3), np.array(weights))
