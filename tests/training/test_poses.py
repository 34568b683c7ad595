"""Crouches and raised legs made from standing people: feet that stay, bones that keep their lengths, weight in balance."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINT_PARENTS, NUM_JOINTS
from inference_backend.networks.blocks import joints_from_edges
from inference_backend.training import bodies, poses
from inference_backend.training.config import GeneratorConfig, as_recorded
from inference_backend.training.generator import Generator

FRAMES, PEOPLE = 24, 64


def standing() -> np.ndarray:
    """(35, 3) metres: somebody who stands straight, faces -y, left is +x; written down by hand."""
    x = np.zeros((NUM_JOINTS, 3))

    def put(name, left, up, ahead=0.0):
        x[J[name]] = (left, -ahead, up)

    for name, up in (("pelvis", 0.92), ("spine", 1.08), ("chest", 1.22), ("neck", 1.40), ("head", 1.58)):
        put(name, 0.0, up)
    put("head_top", 0.0, 1.72), put("nose", 0.0, 1.55, 0.13)
    for s, k in (("l", 1), ("r", -1)):
        put(f"{s}_eye", k * 0.03, 1.58, 0.1), put(f"{s}_ear", k * 0.09, 1.58)
        for name, left, up in (("shoulder", 0.17, 1.40), ("elbow", 0.19, 1.13), ("wrist", 0.2, 0.88)):
            put(f"{s}_{name}", k * left, up)
        for n, ahead in (("index", 0.03), ("pinky", -0.03), ("thumb", 0.05)):
            put(f"{s}_{n}", k * 0.2, 0.80, ahead)
        put(f"{s}_hip", k * 0.09, 0.92), put(f"{s}_knee", k * 0.09, 0.50), put(f"{s}_ankle", k * 0.09, 0.08)
        put(f"{s}_heel", k * 0.09, 0.02, -0.05), put(f"{s}_foot_index", k * 0.09, 0.01, 0.2)
        put(f"{s}_small_toe", k * 0.13, 0.01, 0.14)
    return x


def changed(seed: int = 0, pose: np.ndarray | None = None, change=poses.change_stance, **shares):
    """PEOPLE who stand in `pose` -> joints before and after (PEOPLE, FRAMES, 35, 3)."""
    x = torch.as_tensor(standing() if pose is None else pose, dtype=torch.float32)
    edges = x - x[torch.as_tensor(JOINT_PARENTS).clamp(min=0)]
    lengths = edges.norm(dim=-1).expand(PEOPLE, -1)
    direction = torch.nn.functional.normalize(edges, dim=-1).expand(PEOPLE, FRAMES, -1, -1)
    times = torch.arange(FRAMES).expand(PEOPLE, -1) / 30
    g = torch.Generator().manual_seed(seed)
    config = GeneratorConfig(**(shares or {"stances": 1.0, "leans": 1.0}))
    new, shift = change(direction, lengths, times, config, g)
    after = joints_from_edges(new * lengths[:, None, :, None]) + x[0] + shift[:, :, None]
    return x.expand_as(after), after


def movement(before, after, name):
    return (after - before)[:, :, J[name]].norm(dim=-1).amax(1)  # (PEOPLE,)


def test_bones_keep_their_lengths_and_somebody_moves():
    before, after = changed()
    parent = torch.as_tensor(JOINT_PARENTS).clamp(min=0)
    old, new = ((x - x[:, :, parent]).norm(dim=-1) for x in (before, after))
    torch.testing.assert_close(new, old, atol=1e-5, rtol=1e-5)
    assert float(movement(before, after, "neck").median()) > 0.02
    assert torch.isfinite(after).all()


def test_who_crouches_keeps_both_feet_and_who_raises_a_leg_one():
    before, after = changed()
    feet = torch.stack(
        [movement(before, after, f"{s}_{p}") for s in "lr" for p in ("ankle", "heel", "foot_index")]
    )
    left, right = feet[:3].amax(0) < 1e-3, feet[3:].amax(0) < 1e-3
    lowered = (before - after)[:, :, J["pelvis"], 2].amax(1)
    assert bool((left | right).all())  # nobody flies
    crouching = left & right
    assert 0.25 < float(crouching.float().mean()) < 0.75
    assert float(lowered[crouching].max()) > 0.25
    assert float(lowered[~crouching].abs().max()) == 0.0  # who raises a leg stays as tall
    raised = torch.where(left[:, None], after[:, :, J["r_ankle"], 2], after[:, :, J["l_ankle"], 2])
    assert float((raised.amax(1) - 0.08)[~crouching].median()) > 0.05


def test_knees_bend_towards_the_toes():
    before, after = changed()
    for s in "lr":
        hip, knee, ankle, toe = (after[:, :, J[f"{s}_{n}"]] for n in ("hip", "knee", "ankle", "foot_index"))
        line = torch.nn.functional.normalize(ankle - hip, dim=-1)
        aside = (knee - hip) - ((knee - hip) * line).sum(-1, keepdim=True) * line
        ahead = torch.nn.functional.normalize(toe - ankle, dim=-1)
        bent = aside.norm(dim=-1) > 0.03
        assert bent.any()
        assert bool(((aside * ahead).sum(-1)[bent] > 0).all())


def test_a_leg_in_front_is_balanced_by_leaning_back():
    before, after = changed(seed=1)
    ahead = torch.stack([before[:, :, 0, 1] - after[:, :, J[f"{s}_ankle"], 1] for s in "lr"])  # -y is ahead
    moved = torch.stack([movement(before, after, f"{s}_ankle") for s in "lr"]) > 1e-3
    raising = moved[0] ^ moved[1]
    forward = torch.where(moved[0][:, None], ahead[0], ahead[1]).mean(1)[raising]
    back = (after[:, :, J["neck"], 1] - after[:, :, J["pelvis"], 1]).mean(1)[raising]
    assert len(forward) > 10
    assert float(np.corrcoef(forward, back)[0, 1]) > 0.5


def test_who_leans_stands_on_one_foot_with_the_hips_higher_on_the_other_side():
    before, after = changed(change=poses.lean)
    parent = torch.as_tensor(JOINT_PARENTS).clamp(min=0)
    old, new = ((x - x[:, :, parent]).norm(dim=-1) for x in (before, after))
    torch.testing.assert_close(new, old, atol=1e-5, rtol=1e-5)
    feet = [torch.stack([movement(before, after, f"{s}_{p}") for p in ("ankle", "heel", "foot_index")]).amax(0)
            for s in "lr"]  # fmt: skip
    left = feet[0] < 1e-3
    assert bool((left | (feet[1] < 1e-3)).all()) and 0.25 < float(left.float().mean()) < 0.75
    across = after[:, :, J["l_hip"]] - after[:, :, J["r_hip"]]
    # The free leg is on the left of those who stand on the right.
    side = torch.where(left, -1.0, 1.0)[:, None]
    higher = torch.rad2deg(torch.asin(side * across[..., 2] / across.norm(dim=-1)))  # (PEOPLE, FRAMES)
    bent_over = torch.rad2deg(torch.acos((after[:, :, J["neck"]] - after[:, :, J["pelvis"]])[..., 2] / 0.48))
    # cam01 of pose2sim_single has 30 degrees of the hips and 42 of the trunk.
    assert float((higher > 5).float().mean()) > 0.5 and float(higher.max()) > 25
    assert float(bent_over.median()) > 10 and float(bent_over.amax(1).quantile(0.9)) > 40
    free = torch.where(left[:, None], after[:, :, J["r_ankle"], 2], after[:, :, J["l_ankle"], 2])
    assert float((free.amax(1) - 0.08).median()) > 0.05 and float(free.min()) > 0.0


def weight_aside(x: torch.Tensor, ankle: torch.Tensor) -> torch.Tensor:
    """How far (PEOPLE, FRAMES) the centre of mass lies beside a point, level, metres."""
    return (torch.einsum("btjc,j->btc", x, bodies.WEIGHT) - ankle)[..., :2].norm(dim=-1)


def test_the_weight_is_that_of_a_whole_body_and_lies_where_anatomy_says():
    assert float(bodies.WEIGHT.sum()) == pytest.approx(1.0, abs=0.01)
    x = torch.as_tensor(standing(), dtype=torch.float32)
    height = float(torch.einsum("jc,j->c", x, bodies.WEIGHT)[2]) / 1.72
    assert 0.54 < height < 0.58  # measured on people: 0.55 to 0.57 of the height


def test_who_leans_or_bends_has_the_weight_over_the_foot_that_carries():
    before, after = changed(change=poses.lean)
    left = movement(before, after, "l_ankle") < 1e-3
    foot = torch.where(left[:, None, None], after[:, :, J["l_ankle"]], after[:, :, J["r_ankle"]])
    middle = (before[:, :, J["l_ankle"]] + before[:, :, J["r_ankle"]]) / 2
    assert float(weight_aside(before, middle).max()) < 0.02
    # Not to the millimetre: bodies come back slowly, and after turning by an angle, not by a distance.
    assert float(weight_aside(after, foot).quantile(0.9)) < 0.06
    before, after = changed(change=poses.bend, bent=1.0, bent_spread=0.3)
    feet = (after[:, :, J["l_ankle"]] + after[:, :, J["r_ankle"]]) / 2
    assert float(weight_aside(after, feet).quantile(0.9)) < 0.06


@pytest.mark.parametrize("change", [poses.change_stance, poses.lean])
def test_lying_people_stay_as_they_are(change):
    lying = standing() @ Rotation.from_euler("x", 90, degrees=True).as_matrix().T
    before, after = changed(pose=lying, change=change)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize(("change", "name"), [(poses.change_stance, "stances"), (poses.lean, "leans")])
def test_the_share_of_changed_clips(share, change, name):
    clips = [changed(seed, change=change, **{name: share}) for seed in range(4)]
    moved = torch.stack([movement(*clip, "neck") > 1e-4 for clip in clips])
    assert abs(float(moved.float().mean()) - share) < 0.1


def test_contacts_are_read_from_the_new_stance_and_tests_are_on_recorded_motion(clips):
    config = GeneratorConfig(frames=24, stances=1.0, leans=0.5, tilted=0.0, panning=0.0)
    raised = Generator(clips, config, torch.device("cpu"), 3).batch(32)
    plain = Generator(clips, as_recorded(config), torch.device("cpu"), 3).batch(32)
    assert as_recorded(config).stances == 0.0
    assert not torch.equal(raised.contacts, plain.contacts)
