"""Fit limbs of constant length to uncertain 3D joints and to the image, frame by frame.

Every joint has a measurement in 3D (Gaussian, one sigma per camera axis) and one in 2D (pixels,
Huber loss). The unknowns are limb directions. Limbs form a tree, so that a Gauss-Newton step is
solved exactly in one sweep from the leaves to the pelvis and back, as in the Riccati recursion
of articulated bodies; its cost grows with the number of joints, not with its cube.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gentg_blender.core.rotations import normalize
from gentg_blender.core.skeleton import JOINT_PARENTS, NUM_JOINTS

PIXEL_SIGMA = 0.035  # metres at the person: error of 2D points, with what joints share of it
HUBER = 2.0  # standard deviations
LOWEST_CONFIDENCE = 0.1  # points below carry nothing
LARGEST_STRETCH = 1.25  # of a limb that the network draws too short; more would amplify noise
_DAMPING = 1e-3  # of the frame's largest information


@dataclass
class ObservedKeypoints:
    """The 2D side: keypoints (T, 35, 3) px and confidence, K (3, 3) without skew."""

    keypoints: np.ndarray
    K: np.ndarray

    def part(self, frames: slice) -> ObservedKeypoints:
        return ObservedKeypoints(self.keypoints[frames], self.K)


def reprojection(
    points: np.ndarray, observed: ObservedKeypoints, sigma: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Linearised 2D terms at camera points (T, J, 3): gradient (T, J, 3) and Hessian (T, J, 3, 3).

    `sigma` (T, J) or a number: metres at the person, one standard deviation across the view.
    Points behind the camera and uncertain keypoints give zeros.
    """
    fx, fy, cx, cy = observed.K[0, 0], observed.K[1, 1], observed.K[0, 2], observed.K[1, 2]
    z = np.maximum(points[..., 2], 0.1)
    confidence = observed.keypoints[..., 2]
    usable = (confidence >= LOWEST_CONFIDENCE) & (points[..., 2] > 0.1)
    u, v = points[..., 0] / z, points[..., 1] / z
    # Residuals in metres at the point's distance, the same error in every image size. The factor z
    # counts as a constant weight: were it differentiated, coming closer would shrink all errors.
    ru = np.where(usable, z * (u - (observed.keypoints[..., 0] - cx) / fx), 0.0)
    rv = np.where(usable, z * (v - (observed.keypoints[..., 1] - cy) / fy), 0.0)
    distance = np.hypot(ru, rv) / sigma
    weight = np.where(usable, confidence**2, 0.0) / np.square(sigma)
    weight = weight * np.where(distance > HUBER, HUBER / np.maximum(distance, HUBER), 1.0)
    zero, one = np.zeros_like(u), np.ones_like(u)
    jacobian = np.stack([np.stack([one, zero, -u], -1), np.stack([zero, one, -v], -1)], axis=-2)
    gradient = weight[..., None] * (ru[..., None] * jacobian[..., 0, :] + rv[..., None] * jacobian[..., 1, :])
    hessian = weight[..., None, None] * (np.swapaxes(jacobian, -1, -2) @ jacobian)
    return gradient, hessian


def _levels() -> list[np.ndarray]:
    depth = np.zeros(NUM_JOINTS, int)
    for joint, parent in enumerate(JOINT_PARENTS):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return [np.flatnonzero(depth == d) for d in range(1, depth.max() + 1)]


_LEVELS = _levels()


def _tangent(d: np.ndarray) -> np.ndarray:
    """Two unit vectors across unit `d` (..., 3) -> (..., 3, 2) (Duff et al. 2017)."""
    x, y, z = np.moveaxis(d, -1, 0)
    sign = np.where(z < 0, -1.0, 1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = np.stack([1.0 + sign * x * x * a, sign * b, -sign * x], axis=-1)
    second = np.stack([b, sign + y * y * a, -y], axis=-1)
    return np.stack([first, second], axis=-1)


def stretch_limbs(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Joints (T, 35, 3) from the pelvis with limbs of (nearly) their `lengths` (35,), directions kept.

    The mean of all poses a network thinks possible has limbs too short (see `clip_lengths`). Fitted as it
    is, a limb of true length would have to tilt away from where it points, mostly in depth.
    """
    stretched = joints.copy()
    for level in _LEVELS:
        vector = joints[:, level] - joints[:, JOINT_PARENTS[level]]
        ratio = lengths[level] / np.maximum(np.linalg.norm(vector, axis=-1), 1e-6)
        ratio = np.clip(ratio, 1.0 / LARGEST_STRETCH, LARGEST_STRETCH)
        stretched[:, level] = stretched[:, JOINT_PARENTS[level]] + ratio[..., None] * vector
    return stretched


def fit_limbs(
    start: np.ndarray,
    mean: np.ndarray,
    information: np.ndarray,
    lengths: np.ndarray,
    observed: ObservedKeypoints,
    *,
    frozen: np.ndarray | None = None,
    steps: int = 3,
) -> np.ndarray:
    """Joints (T, 35, 3) with exact limb lengths, closest to all measurements. Camera axes, metres.

    start (T, 35, 3): directions are taken from it, and the places of `frozen` joints and of the
    pelvis, which stays put. mean (T, 35, 3) and information (T, 35, 3), the inverse variances
    along the axes: the 3D measurement. lengths (35,). frozen (35,) bool, closed under parents.
    """
    fixed = np.zeros(NUM_JOINTS, bool) if frozen is None else frozen.copy()
    fixed[0] = True
    parents = JOINT_PARENTS
    direction = normalize(start - start[:, np.maximum(parents, 0)])
    prior = np.zeros(information.shape + (3,))
    prior[..., [0, 1, 2], [0, 1, 2]] = information
    damping = _DAMPING * np.max(information, axis=(1, 2))[:, None]
    x = start.copy()

    def place() -> None:
        for level in _LEVELS:
            free = level[~fixed[level]]
            x[:, free] = x[:, parents[free]] + lengths[free, None] * direction[:, free]

    place()
    for _ in range(steps):
        gradient, hessian = reprojection(x, observed, PIXEL_SIGMA)
        A = prior + hessian
        b = information * (mean - x) - gradient
        gain = np.zeros_like(A)
        for level in reversed(_LEVELS):
            free = level[~fixed[level]]
            if not len(free):
                continue
            basis = _tangent(direction[:, free])
            here = A[:, free]
            across = np.swapaxes(basis, -1, -2)
            m = across @ here @ basis
            # The sphere's own curvature: a limb drawn beyond its length is stiffer than Gauss-Newton
            # knows, and would be thrown from side to side. The softer case only slows it down.
            drawn = np.sum(b[:, free] * direction[:, free], axis=-1) / np.maximum(lengths[free], 1e-6)
            stiff = damping + np.maximum(drawn, 0.0)
            p, q, r = m[..., 0, 0] + stiff, m[..., 0, 1], m[..., 1, 1] + stiff
            inverse = np.empty_like(m)
            determinant = p * r - q * q
            inverse[..., 0, 0], inverse[..., 1, 1] = r / determinant, p / determinant
            inverse[..., 0, 1] = inverse[..., 1, 0] = -q / determinant
            gain[:, free] = basis @ inverse @ across
            through = here @ gain[:, free]
            handed_A = here - through @ here
            handed_b = b[:, free] - (through @ b[:, free][..., None])[..., 0]
            for k, joint in enumerate(free):
                A[:, parents[joint]] += handed_A[:, k]
                b[:, parents[joint]] += handed_b[:, k]
        moved = np.zeros_like(x)
        for level in _LEVELS:
            free = level[~fixed[level]]
            if not len(free):
                continue
            before = moved[:, parents[free]]
            push = b[:, free] - (A[:, free] @ before[..., None])[..., 0]
            turn = (gain[:, free] @ push[..., None])[..., 0]
            moved[:, free] = before + turn
            safe = np.maximum(lengths[free, None], 1e-6)
            direction[:, free] = normalize(direction[:, free] + turn / safe)
        place()
    return x
