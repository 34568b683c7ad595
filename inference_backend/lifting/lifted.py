"""What the networks hand to the solver. numpy and gentg_blender.core only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gentg_blender.core.skeleton import FEET, NUM_JOINTS


@dataclass
class Lifted:
    """3D joints of one person with their uncertainty, T frames, metres, in the real camera's
    axes (x right, y down, z forward), in single or double precision. Raises ValueError for wrong shapes
    or values that are not finite."""

    joints: np.ndarray  # (T, 35, 3) from the pelvis, core.skeleton.JOINTS order
    root: np.ndarray  # (T, 3) pelvis
    sigma: np.ndarray  # (T, 35) standard deviation of the joint's distance error
    sigma_xyz: np.ndarray  # (T, 35, 3) standard deviation along each camera axis
    edge_lengths: np.ndarray  # (35,) clip-level length from each joint to its parent; 0 for the pelvis
    contacts: np.ndarray  # (T, 4) probability that each of core.skeleton.FEET is planted
    gravity: np.ndarray  # (3,) unit vector that points down

    def __post_init__(self) -> None:
        frames = len(self.joints)
        shapes = {
            "joints": (frames, NUM_JOINTS, 3), "root": (frames, 3), "sigma": (frames, NUM_JOINTS),
            "sigma_xyz": (frames, NUM_JOINTS, 3), "edge_lengths": (NUM_JOINTS,),
            "contacts": (frames, len(FEET)), "gravity": (3,),
        }  # fmt: skip
        for name, shape in shapes.items():
            value = np.asarray(getattr(self, name))
            if value.dtype not in (np.float32, np.float64):
                value = value.astype(np.float64)
            if value.shape != shape:
                raise ValueError(f"Lifted.{name} has shape {value.shape}, not {shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"Lifted.{name} holds values that are not finite")
            setattr(self, name, value)
        if frames == 0:
            raise ValueError("Lifted holds no frame")
        if abs(np.linalg.norm(self.gravity) - 1.0) > 1e-3:
            raise ValueError("Lifted.gravity is no unit vector")

    def __len__(self) -> int:
        return len(self.joints)
