"""From a stream of 2D keypoints to 3D poses, each from its own and earlier frames only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch

from gentg_blender.core.skeleton import FEET, JOINT_INDEX, JOINT_PARENTS
from inference_backend.lifting.lifter import BRIDGE, FASTEST, pick_device
from inference_backend.lifting.weights import Loaded, load_weights
from inference_backend.networks.normalise import SMOOTHING, Normalised, normalise
from inference_backend.networks.streaming import StreamingTGT
from inference_backend.networks.tgt import FAMILIES
from inference_backend.solve.rigid_fit import ObservedKeypoints, fit_limbs, stretch_limbs
from inference_backend.solve.root_path import place_root

from .body import BodySoFar
from .ground import GroundSoFar
from .one_euro import OneEuro

SMOOTH = 0.05  # seconds of smoothing at rest: half the acceleration error for 1 mm (docs/live.md)
ATTENTION = 1.0  # seconds that TGT looks back; longer gains nothing (docs/live.md)
_REACH = (
    5.0 * SMOOTHING
)  # seconds of keypoints that are kept to normalise the newest: weights beyond are nothing
_LIMB_SPEED = 1.0  # m/s at which the smoothing of a limb is halved
_ROOT_SPEED = 0.5
_SIGMA_FLOOR = 0.01  # metres: no joint counts as more certain
_PLANTED, _LIFTED = 0.6, 0.4  # probabilities at which a foot is taken to have come down, and to have left
_FEET_AT = [JOINT_INDEX[n] for n in FEET]


@dataclass(frozen=True)
class LivePose:
    """One frame of one person, metres."""

    time: float  # seconds
    xyz_camera: np.ndarray  # (35, 3) x right, y down, z forward
    xyz: np.ndarray  # (35, 3) level world, Z up, as the stream knows it by now
    sigma: np.ndarray  # (35,) standard deviation of the joint's distance error
    contacts: np.ndarray  # (4,) bool, planted, core.skeleton.FEET order
    lengths: np.ndarray  # (35,) from each joint to its parent; the pose has exactly these
    R: np.ndarray  # (3, 3) x_cam = R x_world + t
    t: np.ndarray  # (3,)


class LiveLifter:
    """One person's stream. The output of a frame depends on nothing that comes later."""

    def __init__(
        self, K: np.ndarray, layout: str, *, height: float | None = None, smoothing: float = SMOOTH,
        device: str = "auto", tgt: Loaded | None = None,
    ):  # fmt: skip
        """`K` (3, 3) of the pixels given; `height` metres; `smoothing` seconds of what rests (0: none).

        Raises GentgError: bad_weights, bad_request for a device that is not there.
        """
        self.K = np.asarray(K, dtype=np.float64)
        self.device = pick_device(device)
        self.tgt = tgt or load_weights("tgt", self.device)
        self._calibration = np.array(self.tgt.info.get("calibration", [1.0, 1.0]))
        family = FAMILIES.index(layout) if layout in FAMILIES else len(FAMILIES)
        self._network = StreamingTGT(self.tgt.model, family, ATTENTION)
        self._recent: deque[tuple[float, np.ndarray, np.ndarray]] = deque()
        self._limbs, self._path = OneEuro(smoothing, _LIMB_SPEED), OneEuro(smoothing, _ROOT_SPEED)
        self.body, self.ground = BodySoFar(height), GroundSoFar()
        self._planted = np.zeros(len(FEET), bool)

    def is_due(self, time: float) -> bool:
        """Whether a frame at `time` is to be lifted: frames closer than the network knows are passed over."""
        return not self._recent or time - self._recent[-1][0] >= 0.95 / FASTEST

    def step(self, keypoints: np.ndarray, time: float) -> LivePose:
        """The pose at `time` seconds, later than all before, of keypoints (35, 3): x, y pixels and confidence.

        After more than BRIDGE seconds without a step the motion starts again; body and world stay known.
        """
        before = self._recent[-1][0] if self._recent else None
        if before is not None and time - before > BRIDGE:
            self._recent.clear()
            self._network.restart()
            self._limbs.reset()
            self._path.reset()
            self._planted[:] = False
            before = None
        x = self._normalised(keypoints, time)
        out = self._network.step(x, time)
        back = x.rotation[0, 0].T.double().cpu().numpy()  # virtual -> real camera axes

        def real(value: torch.Tensor) -> np.ndarray:
            return value[0, 0].double().cpu().numpy() @ back.T

        scale = out.scale[0, 0].double().cpu().numpy() * self._calibration
        variance = (2.0 * scale[:, [0, 0, 1]] ** 2) @ (back**2).T
        joints, sigma_xyz, sigma = real(out.joints), np.sqrt(variance), np.sqrt(variance.sum(-1))
        self.body.add(joints, sigma, sigma_xyz, out.lengths[0].double().cpu().numpy(), time)
        points = self._rigid(joints, real(out.root), sigma, sigma_xyz, keypoints, time)

        probability = torch.sigmoid(out.contacts[0, 0]).cpu().numpy()
        self._planted = np.where(self._planted, probability > _LIFTED, probability > _PLANTED)
        step = min(time - before, BRIDGE) if before is not None else 1 / 30
        self.ground.add(
            real(out.gravity), points[_FEET_AT], self.body.foot_height, self._planted, points[0], step
        )
        return LivePose(
            time, points, self.ground.to_world(points), sigma * self.body.scale, self._planted.copy(),
            self.body.lengths, self.ground.R, self.ground.t,
        )  # fmt: skip

    def _normalised(self, keypoints: np.ndarray, time: float) -> Normalised:
        """The newest frame (1, 1, ...) as the network sees it."""
        confidence = keypoints[:, 2]
        rays = (keypoints[:, :2] - self.K[:2, 2]) / self.K[[0, 1], [0, 1]]
        rays = np.where(confidence[:, None] > 0, rays, 0.0)
        self._recent.append((time, rays, confidence))
        while time - self._recent[0][0] > _REACH:
            self._recent.popleft()

        def tensor(values: list) -> torch.Tensor:
            return torch.as_tensor(np.array(values)[None], dtype=torch.float32, device=self.device)

        p, c = tensor([r for _, r, _ in self._recent]), tensor([c for _, _, c in self._recent])
        x = normalise(p, c, tensor([t - time for t, _, _ in self._recent]), causal=True)
        return Normalised(*(getattr(x, name)[:, -1:] for name in Normalised.__dataclass_fields__))

    def _rigid(
        self, joints: np.ndarray, root: np.ndarray, sigma: np.ndarray, sigma_xyz: np.ndarray,
        keypoints: np.ndarray, time: float,
    ) -> np.ndarray:  # fmt: skip
        """(35, 3) in the camera: limbs of today's lengths fitted to 3D and image, as offline, then smoothed."""
        lengths, scale = self.body.lengths, self.body.scale
        observed = ObservedKeypoints(keypoints[None], self.K)
        relative = stretch_limbs(joints[None] * scale, lengths)
        sigma = np.maximum(sigma[None] * scale, _SIGMA_FLOOR)
        place, _ = place_root(relative, sigma, root[None] * scale, observed)
        mean = place[:, None] + relative
        information = np.maximum(sigma_xyz[None] * scale, _SIGMA_FLOOR) ** -2
        fitted = fit_limbs(mean, mean, information, lengths, observed)
        place, _ = place_root(fitted - fitted[:, :1], sigma, root[None] * scale, observed)

        parents = np.maximum(JOINT_PARENTS, 0)
        limbs = self._limbs(fitted[0] - fitted[0, parents], time)
        size = np.linalg.norm(limbs, axis=-1, keepdims=True)
        limbs = limbs * (lengths[:, None] / np.maximum(size, 1e-9))
        points = np.empty_like(joints)
        points[0] = self._path(place, time)[0]
        for joint, parent in enumerate(JOINT_PARENTS):
            if parent >= 0:
                points[joint] = points[parent] + limbs[joint]
        return points
