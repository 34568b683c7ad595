"""Ray normalisation: what a camera, its lens and its image change, and what they must not change."""

import numpy as np
import pytest
import torch

from gentg_blender.core.skeleton import JOINT_INDEX, NUM_JOINTS
from inference_backend.networks.normalise import TYPICAL_SIZE, normalise, screen_coordinates

RAY_X, RAY_Y, GAP = 1, 2, 3  # places in the condition


def scene(frames: int = 30, distance: float = 4.0, seed: int = 0) -> np.ndarray:
    """(T, 35, 3) camera axes: a person-sized cloud of joints that sway, centred before the camera."""
    rng = np.random.default_rng(seed)
    at_rest = rng.normal(size=(NUM_JOINTS, 3)) * [0.25, 0.5, 0.15]
    sway = rng.normal(size=(NUM_JOINTS, 3)) * 0.08
    t = np.arange(frames)[:, None, None] / 30
    return at_rest + sway * np.sin(5 * t + np.arange(NUM_JOINTS)[:, None]) + [0, 0, distance]


def clock(frames: int, rate: float = 30.0) -> torch.Tensor:
    return torch.arange(frames, dtype=torch.float64)[None] / rate


def image(xyz: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(xyz[..., :2] / xyz[..., 2:])[None]


def seen_by(xyz: np.ndarray, rate: float = 30.0, confidence: float = 0.9):
    points = image(xyz)
    return normalise(
        points, torch.full(points.shape[:3], confidence, dtype=torch.float64), clock(len(xyz), rate)
    )


def yaw(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


@pytest.mark.parametrize(
    "focal, centre", [(500.0, (320.0, 240.0)), (2600.0, (959.0, 500.0)), (900.0, (0.0, 1080.0))]
)
def test_lens_image_size_and_principal_point_vanish_with_the_intrinsics(focal, centre):
    xyz = scene() + [0.8, -0.2, 0.0]
    pixels = focal * xyz[..., :2] / xyz[..., 2:] + centre
    back = torch.as_tensor((pixels - centre) / focal)[None]
    confidence = torch.full(back.shape[:3], 0.9, dtype=torch.float64)
    found, want = normalise(back, confidence, clock(30)), seen_by(xyz)
    for name in ("points", "velocity", "condition", "rotation", "size"):
        torch.testing.assert_close(getattr(found, name), getattr(want, name), atol=1e-9, rtol=0)


@pytest.mark.parametrize("angle", [0.1, 0.3, -0.4])
def test_turning_the_camera_about_its_vertical_axis_changes_the_ray_only(angle):
    straight, turned = seen_by(scene()), seen_by(scene() @ yaw(angle).T)
    shift = turned.condition[..., RAY_X] - straight.condition[..., RAY_X]
    torch.testing.assert_close(shift, torch.full_like(shift, angle), atol=0.015, rtol=0)
    moved = (turned.points - straight.points).norm(dim=-1)
    assert (
        moved.max() < 0.06
    )  # persons are about 1 in size; the centre is a mean of image points, not of rays
    others = [k for k in range(6) if k != RAY_X]
    assert (turned.condition - straight.condition)[..., others].abs().max() < 0.05

    # Without virtual cameras the image itself is far more distorted by the same turn.
    def shape(xyz):
        p = image(xyz)
        return p - p.mean(2, keepdim=True)

    plain = (shape(scene() @ yaw(angle).T) - shape(scene())).norm(dim=-1) / straight.size[..., None]
    assert plain.max() > 3 * moved.max()


def test_virtual_cameras_turn_the_persons_ray_onto_the_axis_without_roll():
    x = seen_by(scene() + [1.5, -0.7, 0.0])
    identity = torch.eye(3, dtype=torch.float64).expand_as(x.rotation)
    torch.testing.assert_close(x.rotation @ x.rotation.transpose(-1, -2), identity, atol=1e-12, rtol=0)
    assert torch.allclose(torch.linalg.det(x.rotation), torch.ones(1, 30, dtype=torch.float64))
    centre = torch.tan(x.condition[..., [RAY_X, RAY_Y]])
    ray = torch.nn.functional.normalize(torch.cat([centre, torch.ones_like(centre[..., :1])], -1), dim=-1)
    ahead = torch.einsum("btij,btj->bti", x.rotation, ray)
    torch.testing.assert_close(
        ahead, torch.tensor([0.0, 0, 1]).to(ahead).expand_as(ahead), atol=1e-12, rtol=0
    )
    assert x.rotation[..., 0, 1].abs().max() < 1e-12  # the virtual x axis stays level


def test_distance_changes_the_size_alone():
    """Twice as far with twice the focal length's angle: a flat figure keeps its normalised shape."""
    flat = scene(1)
    flat[..., 2] = 3.0
    near, far = seen_by(flat), seen_by(np.concatenate([flat[..., :2], 2 * flat[..., 2:]], -1))
    torch.testing.assert_close(far.size, near.size / 2, atol=2e-3, rtol=0)
    torch.testing.assert_close(far.points, near.points, atol=0.03, rtol=0)
    torch.testing.assert_close(near.condition[..., 0], torch.log(near.size / TYPICAL_SIZE))


def test_the_size_is_the_root_mean_square_of_the_points():
    x = seen_by(scene(1), confidence=1.0)
    assert float(x.points.square().sum(-1).mean()) == pytest.approx(1.0, abs=1e-9)


def test_absent_joints_are_zero_and_their_coordinates_do_not_matter():
    points = image(scene())
    confidence = torch.full(points.shape[:3], 0.8, dtype=torch.float64)
    hidden = [JOINT_INDEX["l_hip"], JOINT_INDEX["nose"]]
    confidence[:, 10:, hidden] = 0.0
    x = normalise(points, confidence, clock(30))
    assert (x.points[:, 10:, hidden] == 0).all() and (x.points[:, :10, hidden] != 0).all()
    assert (x.velocity[:, 9:, hidden] == 0).all() and (x.velocity[:, 1:9, hidden] != 0).any()
    points[:, 10:, hidden] = 1e3
    again = normalise(points, confidence, clock(30))
    for name in ("points", "velocity", "condition", "rotation", "size"):
        assert torch.equal(getattr(x, name), getattr(again, name))


def test_nothing_seen_at_all_stays_finite():
    x = normalise(torch.zeros(1, 5, 35, 2), torch.zeros(1, 5, 35), clock(5).float())
    assert all(torch.isfinite(v).all() for v in vars(x).values())
    assert (x.points == 0).all()


def test_velocity_is_a_tenth_of_the_change_per_second_by_the_clips_own_clock():
    xyz = scene(12)
    times = torch.tensor([[0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14]], dtype=torch.float64) / 25
    x = normalise(image(xyz), torch.ones(1, 12, 35, dtype=torch.float64), times)
    unit, t = x.points.numpy()[0], times.numpy()[0]
    want = 0.1 * (unit[2:] - unit[:-2]) / (t[2:] - t[:-2])[:, None, None]
    np.testing.assert_allclose(x.velocity.numpy()[0, 1:-1], np.clip(want, -3, 3), atol=1e-12)
    assert (x.velocity[:, [0, -1]] == 0).all()


@pytest.mark.parametrize("rate, want", [(30, 0.0), (60, -1.0), (15, 1.0), (24, np.log2(30 / 24))])
def test_the_frame_rate_is_told(rate, want):
    np.testing.assert_allclose(seen_by(scene(8), rate).condition[..., GAP], want, atol=1e-9)


def test_one_frame_works():
    x = seen_by(scene(1))
    assert x.points.shape == (1, 1, 35, 2) and (x.velocity == 0).all()
    assert float(x.condition[0, 0, GAP]) == pytest.approx(0.0, abs=1e-6)


def test_screen_coordinates_are_the_image_and_know_no_lens():
    g = torch.Generator().manual_seed(0)
    points, confidence = torch.rand(2, 5, 35, 2, generator=g), torch.ones(2, 5, 35)
    confidence[:, :, 3] = 0.0
    times = (torch.arange(5) / 25.0).expand(2, -1)
    edge = torch.tensor([0.5, 0.8])
    x = screen_coordinates(points, confidence, times, edge)
    torch.testing.assert_close(x.points[1, 2, 7], points[1, 2, 7] / 0.8)
    assert not x.points[:, :, 3].any() and torch.equal(x.rotation[0, 0], torch.eye(3))
    torch.testing.assert_close(x.velocity[0, 2, 7], 0.1 * (points[0, 3, 7] - points[0, 1, 7]) / 0.5 / 0.08)
    torch.testing.assert_close(x.condition[..., :3], torch.zeros(2, 5, 3))
    longer = screen_coordinates(2 * points, confidence, times, 2 * edge)  # half the focal length, same image
    for name in ("points", "velocity", "condition"):
        torch.testing.assert_close(getattr(longer, name), getattr(x, name))
    torch.testing.assert_close(x.size, edge[:, None].expand(-1, 5))
    # Someone elsewhere in the image is elsewhere for the network; with rays he is not.
    moved = screen_coordinates(points + 0.1, confidence, times, edge)
    assert float((moved.points - x.points)[:, :, 7].abs().min()) > 0.1
