"""TGT on small random weights: what its outputs may depend on, and what they must not."""

from collections import deque

import pytest
import torch

from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_MIRROR, JOINT_PARENTS, LIMBS, NUM_JOINTS
from inference_backend.networks.blocks import FARTHEST, NUM_TOKENS, rotary_table, rotate, token_hops
from inference_backend.networks.normalise import Normalised, normalise
from inference_backend.networks.tgt import FAMILIES, TGT, TGTConfig, TGTOutput

SIZES = dict(d_space=8, space_heads=2, space_layers=1, out_layers=1, d_time=32, time_heads=4, time_layers=2)
PER_FRAME = ("joints", "directions", "scale", "root", "contacts", "gravity", "features")


pytestmark = pytest.mark.usefixtures("one_thread")


def network(**changes) -> TGT:
    """A small TGT with weights large enough that every input can be felt."""
    torch.manual_seed(1)
    model = TGT(TGTConfig(**SIZES, **changes)).eval().requires_grad_(False)
    for p in model.parameters():
        if p.ndim > 1:
            p.normal_(0.0, 0.25)
    return model


def clip(
    frames: int, batch: int = 2, rate: float = 30.0, seed: int = 0
) -> tuple[Normalised, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    points = 0.2 * torch.randn(batch, frames, NUM_JOINTS, 2, generator=g)
    confidence = 0.2 + 0.8 * torch.rand(batch, frames, NUM_JOINTS, generator=g)
    times = (torch.arange(frames) / rate).expand(batch, -1)
    return normalise(points, confidence, times), times, torch.zeros(batch, dtype=torch.long)


def difference(a: TGTOutput, b: TGTOutput, names=PER_FRAME, frames=slice(None)) -> float:
    return max(float((getattr(a, n)[:, frames] - getattr(b, n)[:, frames]).abs().max()) for n in names)


def test_graph_distances_are_those_of_a_breadth_first_search():
    near: dict[int, set[int]] = {i: set() for i in range(NUM_TOKENS)}
    edges = [(j, int(p)) for j, p in enumerate(JOINT_PARENTS) if p >= 0]
    for k, ends in enumerate(LIMBS):
        edges += [(NUM_JOINTS + k, JOINT_INDEX[e]) for e in ends]
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    hops = token_hops()
    for start in range(NUM_TOKENS):
        found, queue = {start: 0}, deque([start])
        while queue:
            here = queue.popleft()
            for other in near[here] - found.keys():
                found[other] = found[here] + 1
                queue.append(other)
        assert hops[start].tolist() == [min(found[i], FARTHEST) for i in range(NUM_TOKENS)]


def test_rotary_scores_depend_on_time_differences_only():
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 1, 1, 16, generator=g), torch.randn(1, 1, 1, 16, generator=g)

    def score(a: float, b: float) -> float:
        one, other = rotary_table(torch.tensor([[a]]), 16), rotary_table(torch.tensor([[b]]), 16)
        return float((rotate(q, *one) * rotate(k, *other)).sum())

    assert score(0.3, 0.1) == pytest.approx(score(2.3, 2.1), abs=1e-3)
    assert abs(score(0.3, 0.1) - score(0.3, 0.25)) > 0.1


@pytest.mark.parametrize("frames", [1, 2, 3, 65])
def test_every_length_gives_a_sound_answer(frames):
    out = network()(*clip(frames))
    shapes = {
        "joints": (35, 3),
        "directions": (35, 3),
        "scale": (35, 2),
        "root": (3,),
        "contacts": (4,),
        "gravity": (3,),
    }
    for name, shape in shapes.items():
        value = getattr(out, name)
        assert value.shape == (2, frames, *shape) and torch.isfinite(value).all()
    assert (out.joints[:, :, 0] == 0).all()
    torch.testing.assert_close(out.directions.norm(dim=-1), torch.ones(2, frames, NUM_JOINTS))
    torch.testing.assert_close(out.gravity.norm(dim=-1), torch.ones(2, frames))
    assert (out.scale > 0).all() and (out.root[..., 2] > 0).all()


def test_clips_of_a_batch_do_not_see_each_other():
    model, (x, times, family) = network(), clip(9)
    both = model(x, times, family)
    for i in range(2):
        alone = model(
            Normalised(*(v[i : i + 1] for v in vars(x).values())), times[i : i + 1], family[i : i + 1]
        )
        for name in (*PER_FRAME, "lengths"):
            torch.testing.assert_close(
                getattr(both, name)[i : i + 1], getattr(alone, name), atol=1e-5, rtol=1e-5
            )


def test_lengths_are_the_same_left_and_right_and_none_for_the_pelvis():
    lengths = network()(*clip(7)).lengths
    assert torch.equal(lengths, lengths[:, JOINT_MIRROR])
    assert (lengths[:, 0] == 0).all() and (lengths[:, 1:] > 0).all()
    assert lengths[:, 1:].std() > 0.01


def test_causal_outputs_do_not_change_with_later_frames():
    model, (x, times, family) = network(), clip(20)
    other = clip(20, seed=5)[0]
    late = Normalised(
        *(torch.cat([a[:, :12], b[:, 12:]], 1) for a, b in zip(vars(x).values(), vars(other).values()))
    )
    early = slice(0, 12)
    live = [model(v, times, family, causal=True) for v in (x, late)]
    assert difference(*live, frames=early) < 1e-6
    assert difference(*live, frames=slice(12, 20)) > 0.01
    assert difference(model(x, times, family), model(late, times, family), frames=early) > 0.01


def test_absent_joints_coordinates_do_not_matter_but_their_absence_does():
    model, (x, times, family) = network(), clip(6)
    gone = [JOINT_INDEX[n] for n in ("l_wrist", "r_knee", "nose")]
    x.confidence[:, :, gone] = 0.0
    before = model(x, times, family)
    x.points[:, :, gone] = 7.0
    x.velocity[:, :, gone] = -3.0
    assert difference(before, model(x, times, family)) == 0.0
    x.confidence[:, :, gone] = 0.5
    assert difference(before, model(x, times, family)) > 0.01


def test_confidence_is_felt():
    model, (x, times, family) = network(), clip(6)
    before = model(x, times, family)
    x.confidence *= 0.5
    assert difference(before, model(x, times, family)) > 0.01


def test_the_clock_may_start_anywhere_but_its_pace_matters():
    model, (x, times, family) = network(), clip(30)
    before = model(x, times, family)
    assert difference(before, model(x, times + 2.5, family)) < 2e-4
    assert difference(before, model(x, times * 2, family)) > 0.01


# ----------------------------------------------------------------- switches of the ablation
def test_limb_tokens_off_leaves_the_input_limbs_unused():
    for on in (True, False):
        model, args = network(limb_tokens=on), clip(5)
        before = model(*args)
        model.limb_in.weight.mul_(3.0)
        model.limb_in.bias.add_(1.0)
        assert (difference(before, model(*args)) > 0.01) == on


def test_graph_bias_off_has_no_bias():
    with_bias, without = network(), network(graph_bias=False)
    assert any("hop_bias" in n for n in with_bias.state_dict())
    assert not any("hop_bias" in n or "pair_bias" in n for n in without.state_dict())
    args = clip(5)
    before = with_bias(*args)
    for block in (*with_bias.space, *with_bias.out):
        block.attention.hop_bias.mul_(-4.0)
    assert difference(before, with_bias(*args)) > 1e-3


def test_temporal_off_answers_frame_by_frame():
    for on in (True, False):
        model, (x, times, family) = network(temporal=on), clip(10)
        alone = model(Normalised(*(v[:, 4:5] for v in vars(x).values())), times[:, 4:5], family)
        whole = model(x, times, family)
        gap = max(float((getattr(whole, n)[:, 4] - getattr(alone, n)[:, 0]).abs().max()) for n in PER_FRAME)
        assert (gap > 0.01) == on, gap


def test_rotary_off_knows_no_order_in_time():
    for on in (True, False):
        model, (x, times, family) = network(rotary=on), clip(10)
        assert (difference(model(x, times, family), model(x, times * 3, family)) > 0.01) == on


def test_detector_embedding_off_does_not_know_the_detector():
    for on in (True, False):
        model, (x, times, family) = network(detector_embedding=on), clip(5)
        unknown = torch.full_like(family, len(FAMILIES))
        assert (difference(model(x, times, family), model(x, times, unknown)) > 0.01) == on


def test_fk_output_makes_rigid_bodies_of_the_predicted_lengths():
    """Edges are as long as the network says, in the direction it says, all along the tree."""
    for on in (True, False):
        out = network(fk_output=on)(*clip(6))
        edges = out.joints[:, :, 1:] - out.joints[:, :, JOINT_PARENTS[1:]]
        wrong = (edges - out.directions[:, :, 1:] * out.lengths[:, None, 1:, None]).norm(dim=-1).max()
        assert (float(wrong) < 1e-5) == on
        assert not out.joints[:, :, 0].any()


def test_configurations_of_older_weights_are_still_understood():
    """Files from before a switch existed lack it: its default is what they were trained with."""
    old = {k: v for k, v in vars(TGTConfig()).items() if k not in ("ray_normalisation", "fk_output")}
    assert TGTConfig(**old) == TGTConfig()


def test_state_names_stay_those_of_trained_weights():
    """Shipped weights and checkpoints hang on these names."""
    names = {n.split(".")[0] for n in network().state_dict()}
    assert names == {
        "token_embedding", "absent_embedding", "mean_lengths", "point_in", "limb_in", "space", "gather",
        "condition_in", "family_embedding", "time", "time_norm", "spread", "out", "out_norm", "joint_head",
        "global_joint_head", "root_head", "contact_head", "gravity_head", "length_head",
    }  # fmt: skip
