"""A moving figure whose true 2D points are known, and a lookup of the clips beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gentg_blender.core.skeleton import JOINT_INDEX, JOINTS

# A standing figure seen from the front, in heights; the person's left is on the image's right.
_FRONT = {
    "nose": (0.0, 0.08), "eye": (0.02, 0.065), "ear": (0.045, 0.075), "shoulder": (0.105, 0.18), "elbow": (0.14, 0.36),
    "wrist": (0.15, 0.51), "index": (0.155, 0.56), "pinky": (0.165, 0.56), "thumb": (0.14, 0.55), "hip": (0.055, 0.47),
    "knee": (0.06, 0.71), "ankle": (0.06, 0.94), "heel": (0.05, 0.97), "foot_index": (0.075, 0.99),
}  # fmt: skip


@pytest.fixture
def figure():
    def make(times: np.ndarray, height: float = 400.0, origin=(300.0, 50.0), drift=(40.0, 0.0)) -> np.ndarray:
        """(T, 35, 3): walks to the right, swings arms and legs; confidence 0.95, absent joints 0."""
        points = np.zeros((len(times), len(JOINTS), 3))
        for name, (x, y) in _FRONT.items():
            for side, sign in (("l_", 1), ("r_", -1)):
                joint = JOINT_INDEX.get(name if name == "nose" else side + name)
                if joint is None:
                    continue
                swing = {
                    "elbow": 0.02,
                    "wrist": 0.06,
                    "index": 0.07,
                    "pinky": 0.07,
                    "thumb": 0.07,
                    "knee": 0.02,
                    "ankle": 0.05,
                    "heel": 0.05,
                    "foot_index": 0.05,
                }.get(name, 0.004)
                phase = 2 * np.pi * 1.1 * times + (0 if sign > 0 else np.pi)
                points[:, joint, 0] = (
                    origin[0] + drift[0] * times + height * (sign * x + swing * np.sin(phase))
                )
                points[:, joint, 1] = (
                    origin[1] + drift[1] * times + height * (y - 0.3 * swing * np.cos(phase))
                )
                points[:, joint, 2] = 0.95
        from inference_backend.keypoints.layouts import derive_middles

        derive_middles(points)
        return points

    return make


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"test data not found: {folder}")
    return folder
