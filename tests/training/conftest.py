"""A small motion file made here, in the packed format of the training data: nobody's recording."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from inference_backend.lifting.weights import save_weights
from inference_backend.training import train_tgt
from inference_backend.training.config import TrainConfig
from inference_backend.training.motion import MotionClip, read_motion

# name: (parent, offset in the parent's frame); y up, facing +z, left is +x, arms along x.
_HALF = {
    "UpLeg": ("Hips", (0.09, -0.05, 0.0)),
    "Leg": ("UpLeg", (0.0, -0.41, 0.0)),
    "Foot": ("Leg", (0.0, -0.41, 0.0)),
    "ToeBase": ("Foot", (0.0, -0.06, 0.13)),
    "Arm": ("Spine1", (0.17, 0.22, 0.0)),
    "ForeArm": ("Arm", (0.28, 0.0, 0.0)),
    "FingerBase": ("ForeArm", (0.25, 0.0, 0.0)),
}
SKELETON: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "Hips": (None, (0.0, 0.0, 0.0)),
    "Spine": ("Hips", (0.0, 0.14, 0.0)),
    "Spine1": ("Spine", (0.0, 0.14, 0.0)),
    "Head": ("Spine1", (0.0, 0.32, 0.0)),
}
for _side, _sign in (("Left", 1), ("Right", -1)):
    for _name, (_parent, (_x, _y, _z)) in _HALF.items():
        _own = _parent if _parent in SKELETON and _parent in ("Hips", "Spine1") else _side + _parent
        SKELETON[_side + _name] = (_own, (_sign * _x, _y, _z))
NAMES = list(SKELETON)


def swinging(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Local quaternions (T, N, 4) wxyz and hip positions (T, 3) of somebody who walks in place and waves."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 30
    phase, turn = rng.uniform(0, 2 * np.pi), rng.uniform(-np.pi, np.pi)
    swing = {n: np.zeros((frames, 3)) for n in NAMES}  # rotation vectors
    for side, sign in (("Left", 1), ("Right", -1)):
        step = np.sin(6 * t + phase + np.pi * (sign < 0))
        swing[side + "UpLeg"][:, 0] = -0.5 * step
        swing[side + "Leg"][:, 0] = 0.4 + 0.4 * step
        swing[side + "Arm"] = np.stack(
            [0.2 * step, -sign * (0.3 + 0.2 * step), -sign * (1.1 + 0.1 * step)], -1
        )
        swing[side + "ForeArm"][:, 1] = -sign * (0.6 + 0.4 * np.sin(3 * t + sign))
    swing["Spine"][:, 0] = 0.05 + 0.05 * np.sin(2 * t + phase)
    swing["Hips"][:, 1] = turn + 0.2 * np.sin(0.7 * t)
    quats = np.stack([Rotation.from_rotvec(swing[n]).as_quat()[:, [3, 0, 1, 2]] for n in NAMES], 1)
    root = np.stack([0.1 * np.sin(t), 0.93 + 0.02 * np.sin(12 * t), 0.2 * t], -1)
    return quats, root


def write_motion(path: Path, clips: list[tuple[str, str, np.ndarray, np.ndarray]]) -> Path:
    """`clips`: id, subject, quaternions, root positions."""
    parents = [-1 if p is None else NAMES.index(p) for p, _ in SKELETON.values()]
    skeleton = {"names": NAMES, "parents": parents, "offsets": [list(o) for _, o in SKELETON.values()]}
    index = {"fps": 30, "up": "y", "units": "m", "skeletons": {"made": skeleton},
             "clips": [{"id": i, "subject": s, "skeleton": "made"} for i, s, _, _ in clips]}  # fmt: skip
    arrays = {"index": np.frombuffer(json.dumps(index).encode(), np.uint8)}
    for name, _, quats, root in clips:
        arrays["rot/" + name] = np.round(quats * 32767).astype(np.int16)
        arrays["pos/" + name] = root.astype(np.float32)
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def motion_file(tmp_path_factory) -> Path:
    """Four clips of two training subjects and two clips of a held-out one."""
    clips = [(f"made_{s}_{k}", f"made_{s}", *swinging(150, 10 * s + k)) for s in (1, 2) for k in (0, 1)]
    clips += [(f"made_3_{k}", "made_3", *swinging(120, 30 + k)) for k in (0, 1)]
    return write_motion(tmp_path_factory.mktemp("motion") / "made.npz", clips)


@pytest.fixture(scope="session")
def clips(motion_file) -> list[MotionClip]:
    return read_motion(motion_file)


def small_run(motion_file: Path, out: Path) -> TrainConfig:
    """A run of seconds: small network, short clips, 32-bit."""
    config = TrainConfig(name="tiny", device="cpu", out=str(out))
    config.data.motion, config.data.held_out_subjects = str(motion_file), ["made_3"]
    config.generator.frames = 16
    tgt, gpc, o = config.tgt, config.gpc, config.optim
    tgt.d_space, tgt.space_heads, tgt.space_layers, tgt.out_layers = 8, 2, 1, 1
    tgt.d_time, tgt.time_heads, tgt.time_layers = 32, 2, 1
    gpc.d_time, gpc.time_heads, gpc.time_layers, gpc.d_tgt = 32, 2, 1, 32
    o.steps, o.batch, o.precision, o.learning_rate, o.ema = 100, 4, "fp32", 3e-3, 0.9
    o.validate_steps, o.log_steps = 10_000, 1
    return config


@pytest.fixture
def tiny(motion_file, tmp_path) -> TrainConfig:
    return small_run(motion_file, tmp_path / "runs")


@pytest.fixture(scope="session")
def trained_tgt(motion_file, tmp_path_factory) -> Path:
    """Weights of a TGT that was trained for a moment."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    runner = train_tgt.build(small_run(motion_file, folder))
    for _ in range(60):
        runner.train_step()
    save_weights(folder / "tgt.safetensors", "tgt", runner.model, {})
    return folder / "tgt.safetensors"


@pytest.fixture(autouse=True)
def all_on_one_thread(one_thread):
    pass
