"""A small motion file with three held-out clips, and tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference_backend.lifting.weights import Loaded
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.tgt import TGT, TGTConfig
from tests.training.conftest import swinging, write_motion


@pytest.fixture(scope="session")
def motion_file(tmp_path_factory) -> Path:
    """Two clips of a training subject and three of a held-out one."""
    clips = [(f"made_1_{k}", "made_1", *swinging(150, k)) for k in (0, 1)]
    clips += [(f"made_3_{k}", "made_3", *swinging(150, 30 + k)) for k in (0, 1, 2)]
    return write_motion(tmp_path_factory.mktemp("motion") / "made.npz", clips)


@pytest.fixture
def networks() -> tuple[Loaded, Loaded]:
    """TGT and GPC of few numbers, random but alive."""
    torch.manual_seed(0)
    tgt = TGT(
        TGTConfig(
            d_space=8, space_heads=2, space_layers=1, out_layers=1, d_time=32, time_heads=2, time_layers=1
        )
    )
    gpc = GPC(GPCConfig(d_time=32, time_heads=2, time_layers=1, d_tgt=32))
    torch.nn.init.normal_(gpc.joints_out.weight, std=0.05)
    both = [m.eval().requires_grad_(False) for m in (tgt, gpc)]
    return Loaded(both[0], "tgt", {"calibration": [1.0, 1.0]}), Loaded(both[1], "gpc", {})


@pytest.fixture(autouse=True)
def all_on_one_thread(one_thread):
    pass
