"""Live lifting: nothing from the future, rigid limbs, filters and worlds by their definitions, accuracy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gentg_blender.core.contract import EstimateSettings
from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_PARENTS, MAIN_JOINTS, NUM_JOINTS
from inference_backend.keypoints.layouts import present
from inference_backend.lifting.lifter import Lifter
from inference_backend.lifting.weights import Loaded
from inference_backend.live.body import BodySoFar
from inference_backend.live.ground import GroundSoFar
from inference_backend.live.lifter import LiveLifter, LivePose
from inference_backend.live.one_euro import OneEuro
from inference_backend.networks.tgt import TGT, TGTConfig
from inference_backend.solve.world import world_rotation

K = np.array([[800.0, 0, 480], [0, 800, 270], [0, 0, 1]])
MOTION = Path(__file__).resolve().parents[3] / "shared" / "data" / "motion" / "cmu_mocap.npz"
ARRAYS = ("xyz_camera", "xyz", "sigma", "contacts", "lengths", "R", "t")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tgt() -> Loaded:
    """A small TGT whose every output moves, without sense."""
    torch.manual_seed(0)
    model = TGT(TGTConfig(d_space=8, space_heads=2, space_layers=1, d_time=32, time_heads=4, time_layers=2))
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(0.0, 0.1)
    return Loaded(model.eval().requires_grad_(False), "1" * 64, {"calibration": [1.2, 0.8]})


def swaying(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (T, 35, 3) of somebody who sways, at uneven times."""
    rng = np.random.default_rng(seed)
    at_rest, sway = rng.normal(size=(NUM_JOINTS, 2)) * [40, 90], rng.normal(size=(NUM_JOINTS, 2)) * 15
    t = np.cumsum(rng.uniform(1 / 40, 1 / 20, frames))
    xy = at_rest + sway * np.sin(4 * t[:, None, None] + np.arange(NUM_JOINTS)[:, None]) + [560, 300]
    confidence = np.broadcast_to(0.8 * present("blazepose33")[:, None], (frames, NUM_JOINTS, 1))
    return np.concatenate([xy, confidence], -1), t


def copy_of(pose: LivePose) -> dict[str, np.ndarray]:
    return {name: getattr(pose, name).copy() for name in ARRAYS}


def test_a_frame_is_bit_identical_whatever_comes_after_it(tgt):
    points, times = swaying(60)
    other, _ = swaying(60, seed=7)
    runs = []
    for later in (points, other):
        lifter = LiveLifter(K, "blazepose33", device="cpu", tgt=tgt)
        poses = [lifter.step(p, t) for p, t in zip(points[:30], times[:30])]
        at_once = [copy_of(p) for p in poses]
        for p, t in zip(later[30:], times[30:]):
            poses.append(lifter.step(p, t))
        runs.append([copy_of(p) for p in poses])
        for now, before in zip(runs[-1], at_once):  # nor is a pose that was handed out changed afterwards
            for name in ARRAYS:
                np.testing.assert_array_equal(now[name], before[name], err_msg=name)
    for one, two in zip(runs[0][:30], runs[1][:30]):
        for name in ARRAYS:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert np.abs(runs[0][40]["xyz_camera"] - runs[1][40]["xyz_camera"]).max() > 1e-3


def test_limbs_are_rigid_and_settle(tgt):
    points, times = swaying(200)
    lifter = LiveLifter(K, "blazepose33", height=1.5, device="cpu", tgt=tgt)
    poses = [lifter.step(p, t) for p, t in zip(points, times)]
    parents = np.maximum(JOINT_PARENTS, 0)
    for pose in poses:
        for xyz in (pose.xyz_camera, pose.xyz):
            length = np.linalg.norm(xyz - xyz[parents], axis=-1)
            np.testing.assert_allclose(length[1:], pose.lengths[1:], atol=1e-9)
        np.testing.assert_allclose(pose.xyz @ pose.R.T + pose.t, pose.xyz_camera, atol=1e-9)
    drift = [np.abs(np.diff([p.lengths for p in part], axis=0)).max() for part in (poses[5:50], poses[150:])]
    assert drift[1] < 0.3 * drift[0] and drift[1] < 0.002


def test_an_absence_starts_the_motion_anew(tgt):
    points, times = swaying(40)
    lifter = LiveLifter(K, "blazepose33", device="cpu", tgt=tgt)
    for p, t in zip(points[:20], times[:20]):
        lifter.step(p, t)
    lengths = lifter.body.lengths
    pose = lifter.step(points[25], times[19] + 3.0)
    alone = LiveLifter(K, "blazepose33", device="cpu", tgt=tgt).step(points[25], 0.0)
    np.testing.assert_allclose(pose.sigma / pose.sigma[0], alone.sigma / alone.sigma[0], rtol=1e-5)
    assert np.abs(pose.lengths - alone.lengths).max() > 10 * np.abs(pose.lengths - lengths).min()


def test_fast_cameras_are_thinned_to_what_the_network_knows(tgt):
    points, _ = swaying(40)
    lifter = LiveLifter(K, "blazepose33", device="cpu", tgt=tgt)
    taken = []
    for i in range(40):
        if lifter.is_due(i / 240):
            lifter.step(points[i], i / 240)
            taken.append(i)
    assert taken == list(range(0, 40, 4))


def test_one_euro_is_a_first_order_low_pass_of_slow_things():
    t = np.cumsum(np.random.default_rng(0).uniform(0.001, 0.003, 2000))
    slow = OneEuro(0.2, speed=1e9)
    out = np.array([slow(np.array([[0.0 if i == 0 else 1.0]]), x)[0, 0] for i, x in enumerate(t)])
    np.testing.assert_allclose(out[1:], 1 - np.exp(-(t[1:] - t[0]) / 0.2), atol=0.01)


def test_one_euro_lags_less_behind_fast_things_and_not_at_all_at_zero_seconds():
    t = np.arange(200) / 100

    def lag(speed: float, seconds: float) -> float:
        f = OneEuro(seconds, speed=1.0)
        return float(t[-1] - [f(np.array([[speed * x]]), x)[0, 0] for x in t][-1] / speed)

    assert lag(0.01, 0.1) == pytest.approx(0.1 / 1.01, rel=0.05)
    assert lag(4.0, 0.1) == pytest.approx(0.1 / 5.0, rel=0.05)
    assert lag(4.0, 0.0) == pytest.approx(0.0, abs=1e-12)
    f = OneEuro(0.1, 1.0)
    f(np.zeros((1, 3)), 1.0)
    with pytest.raises(ValueError, match="does not come after"):
        f(np.zeros((1, 3)), 1.0)


def test_body_of_known_joints():
    """Joints of constant limbs, seen exactly: the lengths come back, scaled to the height, in bounded memory."""
    rng = np.random.default_rng(3)
    points, _ = swaying(1)
    true = np.where(JOINT_PARENTS < 0, 0.0, 0.25)
    body = BodySoFar(height=2.0)
    for i in range(1000):
        direction = rng.normal(size=(NUM_JOINTS, 3)) * 0.2 + [0, 1, 0]
        limbs = true[:, None] * direction / np.linalg.norm(direction, axis=-1, keepdims=True)
        joints = np.zeros((NUM_JOINTS, 3))
        for j, p in enumerate(JOINT_PARENTS):
            if p >= 0:
                joints[j] = joints[p] + limbs[j]
        body.add(joints, np.full(NUM_JOINTS, 0.001), np.full((NUM_JOINTS, 3), 0.0006), true, i / 30)
    arms = [JOINT_INDEX[n] for n in ("l_elbow", "r_elbow", "l_wrist", "r_wrist", "l_knee", "r_ankle")]
    np.testing.assert_allclose(body.lengths[arms], 0.25 * body.scale, rtol=0.02)
    assert body.scale > 0 and body._kept <= 256


def test_ground_under_a_tilted_camera():
    """A floor that is known: gravity and planted feet give it back."""
    down = np.array([0.1, 0.9, 0.4])
    down /= np.linalg.norm(down)
    R = world_rotation(down)
    feet_world = np.array([[0.2, 4.0, 0.05], [0.2, 3.8, 0.02], [-0.2, 4.0, 0.05], [-0.2, 3.8, 0.3]])
    t = R @ np.array([0.0, 0.0, -1.4])  # the camera stands 1.4 m above the floor
    ground = GroundSoFar()
    rng = np.random.default_rng(0)
    for _ in range(300):
        noisy = down + 0.02 * rng.normal(size=3)
        ground.add(noisy / np.linalg.norm(noisy), feet_world @ R.T + t, np.array([0.05, 0.02, 0.05, 0.02]),
                   np.array([True, True, True, False]), np.array([0.0, 4.0, 0.95]) @ R.T + t, 1 / 30)  # fmt: skip
    back = ground.to_world(feet_world @ R.T + t)
    np.testing.assert_allclose(back[:, 2], feet_world[:, 2], atol=0.02)
    np.testing.assert_allclose(ground.R, R, atol=0.01)


@pytest.mark.slow
@pytest.mark.skipif(
    not MOTION.is_file(), reason="ACCURACY OF LIVE LIFTING NOT CHECKED: needs ../shared/data/motion"
)
def test_live_is_nearly_as_accurate_as_offline_on_held_out_motion():
    """A person whom the network never saw, detector-like noise, the shipped weights, 17 joints from the pelvis."""
    from inference_backend.evaluation.motion_suite import MotionCase, held_out, motion_cases

    offline = Lifter(EstimateSettings(device="cpu", quality="fast"))
    main = [JOINT_INDEX[n] for n in MAIN_JOINTS]
    errors = []
    for case in motion_cases(held_out(MOTION, ("cmu_07",)), MotionCase(), 3, frames=90, seed=1):
        truth = case.reference.in_camera()
        truth = truth - truth[:, :1]
        live = LiveLifter(case.K, case.track.layout, device="cpu", tgt=offline.tgt)
        poses = np.array(
            [live.step(k, t).xyz_camera for k, t in zip(case.track.keypoints, case.track.timestamps)]
        )
        guesses = (poses - poses[:, :1], offline.lift(case.track, case.K).tgt.joints)
        errors.append([np.linalg.norm(g - truth, axis=-1)[24:, main].mean() for g in guesses])
    causal, both_ways = np.mean(errors, axis=0)
    print(f"MPJPE live {1000 * causal:.1f} mm, offline {1000 * both_ways:.1f} mm")
    # 51.4 against 44.3 mm when this was written, with weights trained without a causal mask; 60.7 against 58.6 mm
    # over all held-out people (docs/live.md): walking, as here, gains most from seeing what comes next.
    assert causal < 1.25 * both_ways
