"""A synthetic person and clip, made here, so that images can be judged against known geometry."""

from fractions import Fraction

import av
import numpy as np

from gentg_blender.core.contract import Capture
from gentg_blender.core.skeleton import BONE_PARENTS, BONES, FEET, JOINTS

_POSE = {  # metres, camera axes about the pelvis: x right, y down; the person faces the camera
    "pelvis": (0, 0), "spine": (0, -0.12), "chest": (0, -0.28), "neck": (0, -0.5), "head": (0, -0.66),
    "head_top": (0, -0.82), "nose": (0, -0.64), "eye": (0.03, -0.68), "ear": (0.08, -0.66), "shoulder": (0.18, -0.48),
    "elbow": (0.42, -0.42), "wrist": (0.66, -0.5), "index": (0.74, -0.53), "pinky": (0.74, -0.48),
    "thumb": (0.70, -0.55), "hip": (0.1, 0), "knee": (0.14, 0.42), "ankle": (0.16, 0.84), "heel": (0.16, 0.9),
    "foot_index": (0.22, 0.92), "small_toe": (0.25, 0.92),
}  # fmt: skip
SIZE = (320, 480)
FOCAL = 500.0


def pose() -> np.ndarray:
    """(35, 3) metres; the person's left is at the image's right."""
    out = np.zeros((len(JOINTS), 3))
    for i, name in enumerate(JOINTS):
        x, y = _POSE[name[2:] if name[:2] in ("l_", "r_") else name]
        out[i, :2] = (-x if name.startswith("r_") else x), y
    return out


def capture(times: np.ndarray, frames: np.ndarray | None = None, step: float = 0.05, **changes) -> Capture:
    """A person 4 m away who moves right by `step` metres a frame."""
    t, j, b = len(times), len(JOINTS), len(BONES)
    xyz_camera = pose()[None] + np.array([0, 0, 4.0]) + np.arange(t)[:, None, None] * [step, 0, 0]
    R = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    shift = np.array([0.0, 0.92, 0.0])
    xyz = (xyz_camera - shift) @ R
    identity = np.zeros((t, b, 4))
    identity[..., 0] = 1
    values = dict(
        names=np.array(JOINTS), xyz=xyz, xyz_camera=xyz_camera, sigma=np.full((t, j), 0.02), seen=np.ones(t, bool),
        timestamps=np.asarray(times, float), frames=np.arange(t) if frames is None else frames, fps=np.array(25.0),
        bone_names=np.array(BONES), bone_parents=BONE_PARENTS, rest_head=np.zeros((b, 3)), rest_tail=np.ones((b, 3)),
        rest_rotation=identity[0], local_rotation=identity, root=xyz[:, 0], limb_names=np.array(["l_hip-l_knee"]),
        limb_lengths=np.array([0.42]), contacts=np.ones((t, 4), bool), contact_names=np.array(FEET),
        keypoints=np.zeros((t, j, 3)), keypoint_names=np.array(JOINTS),
        K=np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]]), R=R, t=shift,
        image_size=np.array(SIZE), xyz_tgt=xyz, local_rotation_tgt=identity, root_tgt=xyz[:, 0], meta={},
    )  # fmt: skip
    return Capture(**(values | changes))


def clip(path, times, size=SIZE, grey: int = 60):
    """A grey H.264 clip with a frame at each of `times`."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), grey, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * 90000), Fraction(1, 90000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
