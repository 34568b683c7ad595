"""Frame by frame equals the whole clip at once under a causal, banded mask."""

import pytest
import torch

from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.networks import blocks
from inference_backend.networks.normalise import Normalised, normalise
from inference_backend.networks.streaming import StreamingTGT
from inference_backend.networks.tgt import TGT, TGTConfig

SIZES = dict(d_space=8, space_heads=2, space_layers=1, out_layers=1, d_time=32, time_heads=4, time_layers=2)
PER_FRAME = ("joints", "directions", "scale", "root", "contacts", "gravity", "features")


def network(**changes) -> TGT:
    torch.manual_seed(1)
    model = TGT(TGTConfig(**SIZES, **changes)).eval().requires_grad_(False)
    for p in model.parameters():
        if p.ndim > 1:
            p.normal_(0.0, 0.25)
    return model


def clip(frames: int, seed: int = 0, start: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    points = 0.2 * torch.randn(1, frames, NUM_JOINTS, 2, generator=g)
    confidence = (torch.rand(1, frames, NUM_JOINTS, generator=g) - 0.1).clamp(min=0.0)
    times = start + torch.cumsum(1 / 60 + torch.rand(1, frames, generator=g) / 20, 1)
    return points, confidence, times


def frame(x: Normalised, i: int) -> Normalised:
    return Normalised(*(getattr(x, n)[:, i : i + 1] for n in Normalised.__dataclass_fields__))


def test_causal_normalisation_ignores_what_comes_later():
    p, c, t = clip(40)
    whole = normalise(p, c, t, causal=True)
    other, uncertain, _ = clip(40, seed=9)
    late = torch.arange(40) >= 25
    changed = normalise(
        torch.where(late[:, None, None], other, p), torch.where(late[:, None], uncertain, c), t, causal=True
    )
    for name in Normalised.__dataclass_fields__:
        a, b = getattr(whole, name), getattr(changed, name)
        assert torch.equal(a[:, :25], b[:, :25]), name
        assert not torch.equal(a[:, 25:], b[:, 25:]), name
    # ... down to a single frame, which has no frame after it
    alone = normalise(p[:, :1], c[:, :1], t[:, :1], causal=True)
    for name in Normalised.__dataclass_fields__:
        torch.testing.assert_close(getattr(alone, name), getattr(whole, name)[:, :1])


def test_causal_normalisation_has_the_same_statistics():
    """Of somebody who stands still, past and whole kernel see the same; velocity is that of uniform motion."""
    p, c, _ = clip(1)
    p, c = p.expand(-1, 50, -1, -1), c.expand(-1, 50, -1)
    t = torch.arange(50)[None] / 30
    still, both = normalise(p, c, t, causal=True), normalise(p, c, t)
    for name in Normalised.__dataclass_fields__:
        torch.testing.assert_close(getattr(still, name), getattr(both, name), atol=1e-5, rtol=1e-5)
    hand = p.clone()
    hand[:, :, 15, 0] += 0.001 * torch.arange(50)
    live, both = normalise(hand, c, t, causal=True), normalise(hand, c, t)
    torch.testing.assert_close(live.velocity[:, 25, 15, 0], both.velocity[:, 25, 15, 0], rtol=0.05, atol=0)
    assert float(both.velocity[:, 25, 15, 0]) > 0.01


@pytest.mark.parametrize(
    "changes", [{}, {"rotary": False}, {"temporal": False}, {"detector_embedding": False}]
)
def test_frames_one_by_one_equal_the_clip_at_once(changes, monkeypatch):
    model, (p, c, t) = network(**changes), clip(50)
    x, seconds = normalise(p, c, t, causal=True), 0.6

    attend = blocks.TimeAttention.attend

    def banded(self, q, k, v, mask=None):  # the clip at once sees as far back as the stream
        ago = t[:, None, :, None] - t[:, None, None, :]
        return attend(self, q, k, v, mask if mask is None else mask & (ago <= seconds + 1e-9))

    monkeypatch.setattr(blocks.TimeAttention, "attend", banded)
    whole = model(x, t, torch.tensor([3]), causal=True)
    monkeypatch.setattr(blocks.TimeAttention, "attend", attend)
    stream = StreamingTGT(model, 3, seconds)
    steps = [stream.step(frame(x, i), float(t[0, i])) for i in range(50)]
    for name in PER_FRAME:
        got = torch.cat([getattr(s, name) for s in steps], 1)
        torch.testing.assert_close(got, getattr(whole, name), atol=2e-4, rtol=2e-4)
    torch.testing.assert_close(steps[-1].lengths, whole.lengths, atol=1e-5, rtol=1e-5)


def test_a_stream_that_runs_for_a_day_is_as_exact_as_a_new_one():
    model, (p, c, t) = network(), clip(20)
    x, results = normalise(p, c, t, causal=True), []
    for start in (0.0, 86400.0):
        stream = StreamingTGT(model, 3, 1.0)
        results.append([stream.step(frame(x, i), start + float(t[0, i])) for i in range(20)][-1])
    torch.testing.assert_close(results[0].joints, results[1].joints, atol=1e-5, rtol=1e-5)


def test_restart_forgets_frames_but_not_the_body():
    model, (p, c, t) = network(), clip(30)
    x = normalise(p, c, t, causal=True)
    one, other = StreamingTGT(model, 3, 1.0), StreamingTGT(model, 3, 1.0)
    for i in range(20):
        one.step(frame(x, i), float(t[0, i]))
    one.restart()
    a, b = one.step(frame(x, 20), 100.0), other.step(frame(x, 20), 0.0)
    torch.testing.assert_close(a.joints, b.joints, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(a.lengths, b.lengths)
    with pytest.raises(ValueError, match="does not come after"):
        one.step(frame(x, 21), 100.0)
