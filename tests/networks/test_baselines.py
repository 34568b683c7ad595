"""The rewritten baselines: published sizes, and what each network can and cannot see."""

from dataclasses import replace

import pytest
import torch

from gentg_blender.core.skeleton import JOINTS, MAIN_JOINTS
from inference_backend.networks.baselines import BASELINES, input_joints
from inference_backend.networks.baselines.martinez import Martinez, MartinezConfig
from inference_backend.networks.baselines.motionagformer import MotionAGFormer, MotionAGFormerConfig
from inference_backend.networks.baselines.semgcn import (
    SEMGCN16,
    SemGCN,
    SemGCNConfig,
    SemGraphConv,
    pool_groups,
    skeleton_edges,
)  # fmt: skip
from inference_backend.networks.baselines.videopose3d import VideoPose3D, VideoPose3DConfig

TINY = {
    "martinez": dict(width=64),
    "semgcn": dict(width=16, blocks=2),
    "semgcn_nonlocal": dict(width=16, blocks=2),
    "semgcn16": dict(width=16, blocks=2),
    "semgcn16_nonlocal": dict(width=16, blocks=2),
    "videopose3d": dict(channels=64, widths=(3, 3)),
    "motionagformer_xs": dict(width=16, layers=2, heads=2, representation=32, frames=9, layer_scale=0.1),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def tiny(name: str, **more):
    torch.manual_seed(0)
    config, kind = BASELINES[name]
    return kind(replace(config, **TINY[name], **more))


def example(model: torch.nn.Module, b: int = 2, t: int = 9) -> torch.Tensor:
    joints = input_joints(model.config) or JOINTS
    return torch.randn(b, t, len(joints), model.config.features, generator=torch.Generator().manual_seed(1))


def test_table_and_test_cover_the_same_networks():
    assert set(TINY) == set(BASELINES)


PUBLISHED = [
    (Martinez, MartinezConfig(joints_in=16, joints_out=16, features=2), 4.29),
    (SemGCN, SemGCNConfig(joints=SEMGCN16, features=2), 0.27),
    (SemGCN, SemGCNConfig(joints=SEMGCN16, features=2, nonlocal_layers=True), 0.43),
    (VideoPose3D, VideoPose3DConfig(17, 17, 2, widths=(3, 3, 3, 3, 3)), 16.95),
    (MotionAGFormer, MotionAGFormerConfig(joints=MAIN_JOINTS), 2.24),
]


@pytest.mark.parametrize(
    "kind, config, millions", PUBLISHED, ids=[f"{k.__name__}-{m}M" for k, _, m in PUBLISHED]
)
def test_published_parameter_counts(kind, config, millions):
    assert round(count(kind(config)) / 1e6, 2) == millions


@pytest.mark.parametrize("name", BASELINES)
def test_default_config_gives_every_joint(name):
    model = tiny(name).eval()
    x = example(model, t=13)
    with torch.no_grad():
        out = model(x)
    assert out.shape == x.shape[:3] + (3,) and torch.isfinite(out).all()


@pytest.mark.parametrize("name", BASELINES)
def test_overfits_a_tiny_batch(name):
    model = tiny(name, **({} if name == "motionagformer_xs" else {"dropout": 0.0}))
    x = example(model)
    target = torch.randn(2, 9, x.shape[2], 3, generator=torch.Generator().manual_seed(2)) * 0.3
    if (
        name != "martinez"
    ):  # what a narrow graph or a short window can express: a function of each joint's input
        target = torch.tanh(x[..., :3]) * 0.3
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(100):
        loss = (model(x) - target).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters()), "a parameter takes no part"
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]


@pytest.mark.parametrize("name", BASELINES)
def test_absent_frames_change_nothing_for_the_others(name):
    model = tiny(name).eval()
    x = example(model)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    spoilt = x.clone()
    spoilt[1, 6:] = 100.0
    with torch.no_grad():
        a, b = model(x, mask), model(spoilt, mask)
        torch.testing.assert_close(a[mask], b[mask])
        torch.testing.assert_close(
            model(x, torch.ones(2, 9, dtype=torch.bool)), model(x), atol=1e-5, rtol=1e-4
        )
        assert torch.isfinite(model(x, torch.zeros(2, 9, dtype=torch.bool) | mask.any())).all()


@pytest.mark.parametrize("name", ["martinez", "semgcn16", "semgcn16_nonlocal"])
def test_single_frame_networks_see_one_frame(name):
    model = tiny(name).eval()
    x = example(model)
    y = x.clone()
    y[:, 4] += 1.0
    with torch.no_grad():
        changed = (model(x) - model(y)).abs().amax((0, 2, 3)) > 1e-6
    assert changed.tolist() == [i == 4 for i in range(9)]


def test_videopose_receptive_field_is_exact():
    model = tiny("videopose3d").eval()
    assert model.config.receptive_field == 9
    x = example(model, 1, 31).requires_grad_()
    model(x)[0, 15].sum().backward()
    seen = x.grad.abs().amax((0, 2, 3)) > 0
    assert seen.nonzero()[:, 0].tolist() == list(range(11, 20))
    assert VideoPose3DConfig(widths=(3, 3, 3, 3, 3)).receptive_field == 243


def test_videopose_is_equivariant_to_time_shifts():
    model = tiny("videopose3d").eval()
    x = example(model, 1, 40)
    with torch.no_grad():
        whole, shifted = model(x), model(x[:, 5:])
    torch.testing.assert_close(whole[:, 9:36], shifted[:, 4:31])


def test_motionagformer_sees_its_window_and_no_other():
    model = tiny("motionagformer_xs").eval()
    x = example(model, 1, 18)
    y = x.clone()
    y[:, 2] += 1.0
    with torch.no_grad():
        changed = (model(x) - model(y)).abs().amax((0, 2, 3)) > 1e-7
    assert changed[:9].all() and not changed[9:].any()


def test_graph_limits_a_convolution_to_neighbours():
    torch.manual_seed(0)
    edges = skeleton_edges(SEMGCN16)
    assert len(edges) == 15
    adjacency = torch.eye(16, dtype=torch.bool)
    for i, p in edges:
        adjacency[i, p] = adjacency[p, i] = True
    layer = SemGraphConv(2, 5, adjacency)
    with torch.no_grad():
        layer.edge.normal_()
    x = torch.randn(3, 16, 2, requires_grad=True)
    for j in range(16):
        (grad,) = torch.autograd.grad(layer(x)[:, j].sum(), x)
        assert torch.equal(grad.abs().amax((0, 2)) > 0, adjacency[j]), SEMGCN16[j]


def test_semgcn_reaches_as_far_as_its_layers_and_nonlocal_everywhere():
    x = example(tiny("semgcn16"), 1, 1).requires_grad_()
    wrist, ankle = SEMGCN16.index("l_wrist"), SEMGCN16.index("r_ankle")  # 8 edges apart; 2 blocks span 6
    for name, far in (("semgcn16", False), ("semgcn16_nonlocal", True)):
        model = tiny(name).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                torch.nn.init.ones_(module.weight)  # non-local layers start as the identity
        (grad,) = torch.autograd.grad(model(x)[0, 0, wrist].sum(), x)
        assert bool(grad[0, 0, ankle].abs().sum() > 0) is far


def test_bridged_edges_follow_the_skeleton():
    named = {(SEMGCN16[i], SEMGCN16[p]) for i, p in skeleton_edges(SEMGCN16)}
    assert ("neck", "spine") in named and ("head_top", "neck") in named and ("l_wrist", "l_elbow") in named


@pytest.mark.parametrize("joints", [SEMGCN16, JOINTS])
def test_pool_groups_hold_each_joint_once(joints):
    groups = pool_groups(joints)
    assert sorted(i for g in groups for i in g) == list(range(len(joints)))
    assert len(groups) == (len(joints) + 1) // 2
    if joints is SEMGCN16:
        assert [SEMGCN16.index("l_elbow"), SEMGCN16.index("l_wrist")] in [sorted(g) for g in groups]
