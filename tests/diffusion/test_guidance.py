"""Guidance: its gradient against finite differences, and what a step does to poses."""

import pytest
import torch

from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_MIRROR, JOINT_PARENTS, JOINTS
from inference_backend.diffusion.guidance import Evidence, GuidanceWeights, energy, guide, reprojection_error

B, T, SIZE = 2, 3, 0.1


def case(seed: int = 0) -> tuple[torch.Tensor, Evidence]:
    """Random poses of a symmetric body, and evidence that agrees with them exactly."""
    g = torch.Generator().manual_seed(seed)
    lengths = 0.1 + 0.3 * torch.rand(B, 35, generator=g, dtype=torch.float64)
    lengths = (lengths + lengths[:, JOINT_MIRROR]) / 2
    lengths[:, 0] = 0.0
    direction = torch.nn.functional.normalize(
        torch.randn(B, T, 35, 3, generator=g, dtype=torch.float64), dim=-1
    )
    joints = torch.zeros(B, T, 35, 3, dtype=torch.float64)
    for j in range(1, len(JOINTS)):
        joints[:, :, j] = joints[:, :, JOINT_PARENTS[j]] + direction[:, :, j] * lengths[:, None, j, None]
    root = torch.tensor([0.2, -0.1, 4.0], dtype=torch.float64).expand(B, T, 3)
    camera = joints + root[:, :, None]
    points = camera[..., :2] / camera[..., 2:] / SIZE
    confidence = torch.rand(B, T, 35, generator=g, dtype=torch.float64)
    return joints, Evidence(points, confidence, torch.full((B, T), SIZE, dtype=torch.float64), root, lengths)


def shaken(joints: torch.Tensor, amount: float, seed: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    out = joints + amount * torch.randn(joints.shape, generator=g, dtype=torch.float64)
    out[:, :, 0] = 0.0
    return out


WIDE = torch.full((B, T, 35, 3), 1e6, dtype=torch.float64)  # so uncertain that the step is the plain gradient


def test_an_exact_pose_has_no_energy_and_stays():
    joints, evidence = case()
    assert float(energy(joints, evidence, GuidanceWeights())) < 1e-6
    moved = guide(joints, WIDE, evidence, GuidanceWeights(), 0.3)
    assert float((moved - joints).abs().max()) < 1e-6


@pytest.mark.parametrize("only", ["reprojection", "length", "symmetry"])
def test_gradients_of_every_term_agree_with_finite_differences(only):
    joints, evidence = case()
    weights = GuidanceWeights(**{"reprojection": 0.0, "length": 0.0, "symmetry": 0.0} | {only: 0.7})
    x = shaken(joints, 0.05)
    gradient = x - guide(x, WIDE * 1e6, evidence, weights, 1.0)
    assert float(gradient.abs().max()) > 1e-3
    h = 1e-6
    for joint in ("l_wrist", "r_knee", "neck"):
        for axis in range(3):
            at = (1, 2, JOINT_INDEX[joint], axis)
            up, down = x.clone(), x.clone()
            up[at] += h
            down[at] -= h
            slope = float(energy(up, evidence, weights) - energy(down, evidence, weights)) / (2 * h)
            assert float(gradient[at]) == pytest.approx(slope, abs=1e-6)


def test_steps_lower_the_energy_down_to_a_pose_that_fits():
    joints, evidence = case()
    x, weights = shaken(joints, 0.05), GuidanceWeights()
    energies = [float(energy(x, evidence, weights))]
    for _ in range(60):
        x = guide(x, WIDE, evidence, weights, 0.3)
        energies.append(float(energy(x, evidence, weights)))
    assert all(b < a for a, b in zip(energies, energies[1:]))
    assert energies[-1] < 0.2 * energies[0]


def test_certain_coordinates_hold_and_uncertain_ones_move():
    joints, evidence = case()
    variance = torch.zeros_like(WIDE)
    variance[:, :, JOINT_INDEX["l_elbow"], 2] = 1.0
    x = shaken(joints, 0.05)
    moved = (guide(x, variance, evidence, GuidanceWeights(), 0.3) - x).abs() > 0
    assert torch.equal(moved, variance > 0)


def test_reprojection_error_is_hubers_of_metres_at_the_pelvis():
    joints, evidence = case()
    hand = JOINT_INDEX["r_wrist"]
    for metres, want in ((0.02, 0.5 * 0.02**2), (0.30, 0.05 * (0.30 - 0.025))):
        e = Evidence(**vars(evidence) | {"points": evidence.points.clone()})
        e.points[..., hand, 0] += metres / 4.0 / SIZE  # metres at 4 m, in units of the person's size
        error = reprojection_error(joints, e)
        torch.testing.assert_close(error[..., hand], torch.full((B, T), want, dtype=torch.float64))
        assert float(error[..., :hand].abs().max()) < 1e-20


def test_absent_points_do_not_pull():
    joints, evidence = case()
    evidence.confidence.zero_()
    evidence.points += 5.0
    assert float(energy(joints, evidence, GuidanceWeights())) < 1e-6
