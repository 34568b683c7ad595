"""Putting the parts of a capture together."""

from __future__ import annotations

import numpy as np

from gentg_blender.core.contract import Capture
from gentg_blender.core.skeleton import BONE_PARENTS, BONES, FEET, JOINTS
from inference_backend.keypoints.track import KeypointTrack
from inference_backend.solve.solve import Solved

from .camera import Intrinsics


def assemble(
    track: KeypointTrack,
    camera: Intrinsics,
    camera_rotations: np.ndarray | None,
    before: Solved,
    after: Solved,
) -> Capture:
    """A capture without `meta`; `before` is the solved TGT, `after` the corrected one, of the same frames.

    `camera_rotations` (T, 3, 3) takes the axes of the still camera, which both were solved in, to each frame's; None if
    the camera stood still. `track` is as filmed.
    """
    seen_from = (
        after.xyz_camera
        if camera_rotations is None
        else np.einsum("tij,tkj->tki", camera_rotations, after.xyz_camera)
    )

    def f32(a: np.ndarray) -> np.ndarray:
        return np.asarray(a, dtype=np.float32)

    return Capture(
        names=np.array(JOINTS), xyz=f32(after.xyz), xyz_camera=f32(seen_from), sigma=f32(after.sigma),
        seen=np.asarray(track.seen, dtype=bool), timestamps=np.asarray(track.timestamps, dtype=np.float64),
        frames=np.asarray(track.frames, dtype=np.int64), fps=np.array(float(track.fps)),
        bone_names=np.array(BONES), bone_parents=np.asarray(BONE_PARENTS, dtype=np.int64),
        rest_head=f32(after.rest_head), rest_tail=f32(after.rest_tail),
        # rotations keep all digits: errors add up along the chain of bones
        rest_rotation=np.asarray(after.rest_rotation, dtype=np.float64),
        local_rotation=np.asarray(after.local_rotation, dtype=np.float64), root=np.asarray(after.root, dtype=np.float64),
        limb_names=after.limb_names, limb_lengths=np.asarray(after.limb_lengths, dtype=np.float64),
        contacts=np.asarray(after.contacts, dtype=bool), contact_names=np.array(FEET),
        keypoints=f32(track.keypoints), keypoint_names=np.array(JOINTS),
        K=np.asarray(camera.K, dtype=np.float64), R=np.asarray(after.R, dtype=np.float64), t=np.asarray(after.t, dtype=np.float64),
        image_size=np.array(track.image_size, dtype=np.int64),
        xyz_tgt=f32(before.xyz), local_rotation_tgt=np.asarray(before.local_rotation, dtype=np.float64),
        root_tgt=np.asarray(before.root, dtype=np.float64), camera_rotation=camera_rotations,
        local_rotation_free=after.local_rotation_free, root_free=after.root_free,
    )  # fmt: skip
