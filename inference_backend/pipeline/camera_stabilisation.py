"""A camera that turns: is it followed, and what a camera that had stood still would have seen.

An image taken by a camera that turns about its centre holds the same rays as one by a camera that stands still.
So the keypoints are moved into the image of one still camera, everything after that takes the camera for still,
and only the result's `camera_rotation` says how it turned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gentg_blender.core.filming_check import MOVING, SHAKING
from inference_backend.keypoints.track import KeypointTrack
from inference_backend.video.camera_motion import CameraMotion

CONFIDENT = 0.5  # confidence of the boxes' points
LEAST_CONFIDENCE = 0.4  # median share of the background that turns as one; less is a camera that travels
WIDEST = np.radians(55.0)  # from the middle of the shot; a still image cannot hold more
STILL = np.radians(0.5)  # less than this is no turn: measuring noise and a tripod's tremble
_NEAREST = 0.1  # cosine to the optical axis of the still camera below which a ray has no place in its image


def may_move(track: KeypointTrack) -> bool:
    """Whether the footage was measured while detecting and its background moved."""
    measured = track.footage or {}
    median, high = measured.get("camera_speed"), measured.get("camera_speed_90")
    return median is not None and high is not None and (median >= MOVING or high >= SHAKING)


def person_boxes(track: KeypointTrack) -> np.ndarray:
    """(T, 4) x0, y0, x1, y1 pixels around the confident points; NaN where the person was not seen."""
    confident = (track.keypoints[..., 2] >= CONFIDENT) & np.asarray(track.seen, bool)[:, None]
    xy = track.keypoints[..., :2].astype(float)
    low = np.where(confident[..., None], xy, np.inf).min(1)
    high = np.where(confident[..., None], xy, -np.inf).max(1)
    boxes = np.concatenate([low, high], axis=-1)
    return np.where(confident.sum(1)[:, None] >= 2, boxes, np.nan)


def camera_rotations(motion: CameraMotion) -> tuple[np.ndarray | None, str]:
    """Rotations (T, 3, 3) from the still camera's axes to each frame's, None for a camera that stands still;
    and a warning, empty when there is none. The still camera is that of the middle frame."""
    rotations = motion.rotations @ motion.rotations[len(motion.rotations) // 2].T
    angles = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1.0) / 2.0, -1.0, 1.0))
    if float(np.median(motion.confidence)) < LEAST_CONFIDENCE:
        return (
            None,
            "The camera travels, or the background is bare: the person's path is only right for a camera that stays in its place.",
        )
    if angles.max() > WIDEST:
        return (
            None,
            f"The camera turns by {np.degrees(angles.max()):.0f} degrees from the middle of the shot: it was not followed. Estimate shorter parts.",
        )
    return (rotations, "") if angles.max() > STILL else (None, "")


def stabilise(track: KeypointTrack, K: np.ndarray, rotations: np.ndarray) -> KeypointTrack:
    """The track as the still camera sees it; points that fall outside of its half space are absent."""
    points = track.keypoints.astype(float)
    rays = np.concatenate([points[..., :2], np.ones_like(points[..., :1])], axis=-1) @ np.linalg.inv(K).T
    rays = np.einsum("tji,tkj->tki", rotations, rays)  # the inverse rotation
    ahead = rays[..., 2] > _NEAREST * np.linalg.norm(rays, axis=-1)
    seen = rays / np.where(ahead, rays[..., 2], 1.0)[..., None] @ K.T
    there = ahead & (points[..., 2] > 0)
    moved = np.concatenate([seen[..., :2], points[..., 2:]], axis=-1)
    return replace(track, keypoints=np.where(there[..., None], moved, 0.0))
