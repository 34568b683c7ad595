"""Quaternion algebra against scipy and against its own defining properties."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from gentg_blender.core import rotations as r

RNG = np.random.default_rng(5)


def to_scipy(q):
    return Rotation.from_quat(np.asarray(q)[..., [1, 2, 3, 0]].reshape(-1, 4))


def random_quats(n):
    return r.normalize(RNG.standard_normal((n, 4)))


def test_product_rotation_and_inverse_agree_with_scipy():
    a, b, v = random_quats(50), random_quats(50), RNG.standard_normal((50, 3))
    product = to_scipy(a) * to_scipy(b)
    assert np.allclose(to_scipy(r.quat_multiply(a, b)).as_matrix(), product.as_matrix(), atol=1e-12)
    assert np.allclose(r.quat_rotate(a, v), to_scipy(a).apply(v), atol=1e-12)
    assert np.allclose(r.quat_rotate(r.quat_conjugate(a), r.quat_rotate(a, v)), v, atol=1e-12)
    assert np.allclose(r.quat_to_matrix(a), to_scipy(a).as_matrix(), atol=1e-12)


def test_matrix_to_quat_at_every_angle_including_half_turns():
    axes = np.concatenate([np.eye(3), r.normalize(RNG.standard_normal((20, 3)))])
    for angle in (0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-7, np.pi, 4.0):
        q = r.quat_from_axis_angle(axes, np.full(len(axes), angle))
        back = r.matrix_to_quat(r.quat_to_matrix(q))
        assert np.all(back[:, 0] >= 0)
        assert np.allclose(np.abs(np.sum(q * back, axis=-1)), 1.0, atol=1e-12)


def test_quat_between_takes_one_to_the_other_by_the_shortest_way():
    a, b = r.normalize(RNG.standard_normal((2, 100, 3)))
    q = r.quat_between(a, b)
    assert np.allclose(r.quat_rotate(q, a), b, atol=1e-9)
    assert np.allclose(r.rotation_angle(q), np.arccos(np.clip(np.sum(a * b, -1), -1, 1)), atol=1e-6)
    opposite = r.quat_between(a, -a)
    assert np.allclose(r.quat_rotate(opposite, a), -a, atol=1e-9)
    assert np.allclose(r.quat_between(a, a), r.quat_identity(100), atol=1e-9)


def test_slerp_agrees_with_scipy_and_takes_the_short_arc():
    a, b = random_quats(2)
    for t in (0.0, 0.25, 0.9, 1.0):
        want = Slerp([0, 1], to_scipy(np.stack([a, b])))([t]).as_matrix()
        assert np.allclose(r.quat_to_matrix(r.quat_slerp(a, b, t)), want, atol=1e-9)
        assert np.allclose(r.quat_to_matrix(r.quat_slerp(a, -b, t)), want, atol=1e-9)
    assert np.allclose(r.quat_slerp(a, a, 0.3), a)


def test_swing_twist_recomposes_and_swing_has_no_twist():
    q, axis = random_quats(60), r.normalize(RNG.standard_normal((60, 3)))
    swing, twist = r.swing_twist(q, axis)
    assert np.allclose(r.quat_multiply(swing, twist), q, atol=1e-9)
    assert np.allclose(np.sum(swing[:, 1:] * axis, -1), 0.0, atol=1e-9)
    assert np.allclose(np.cross(twist[:, 1:], axis), 0.0, atol=1e-9)


def test_continuous_signs_and_same_rotation():
    q = random_quats(40).reshape(20, 2, 4)
    smooth = r.quat_continuous(q)
    assert np.all(np.sum(smooth[1:] * smooth[:-1], -1) >= 0)
    assert np.allclose(np.abs(np.sum(q * smooth, -1)), 1.0)


def test_basis_is_right_handed_with_y_along_primary():
    y, z = RNG.standard_normal((2, 30, 3))
    m = r.basis_from(y, z)
    assert np.allclose(np.swapaxes(m, -1, -2) @ m, np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(m), 1.0)
    assert np.allclose(m[..., 1], r.normalize(y), atol=1e-12)
    assert np.all(np.sum(m[..., 2] * z, -1) > 0)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_identity_shape(shape):
    q = r.quat_identity(*shape)
    assert q.shape == shape + (4,)
    assert np.allclose(r.rotation_angle(q), 0.0)
