"""Quaternions (wxyz), matrices and vectors, batched over leading axes. Radians."""

from __future__ import annotations

import numpy as np

_TINY = 1e-12


def normalize(v: np.ndarray) -> np.ndarray:
    """(..., n) -> unit vectors; zero vectors stay zero."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), _TINY)


def quat_identity(*shape: int) -> np.ndarray:
    """Identity quaternions of shape (*shape, 4)."""
    q = np.zeros(shape + (4,))
    q[..., 0] = 1.0
    return q


def quat_multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product: the rotation `a` after `b`. (..., 4), (..., 4) -> (..., 4)."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quat_conjugate(q: np.ndarray) -> np.ndarray:
    """Inverse of unit quaternions."""
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def quat_rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    w, u = q[..., :1], q[..., 1:]
    t = 2.0 * np.cross(u, v)
    return v + w * t + np.cross(u, t)


def quat_to_matrix(q: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) -> rotation matrices (..., 3, 3)."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    m = np.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        axis=-1,
    )  # fmt: skip
    return m.reshape(q.shape[:-1] + (3, 3))


def matrix_to_quat(m: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) -> unit quaternions (..., 4) with w >= 0.

    Takes the largest of the four components as pivot, so that it is accurate at every
    angle (Shepperd 1978).
    """
    t = np.trace(m, axis1=-2, axis2=-1)
    d = np.diagonal(m, axis1=-2, axis2=-1)
    squared = np.stack([t, 2 * d[..., 0] - t, 2 * d[..., 1] - t, 2 * d[..., 2] - t], axis=-1)
    x_yz = m[..., 2, 1] - m[..., 1, 2]
    y_zx = m[..., 0, 2] - m[..., 2, 0]
    z_xy = m[..., 1, 0] - m[..., 0, 1]
    xy = m[..., 0, 1] + m[..., 1, 0]
    xz = m[..., 0, 2] + m[..., 2, 0]
    yz = m[..., 1, 2] + m[..., 2, 1]
    s = 1.0 + squared
    table = np.stack(
        [
            np.stack([s[..., 0], x_yz, y_zx, z_xy], -1),
            np.stack([x_yz, s[..., 1], xy, xz], -1),
            np.stack([y_zx, xy, s[..., 2], yz], -1),
            np.stack([z_xy, xz, yz, s[..., 3]], -1),
        ],
        axis=-2,
    )
    pivot = np.argmax(squared, axis=-1)
    q = normalize(np.take_along_axis(table, pivot[..., None, None], axis=-2)[..., 0, :])
    return np.where(q[..., :1] < 0, -q, q)


def quat_from_axis_angle(axis: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Unit axes (..., 3) and angles (...) -> (..., 4)."""
    half = np.asarray(angle)[..., None] / 2.0
    return np.concatenate([np.cos(half) + 0 * axis[..., :1], np.sin(half) * axis], axis=-1)


def quat_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shortest rotation that takes unit vectors `a` to `b`; opposite vectors turn by pi."""
    w = 1.0 + np.sum(a * b, axis=-1, keepdims=True)
    v = np.cross(a, b)
    helper = np.where(np.abs(a[..., :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    opposite = w < 1e-8
    v = np.where(opposite, np.cross(a, helper), v)
    return normalize(np.concatenate([np.where(opposite, 0.0, w), v], axis=-1))


def quat_continuous(q: np.ndarray) -> np.ndarray:
    """Flip signs along axis 0 (time) so that neighbours lie in the same hemisphere."""
    if len(q) < 2:
        return q.copy()
    dot = np.sum(q[1:] * q[:-1], axis=-1)
    sign = np.cumprod(np.where(dot < 0, -1.0, 1.0), axis=0)
    out = q.copy()
    out[1:] *= sign[..., None]
    return out


def quat_slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """Spherical interpolation along the shorter arc; `t` (...) from 0 (`a`) to 1 (`b`)."""
    t = np.asarray(t, float)[..., None]
    dot = np.sum(a * b, axis=-1, keepdims=True)
    b = np.where(dot < 0, -b, b)
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    near = angle < 1e-6
    s = np.where(near, 1.0, np.sin(angle))
    wa = np.where(near, 1.0 - t, np.sin((1.0 - t) * angle) / s)
    wb = np.where(near, t, np.sin(t * angle) / s)
    return normalize(wa * a + wb * b)


def rotation_angle(q: np.ndarray) -> np.ndarray:
    """Angle (...) in [0, pi] of unit quaternions (..., 4)."""
    return 2.0 * np.arctan2(np.linalg.norm(q[..., 1:], axis=-1), np.abs(q[..., 0]))


def swing_twist(q: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split q = swing * twist with `twist` about the unit `axis` (..., 3). Both (..., 4)."""
    along = np.sum(q[..., 1:] * axis, axis=-1, keepdims=True) * axis
    twist = np.concatenate([q[..., :1], along], axis=-1)
    length = np.linalg.norm(twist, axis=-1, keepdims=True)
    twist = np.where(length < 1e-9, [1.0, 0.0, 0.0, 0.0], twist / np.maximum(length, _TINY))
    return quat_multiply(q, quat_conjugate(twist)), twist


def basis_from(primary: np.ndarray, secondary: np.ndarray) -> np.ndarray:
    """Right-handed frames (..., 3, 3): column y along `primary`, column z nearest `secondary`.

    The columns are the axes of a Blender bone: y runs from head to tail.
    """
    y = normalize(primary)
    z = normalize(secondary - np.sum(secondary * y, axis=-1, keepdims=True) * y)
    return np.stack([np.cross(y, z), y, z], axis=-1)
