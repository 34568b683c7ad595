"""Poses and references in one form, whatever file they came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gentg_blender.core.contract import GentgError

# The 12 joints on which captures of any system are compared: every detector has them.
LIMB_JOINTS: tuple[str, ...] = (
    "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist",
    "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle",
)  # fmt: skip
# Bones whose lengths are watched: thighs, shins, upper arms, forearms.
LIMB_BONES: tuple[tuple[str, str], ...] = (
    ("l_hip", "l_knee"), ("l_knee", "l_ankle"), ("l_shoulder", "l_elbow"), ("l_elbow", "l_wrist"),
    ("r_hip", "r_knee"), ("r_knee", "r_ankle"), ("r_shoulder", "r_elbow"), ("r_elbow", "r_wrist"),
)  # fmt: skip
FOOT_POINTS: tuple[str, ...] = ("l_ankle", "r_ankle", "l_heel", "r_heel", "l_foot_index", "r_foot_index")


@dataclass
class Camera:
    """Extrinsics by frame: x_cam = R x_world + t. `K` may be absent for a camera-space reference."""

    R: np.ndarray  # (T, 3, 3)
    t: np.ndarray  # (T, 3)
    K: np.ndarray | None = None  # (3, 3)
    dist: np.ndarray | None = None  # (5,) k1 k2 p1 p2 k3, OpenCV's order
    size: tuple[int, int] | None = None  # width, height

    @property
    def moves(self) -> bool:
        return bool(np.abs(self.R - self.R[:1]).max() > 1e-9 or np.abs(self.t - self.t[:1]).max() > 1e-9)


@dataclass
class Poses:
    """T frames of one person as one method sees it, in camera axes (x right, y down, z forward), metres.

    Not seen = NaN. `absolute` says whether distances to the camera mean anything or only differences
    between joints do. `frames` number the source's decoded frames: two files are joined on them.
    """

    names: tuple[str, ...]
    xyz: np.ndarray  # (T, J, 3)
    times: np.ndarray  # (T,) seconds
    frames: np.ndarray  # (T,) int
    absolute: bool = True
    sigma: np.ndarray | None = None  # (T, J) metres
    world: np.ndarray | None = None  # (T, J, 3) the method's own Z-up world, floor at z = 0

    def __post_init__(self) -> None:
        t, j = len(self.times), len(self.names)
        if self.xyz.shape != (t, j, 3) or self.frames.shape != (t,):
            raise ValueError(f"{j} joints in {t} frames do not fit an array of shape {self.xyz.shape}")

    def pick(self, names: tuple[str, ...], array: np.ndarray) -> np.ndarray:
        """The columns of `array` (T, J, ...) for `names`, in that order."""
        return array[:, [self.names.index(n) for n in names]]


@dataclass
class Reference:
    """The truth for one clip and camera: world positions (Z up, floor at z = 0), and the camera."""

    names: tuple[str, ...]
    world: np.ndarray  # (T, J, 3) metres; NaN where unknown
    times: np.ndarray  # (T,)
    frames: np.ndarray  # (T,)
    camera: Camera
    clip: str = ""
    height: float | None = None  # metres
    groups: dict[str, str] = field(default_factory=dict)  # e.g. subject, action, layout: what tables group by

    def in_camera(self) -> np.ndarray:
        """(T, J, 3) in each frame's camera axes."""
        return np.einsum("tij,tnj->tni", self.camera.R, self.world) + self.camera.t[:, None]


def root_of(names: tuple[str, ...], xyz: np.ndarray, root: str) -> np.ndarray:
    """(T, J, 3) -> (T, 3): the middle of the hips (`root` "hips") or the joint "pelvis"."""
    needed = ("l_hip", "r_hip") if root == "hips" else ("pelvis",)
    missing = [n for n in needed if n not in names]
    if missing:
        raise GentgError(
            "bad_request", f"The poses lack {', '.join(missing)}: there is no root to compare from."
        )
    return np.mean([xyz[:, names.index(n)] for n in needed], axis=0)
