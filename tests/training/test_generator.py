"""Synthetic films: bodies, cameras and projections that agree, and noise of the measured size."""

import numpy as np
import pytest
import torch

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINT_MIRROR, JOINT_PARENTS, JOINTS
from inference_backend.networks.blocks import joints_from_edges
from inference_backend.networks.tgt import BLAZEPOSE, FAMILIES
from inference_backend.training import bodies, noise
from inference_backend.training.config import GeneratorConfig
from inference_backend.training.generator import Batch, Generator, _mix_limbs
from inference_backend.training.motion import BODY_HEIGHT

CPU = torch.device("cpu")
CLEAN = dict(noise=0.0, focal_error=0.0)


def draw(clips, size: int = 32, seed: int = 0, family: str | None = None, **settings) -> Batch:
    config = GeneratorConfig(**dict(frames=24) | settings)
    rows = None if family is None else torch.full((size,), FAMILIES.index(family))
    return Generator(clips, config, CPU, seed).batch(size, rows)


def test_clean_points_are_the_projected_truth(clips):
    batch = draw(clips, **CLEAN)
    there = batch.confidence > 0
    exact = batch.xyz[..., :2] / batch.xyz[..., 2:]
    torch.testing.assert_close(batch.points[there], exact[there], atol=1e-6, rtol=1e-6)
    assert there.any() and (batch.points[~there] == 0).all()
    assert batch.xyz[..., 2].min() > 0.3  # nobody walks through the lens


def test_a_wrong_focal_length_scales_a_clips_whole_image(clips):
    batch = draw(clips, noise=0.0, focal_error=1.0, focal_error_spread=0.2)
    there = batch.confidence > 0
    ratio = batch.points / (batch.xyz[..., :2] / batch.xyz[..., 2:])
    factors = []
    for clip, mask in zip(ratio, there):
        values = clip[mask]
        factors.append(values.median())
        torch.testing.assert_close(values, values.median().expand_as(values), atol=1e-3, rtol=1e-3)
    assert torch.stack(factors).log().std() == pytest.approx(0.2, rel=0.4)


def test_every_body_has_the_standard_height_and_constant_symmetric_limbs(clips):
    batch = draw(clips, body_spread=0.1)
    stack = ("l_knee", "l_ankle", "spine", "chest", "neck", "head", "head_top")
    height = sum(batch.lengths[:, J[n]] for n in stack) + 0.072  # metres of sole under the ankle
    torch.testing.assert_close(height, torch.full_like(height, BODY_HEIGHT))
    for j, p in enumerate(JOINT_PARENTS):
        if p >= 0:
            edge = (batch.xyz[:, :, j] - batch.xyz[:, :, p]).norm(dim=-1)  # (B, T)
            torch.testing.assert_close(edge, batch.lengths[:, j, None].expand_as(edge), atol=2e-5, rtol=0)
    assert torch.equal(batch.lengths, batch.lengths[:, JOINT_MIRROR])
    assert 0.03 < batch.lengths[:, J["l_elbow"]].log().std() < 0.3  # people differ


def test_edges_and_joints_are_inverse():
    x = torch.randn(3, 35, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(joints_from_edges(bodies.edges_of(x)), x - x[:, :1], atol=1e-5, rtol=0)


def test_gravity_points_down_and_contacts_are_low_and_slow(clips):
    batch = draw(clips, size=64, panning=0.0, tilted=0.0, bent=0.0, **CLEAN)
    torch.testing.assert_close(batch.gravity.norm(dim=-1), torch.ones(64, 24))
    fall = torch.einsum(
        "btc,btc->bt", batch.gravity, batch.xyz[:, :, J["l_ankle"]] - batch.xyz[:, :, J["head"]]
    )
    assert (fall > 1.0).all()  # upright people: the ankle is a good metre below the head
    feet = batch.xyz[:, :, [J[n] for n in ("l_heel", "l_foot_index", "r_heel", "r_foot_index")]]
    step = torch.diff(batch.times, dim=1)[:, :1, None]
    speed = (feet[:, 2:] - feet[:, :-2]).norm(dim=-1) / (2 * step)
    planted = batch.contacts[:, 1:-1] > 0
    assert 0.01 < planted.float().mean() < 0.9
    assert speed[planted].max() < 0.2 + 1e-3
    height = -torch.einsum("btc,btfc->btf", batch.gravity, feet)
    above = height - height.amin(dim=1, keepdim=True)
    assert above[:, 1:-1][planted].max() < 0.06 + 1e-3


def test_a_panning_camera_turns_gravity_with_the_world(clips):
    """A pan is about the camera's own axis, so the truth stays rigid and gravity stays down."""
    batch = draw(clips, panning=1.0, **CLEAN)
    fall = torch.einsum(
        "btc,btc->bt", batch.gravity, batch.xyz[:, :, J["l_ankle"]] - batch.xyz[:, :, J["head"]]
    )
    assert (fall > 1.0).all()
    assert (batch.gravity[:, 0] - batch.gravity[:, -1]).norm(dim=-1).max() > 1e-4


def raised(batch: Batch) -> torch.Tensor:
    """(B,) height of the left wrist above the right one, metres."""
    up = -batch.gravity
    return torch.einsum(
        "btc,btc->bt", up, batch.xyz[:, :, J["l_wrist"]] - batch.xyz[:, :, J["r_wrist"]]
    ).mean(1)


def test_mirroring_exchanges_the_sides(clips):
    waving = []
    for clip in clips:
        x = clip.xyz.copy()  # everybody's left arm is up
        arm = [J[n] for n in ("l_elbow", "l_wrist", "l_index", "l_pinky", "l_thumb")]
        x[:, arm] = x[:, [J["l_shoulder"]]] + np.array(
            [[0, 0, 0.28], [0, 0, 0.53], [0.03, 0, 0.6], [0, 0, 0.6], [0, 0.05, 0.57]]
        )
        waving.append(type(clip)(clip.clip_id, clip.subject, x.astype(np.float32)))
    plain = dict(limb_mixing=0.0, **CLEAN)
    assert (raised(draw(waving, mirror=0.0, **plain)) > 0.3).all()
    assert (raised(draw(waving, mirror=1.0, **plain)) < -0.3).all()
    share = float((raised(draw(waving, size=200, frames=4, mirror=0.5, **plain)) > 0).float().mean())
    assert share == pytest.approx(0.5, abs=0.11)


def test_limb_mixing_puts_one_motions_trunk_rigidly_on_anothers_legs(clips):
    legs, trunk = (torch.as_tensor(clips[k].xyz[None, :20]) for k in (0, 3))
    mixed = _mix_limbs(legs, trunk)
    lower = [
        J[n] for n in JOINTS if any(k in n for k in ("pelvis", "hip", "knee", "ankle", "heel", "foot", "toe"))
    ]
    upper = [k for k in range(len(JOINTS)) if k not in lower]
    assert torch.equal(mixed[:, :, lower], legs[:, :, lower])
    body = [J["pelvis"], *upper]
    torch.testing.assert_close(
        torch.cdist(mixed[:, :, body], mixed[:, :, body]),
        torch.cdist(trunk[:, :, body], trunk[:, :, body]),
        atol=1e-3,
        rtol=0,
    )
    assert (mixed - legs)[:, :, upper].norm(dim=-1).max() > 0.05

    def handed(x):  # left stays left: the triple product of left, ahead and up keeps its sign
        up, side = (
            x[:, :, J["neck"]] - x[:, :, J["pelvis"]],
            x[:, :, J["l_shoulder"]] - x[:, :, J["r_shoulder"]],
        )
        return (torch.cross(side, up, dim=-1) * (x[:, :, J["nose"]] - x[:, :, J["head"]])).sum(-1) > 0

    assert handed(trunk).all() and handed(mixed).all()


def test_frame_rates_are_those_asked_for(clips):
    batch = draw(clips, frame_rates=[24.0, 60.0], **CLEAN)
    step = torch.diff(batch.times, dim=1)
    rates = {round(float(1 / s)) for s in step[:, 0]}
    assert rates == {24, 60} and (batch.times[:, 0] == 0).all()
    torch.testing.assert_close(step, step[:, :1].expand_as(step), atol=1e-5, rtol=0)


def test_batches_are_reproducible_and_a_saved_state_goes_on(clips):
    one, two = (Generator(clips, GeneratorConfig(frames=8), CPU, 5) for _ in range(2))
    first = one.batch(4)
    assert torch.equal(first.points, two.batch(4).points)
    state = one.random.get_state()
    want = one.batch(4)
    two.random.set_state(state)
    again = two.batch(4)
    assert all(torch.equal(a, b) for a, b in zip(vars(want).values(), vars(again).values()))
    assert not torch.equal(first.points, want.points)


# ------------------------------------------------------------------------------- detectors
FACE, HANDS, FEET = {"eye", "ear"}, {"index", "pinky", "thumb"}, {"heel", "foot_index", "small_toe"}
ABSENT = {
    "coco17": {"spine", "chest", "head_top"} | HANDS | FEET,
    "halpe26": {"spine", "chest"} | HANDS,
    "wholebody133": {"spine", "chest", "head_top"},
    "blazepose33": {"spine", "chest", "head_top", "small_toe"},
    "h36m17": {"chest", "head"} | FACE | HANDS | FEET,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_joints_that_a_family_cannot_report_are_absent(clips, family):
    batch = draw(clips, family=family, occlusion=0.0, frame_drop=0.0)
    absent = torch.tensor([n.removeprefix("l_").removeprefix("r_") in ABSENT[family] for n in JOINTS])
    assert (batch.confidence[:, :, absent] == 0).all() and (batch.points[:, :, absent] == 0).all()
    assert (batch.confidence[:, :, ~absent] > 0).all() and (batch.confidence <= 1).all()


def test_half_the_clips_wear_the_default_detectors_layout(clips):
    family = draw(clips, size=600, frames=4, **CLEAN).family
    shares = torch.bincount(family, minlength=len(FAMILIES)) / 600
    assert float(shares[BLAZEPOSE]) == pytest.approx(0.5 + 0.5 / len(FAMILIES), abs=0.08)
    assert (shares > 0.05).all()


@pytest.fixture(scope="module")
def detected(clips):
    """2D error in percent of the body height (B, T, 35), its vector, whether hidden, and the batch."""
    batch = draw(
        clips,
        size=160,
        frames=32,
        seed=3,
        family="blazepose33",
        fault_free=0.0,
        occlusion=0.0,
        swap=0.0,
        frame_drop=0.0,
        focal_error=0.0,
        frame_rates=[30.0],
    )
    depth = batch.xyz[..., 2:]
    vector = (batch.points - batch.xyz[..., :2] / depth) * depth
    return 100 * vector.norm(dim=-1) / BODY_HEIGHT, vector, noise.self_occlusion(batch.xyz), batch


# Measured medians of MediaPipe on rendered people, percent of the standing height, where the joint is seen.
MEASURED = {"shoulder": 1.3, "elbow": 1.3, "wrist": 1.1, "hip": 1.2, "knee": 1.5, "ankle": 1.1, "heel": 1.4,
            "foot_index": 1.9, "index": 1.8, "pinky": 1.8}  # fmt: skip


@pytest.mark.parametrize("joint", MEASURED)
def test_the_error_of_seen_joints_is_near_the_measured_one(detected, joint):
    error, _, hidden, _ = detected
    both = [J["l_" + joint], J["r_" + joint]]
    median = float(error[:, :, both][~hidden[:, :, both]].median())
    assert MEASURED[joint] / 2 < median < 2 * MEASURED[joint]


def test_tails_are_heavy_and_hidden_joints_are_worse(detected):
    error, _, hidden, _ = detected
    wrist = [J["l_wrist"], J["r_wrist"]]
    seen, behind = error[:, :, wrist][~hidden[:, :, wrist]], error[:, :, wrist][hidden[:, :, wrist]]
    assert float(seen.quantile(0.99)) > 3 * float(seen.median())  # a Gaussian's distance would have 2.6
    assert len(behind) > 100 and float(behind.median()) > 1.3 * float(seen.median())


def test_the_error_is_slow(detected):
    """Correlation falls to 1/e within the measured 0.1 to 0.4 s, and hardly within one frame."""
    _, vector, _, batch = detected
    moving = vector[:, :, J["l_knee"]] - vector[:, :, J["l_knee"]].mean(1, keepdim=True)

    def correlation(lag: int) -> float:
        a, b = moving[:, :-lag], moving[:, lag:]
        return float((a * b).mean() / moving.square().mean())

    assert correlation(1) > 0.75
    assert correlation(3) > 0.3 and correlation(12) < 0.37


def test_both_hips_err_together_and_knees_do_not(detected):
    """Measured: the slow part of the two hips' errors along the trunk correlates by 0.7, of the knees' by 0.1."""
    _, vector, _, batch = detected
    trunk = torch.nn.functional.normalize(
        (batch.xyz[:, :, J["neck"]] - batch.xyz[:, :, J["pelvis"]])[..., :2], dim=-1
    )

    def correlation(joint: str) -> float:
        along = [(vector[:, :, J[side + joint]] * trunk).sum(-1) for side in ("l_", "r_")]
        left, right = ((a - a.mean(1, keepdim=True)).clamp(-0.1, 0.1).flatten() for a in along)
        return float(torch.corrcoef(torch.stack([left, right]))[0, 1])

    assert correlation("hip") > 0.4
    assert correlation("knee") < 0.3


def test_slow_noise_has_unit_variance_and_its_correlation_time():
    g = torch.Generator().manual_seed(0)
    times = (torch.arange(40) / 30).expand(4000, -1)
    x = noise.slow_noise((), times, torch.full((4000,), 0.2), g)
    assert float(x.var()) == pytest.approx(1.0, abs=0.03)
    for lag in (3, 6, 9):
        want = np.exp(-0.5 * (lag / 30 / 0.2) ** 2)
        assert float((x[:, 15] * x[:, 15 + lag]).mean()) == pytest.approx(want, abs=0.06)


def test_confidence_orders_the_error_but_does_not_flag_what_is_hidden(detected):
    error, _, hidden, batch = detected
    there = batch.confidence > 0
    score, gap = batch.confidence[there], error[there]
    high, low = score > score.quantile(0.8), score < score.quantile(0.1)
    assert float(gap[low].median()) > 1.5 * float(gap[high].median())
    assert float((batch.confidence[hidden & there] > 0.8).float().mean()) > 0.1


def test_occlusion_bursts_take_a_limb_away_or_astray_for_a_while(clips):
    calm = dict(
        family="blazepose33", fault_free=0.0, swap=0.0, frame_drop=0.0, focal_error=0.0, frames=48, size=64
    )
    with_bursts = draw(clips, occlusion=1.0, **calm)
    reportable = noise.joint_mask_table(CPU)[BLAZEPOSE]
    missing = (with_bursts.confidence == 0) & reportable
    assert 0.01 < float(missing.float().mean()) < 0.3
    limbs = {
        J[n]
        for n in JOINTS
        if any(
            k in n
            for k in (
                "elbow",
                "wrist",
                "index",
                "pinky",
                "thumb",
                "hip",
                "knee",
                "ankle",
                "heel",
                "foot",
                "toe",
            )
        )
    }
    assert set(missing.any(0).any(0).nonzero()[:, 0].tolist()) <= limbs
    still = draw(clips, occlusion=0.0, **calm)
    assert not ((still.confidence == 0) & reportable).any()


def test_swaps_exchange_left_and_right(clips):
    """Points of a swapped frame lie nearer to the other side's joints."""
    batch = draw(clips, size=64, frames=48, family="blazepose33", fault_free=0.0, swap=1.0, occlusion=0.0)
    exact = batch.xyz[..., :2] / batch.xyz[..., 2:]
    size = (exact[:, :, J["l_hip"]] - exact[:, :, J["l_ankle"]]).norm(dim=-1)
    apart = (exact[:, :, J["l_wrist"]] - exact[:, :, J["r_wrist"]]).norm(dim=-1) > 0.3 * size
    own = (batch.points - exact).norm(dim=-1)[:, :, J["l_wrist"]]
    other = (batch.points[:, :, J["l_wrist"]] - exact[:, :, J["r_wrist"]]).norm(dim=-1)
    swapped = (other < own) & apart & (batch.confidence[:, :, J["l_wrist"]] > 0)
    assert 0.02 < float(swapped.float().mean()) < 0.4


def test_fault_free_clips_are_exact(clips):
    batch = draw(clips, fault_free=1.0, focal_error=0.0)
    there = batch.confidence > 0
    torch.testing.assert_close(
        batch.points[there], (batch.xyz[..., :2] / batch.xyz[..., 2:])[there], atol=1e-6, rtol=1e-6
    )


def test_self_occlusion_of_made_up_scenes():
    """A hand behind the back is hidden, before the chest it is seen; its own forearm never hides it."""
    x = torch.zeros(1, 2, 35, 3)
    at = {
        "pelvis": (0, 0.5, 4),
        "neck": (0, 0, 4),
        "head": (0, -0.2, 4),
        "head_top": (0, -0.4, 4),
        "l_shoulder": (0.2, 0, 4),
        "r_shoulder": (-0.2, 0, 4),
        "l_elbow": (0.4, 0.25, 4),
        "r_elbow": (-0.4, 0.25, 4),
        "r_wrist": (-0.5, 0.5, 4),
        "l_hip": (0.1, 0.5, 4),
        "r_hip": (-0.1, 0.5, 4),
        "l_knee": (0.1, 0.9, 4),
        "r_knee": (-0.1, 0.9, 4),
        "l_ankle": (0.1, 1.3, 4),
        "r_ankle": (-0.1, 1.3, 4),
    }
    x[..., 2] = 4.0
    x[..., 0] = 2.0  # the others stand aside
    for name, place in at.items():
        x[:, :, J[name]] = torch.tensor(place).float()
    x[0, 0, J["l_wrist"]] = torch.tensor([0.0, 0.25, 4.3])
    x[0, 1, J["l_wrist"]] = torch.tensor([0.0, 0.25, 3.7])
    hidden = noise.self_occlusion(x)[0]
    assert hidden[0, J["l_wrist"]] and not hidden[1, J["l_wrist"]]
    assert not hidden[:, [J["r_wrist"], J["r_knee"], J["neck"], J["l_shoulder"]]].any()


def test_the_images_edge_has_the_scale_of_the_points(clips):
    """A wrong focal length scales both: what a lifter without rays sees stays the same."""
    from dataclasses import replace

    config = GeneratorConfig(frames=8, noise=0.0, focal_error=0.0)
    true = Generator(clips, config, torch.device("cpu"), 3).batch(6)
    wrong = Generator(clips, replace(config, focal_error=1.0), torch.device("cpu"), 3).batch(6)
    torch.testing.assert_close(true.xyz, wrong.xyz)
    factor = wrong.half_width / true.half_width
    assert float((factor - 1).abs().min()) > 1e-3
    torch.testing.assert_close(wrong.points, true.points * factor[:, None, None, None])
    torch.testing.assert_close(wrong.normalised(rays=False).points, true.normalised(rays=False).points)
    gap = (wrong.normalised().size / true.normalised().size - 1).abs()
    assert float(gap.min()) > 1e-4


def test_bent_limbs_keep_their_lengths_and_what_they_hang_on(clips):
    plain = draw(clips, bent=0.0, tilted=0.0, panning=0.0, **CLEAN)
    bent = draw(clips, bent=1.0, bent_spread=0.3, tilted=0.0, panning=0.0, **CLEAN)
    lengths = bodies.edges_of(bent.xyz).norm(dim=-1)
    torch.testing.assert_close(lengths, bent.lengths[:, None].expand_as(lengths), atol=2e-5, rtol=1e-4)

    # Clips are drawn before limbs are bent: the same motion, up to the camera's random numbers.
    def elbow_angle(batch):
        a = torch.nn.functional.normalize(
            batch.xyz[:, :, J["l_wrist"]] - batch.xyz[:, :, J["l_elbow"]], dim=-1
        )
        b = torch.nn.functional.normalize(
            batch.xyz[:, :, J["l_shoulder"]] - batch.xyz[:, :, J["l_elbow"]], dim=-1
        )
        return (a * b).sum(-1)

    torch.testing.assert_close(elbow_angle(plain), elbow_angle(bent), atol=1e-4, rtol=1e-3)

    def inner(batch, a, b):  # an angle across a ball joint, whatever the camera
        e = torch.nn.functional.normalize(bodies.edges_of(batch.xyz), dim=-1)
        return (e[:, :, J[a]] * e[:, :, J[b]]).sum(-1)

    torch.testing.assert_close(
        inner(plain, "l_hip", "spine"), inner(bent, "l_hip", "spine"), atol=1e-4, rtol=1e-3
    )
    turned = (inner(plain, "l_knee", "l_hip") - inner(bent, "l_knee", "l_hip")).abs().amax(1)
    assert 0.25 < float((turned > 1e-3).float().mean()) < 0.75  # half of the ball joints
    assert float(turned.max()) > 0.2
