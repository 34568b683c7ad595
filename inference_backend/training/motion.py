"""Motion capture files -> the 35 joints in a Z-up world, 30 fps.

Reads the packed motion format (an npz of local rotations with an `index`, documented beside
the data). CMU subjects have no face, heel, small-toe or knuckle points: they are added as
points fixed to bones. The offsets of the face, hands and feet are average adult ones, in metres
for a body 1.72 m tall, and scale with the subject's thigh and shin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gentg_blender.core.contract import GentgError
from gentg_blender.core.rotations import normalize, quat_to_matrix
from gentg_blender.core.skeleton import JOINT_INDEX, NUM_JOINTS

BODY_HEIGHT = 1.72  # metres; every training body is normalised to it, see bodies.py

# Face points from the middle of the ears: left, up, forward (x, y, z) of a head that looks ahead.
_FACE = {
    "nose": (0.0, -0.041, 0.138),
    "l_eye": (0.031, 0.0, 0.099),
    "r_eye": (-0.031, 0.0, 0.099),
    "l_ear": (0.088, 0.0, 0.0),
    "r_ear": (-0.088, 0.0, 0.0),
    "head_top": (0.0, 0.132, 0.025),
}
# Hand points from the wrist: along the hand, towards the index finger, out of the palm.
_HAND = {"index": (0.086, 0.033, 0.0), "pinky": (0.079, -0.033, 0.0), "thumb": (0.057, 0.058, 0.05)}
# Foot points from the ankle of a foot that stands flat: outward, forward, up.
_HEEL = (0.002, -0.055, -0.056)
_TOE_TIP = (0.002, 0.195, -0.070)
_SMALL_TOE = (0.045, 0.135, -0.072)

# our joint -> joint of the file's skeleton
_BODY_CMU = {
    "spine": "Spine", "chest": "Spine1",
    "l_shoulder": "LeftArm", "r_shoulder": "RightArm", "l_elbow": "LeftForeArm", "r_elbow": "RightForeArm",
    "l_wrist": "LeftFingerBase", "r_wrist": "RightFingerBase", "l_hip": "LeftUpLeg", "r_hip": "RightUpLeg",
    "l_knee": "LeftLeg", "r_knee": "RightLeg", "l_ankle": "LeftFoot", "r_ankle": "RightFoot",
}  # fmt: skip
_BODY_DAZ = {
    "spine": "abdomen", "chest": "chest",
    "l_shoulder": "lShldr", "r_shoulder": "rShldr", "l_elbow": "lForeArm", "r_elbow": "rForeArm",
    "l_wrist": "lHand", "r_wrist": "rHand", "l_hip": "lThigh", "r_hip": "rThigh",
    "l_knee": "lShin", "r_knee": "rShin", "l_ankle": "lFoot", "r_ankle": "rFoot",
}  # fmt: skip


@dataclass(frozen=True)
class _Rig:
    """Which joints of a file's skeleton carry our points. `ears` is the middle of the ears in head axes."""

    body: dict[str, str]
    head: str
    ears: tuple[float, float, float]
    hands: tuple[str, str]
    feet: tuple[str, str]
    toes: tuple[str, str] | None
    hips: str


_RIGS = {
    "cmu": _Rig(_BODY_CMU, "Head", (0.0, 0.105, 0.0), ("LeftFingerBase", "RightFingerBase"),
                ("LeftFoot", "RightFoot"), ("LeftToeBase", "RightToeBase"), "Hips"),
    "daz": _Rig(_BODY_DAZ, "head", (0.0, 0.080, -0.02), ("lHand", "rHand"),
                ("lFoot", "rFoot"), None, "hip"),
}  # fmt: skip


@dataclass
class MotionClip:
    """One clip: `xyz` (T, 35, 3) metres, Z up, 30 fps."""

    clip_id: str
    subject: str
    xyz: np.ndarray
    fps: float = 30.0


def read_motion(path: str | Path) -> list[MotionClip]:
    """Every clip of the file whose skeleton has a known rig. Skips others (breakdance `cmu_neo`, tennis).

    Raises GentgError("no_such_file" or "bad_request") for a missing file or one of another format.
    """
    if not Path(path).is_file():
        raise GentgError(
            "no_such_file",
            "The motion file does not exist.",
            file=path,
            hint="Give its place with data.motion=FILE;",
        )
    try:
        clips = _read_clips(path)
    except Exception as error:  # numpy raises half a dozen kinds for a damaged file
        raise GentgError("bad_request", f"Not a readable motion file: {error!r}", file=path) from error
    if not clips:
        raise GentgError(
            "bad_request", "No clip of the motion file has a skeleton that is known here.", file=path
        )
    return clips


def _read_clips(path: str | Path) -> list[MotionClip]:
    clips = []
    with np.load(path, allow_pickle=False) as z:
        index = json.loads(z["index"].tobytes().decode("utf-8"))
        for info in index["clips"]:
            skeleton = index["skeletons"][info["skeleton"]]
            rig = _RIGS.get(
                "daz"
                if info["skeleton"] == "cmu_daz"
                else "cmu"
                if "LeftFingerBase" in skeleton["names"]
                else ""
            )
            if rig is None:
                continue
            quats = normalize(z["rot/" + info["id"]].astype(np.float64))
            pos, rot = _forward_kinematics(skeleton, quats, z["pos/" + info["id"]].astype(np.float64))
            xyz = _to_joints(rig, skeleton["names"], pos, rot)
            clips.append(MotionClip(info["id"], info["subject"], xyz.astype(np.float32), float(index["fps"])))
    return clips


def _forward_kinematics(skeleton: dict, quats: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    local = quat_to_matrix(quats)  # (T, N, 3, 3)
    offsets = np.asarray(skeleton["offsets"], float)
    rot, pos = np.empty_like(local), np.empty(local.shape[:2] + (3,))
    for j, p in enumerate(skeleton["parents"]):
        if p < 0:
            rot[:, j], pos[:, j] = local[:, j], root
        else:
            rot[:, j] = rot[:, p] @ local[:, j]
            pos[:, j] = pos[:, p] + rot[:, p] @ offsets[j]
    return pos, rot


def _to_joints(rig: _Rig, names: list[str], pos: np.ndarray, rot: np.ndarray) -> np.ndarray:
    """File's joints, y up -> (T, 35, 3), z up."""
    at = {n: i for i, n in enumerate(names)}
    x = np.zeros((len(pos), NUM_JOINTS, 3))

    def put(name: str, value: np.ndarray) -> None:
        x[:, JOINT_INDEX[name]] = value

    def get(name: str) -> np.ndarray:
        return x[:, JOINT_INDEX[name]]

    for ours, theirs in rig.body.items():
        put(ours, pos[:, at[theirs]])
    leg = np.median(
        np.linalg.norm(get("l_hip") - get("l_knee"), axis=-1)
        + np.linalg.norm(get("l_knee") - get("l_ankle"), axis=-1)
    )
    scale = leg / 0.82  # thigh and shin of the 1.72 m body the offsets are for

    put("pelvis", (get("l_hip") + get("r_hip")) / 2)
    put("neck", (get("l_shoulder") + get("r_shoulder")) / 2)
    upright = _upright_frames(get("pelvis"), get("neck"))
    head, hips = rot[:, at[rig.head]], rot[:, at[rig.hips]]
    neutral = _neutral_axes(head, hips, upright)  # (3, 3) left, up, forward of a level head, in head axes
    ears = pos[:, at[rig.head]] + head @ (np.asarray(rig.ears) * scale)
    put("head", ears)
    for name, offset in _FACE.items():
        put(name, ears + head @ (neutral @ (np.asarray(offset) * scale)))
    for side, (hand, foot) in zip("lr", zip(rig.hands, rig.feet, strict=True), strict=True):
        out = 1.0 if side == "l" else -1.0
        wrist, hand_rot = pos[:, at[hand]], rot[:, at[hand]]
        for name, (along, index, palm) in _HAND.items():  # rest: arms along x, palms down, thumbs ahead
            put(f"{side}_{name}", wrist + hand_rot @ (np.array([out * along, -palm, index]) * scale))
        ankle, foot_rot = pos[:, at[foot]], rot[:, at[foot]]
        axes = _flat_foot_axes(ankle, foot_rot, upright, out)
        put(f"{side}_heel", ankle + foot_rot @ (axes @ (np.asarray(_HEEL) * scale)))
        for name, offset in (("foot_index", _TOE_TIP), ("small_toe", _SMALL_TOE)):
            in_foot = axes @ (np.asarray(offset) * scale)
            if rig.toes is None:
                put(f"{side}_{name}", ankle + foot_rot @ in_foot)
                continue
            # Points in front of the ball bend with the toes: carried by the toe joint.
            toe = at[rig.toes["lr".index(side)]]
            ball = np.median(np.einsum("tji,tj->ti", foot_rot, pos[:, toe] - ankle), axis=0)
            put(f"{side}_{name}", pos[:, toe] + rot[:, toe] @ (in_foot - ball))
    return np.stack([x[..., 0], -x[..., 2], x[..., 1]], axis=-1)  # y up, facing +z -> z up, facing -y


def _upright_frames(pelvis: np.ndarray, neck: np.ndarray) -> np.ndarray:
    """(T,) bool: the half of the frames with the straightest trunk (y up)."""
    lean = normalize(neck - pelvis)[:, 1]
    return lean >= np.median(lean)


def _neutral_axes(head: np.ndarray, hips: np.ndarray, upright: np.ndarray) -> np.ndarray:
    """Left, up and forward of the level head as columns in the head joint's own axes.

    A recorded head joint's axes may be pitched against the face; people who stand upright
    look ahead on average, so the mean heading of the hips, seen in head axes, is forward.
    """
    ahead = hips[upright][:, :, 2] * [1.0, 0.0, 1.0]
    up_local = normalize(head[upright][:, 1, :].mean(0))  # world up in head axes
    forward = np.einsum("tji,tj->ti", head[upright], normalize(ahead)).mean(0)
    forward = np.array([0.0, forward[1], forward[2]])  # no lasting turn to a side
    up_local = normalize(np.array([0.0, up_local[1], up_local[2]]))
    forward = normalize(forward - np.dot(forward, up_local) * up_local)
    return np.stack([np.cross(up_local, forward), up_local, forward], axis=-1)


def _flat_foot_axes(ankle: np.ndarray, foot: np.ndarray, upright: np.ndarray, out: float) -> np.ndarray:
    """Outward, forward and up of a flat foot as columns in the foot joint's own axes.

    Up is the mean world up, seen in foot axes, over frames in which the ankle is low and still.
    """
    speed = np.linalg.norm(np.gradient(ankle, axis=0), axis=-1) if len(ankle) > 1 else np.zeros(len(ankle))
    still = upright & (ankle[:, 1] <= np.quantile(ankle[upright, 1], 0.5)) & (speed <= np.median(speed))
    if not still.any():
        still = upright
    up = normalize(foot[still][:, 1, :].mean(0))
    # The rest pose looks along +z, so the foot's own z is forward up to its pitch.
    forward = normalize(np.array([0.0, 0.0, 1.0]) - up[2] * up)
    left = np.cross(up, forward)
    return np.stack([out * left, forward, up], axis=-1)
