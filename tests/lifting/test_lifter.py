"""The lifter with small random networks: lengths, rates, gaps, cameras, mirrors, runtimes."""

import numpy as np
import pytest
import torch

from gentg_blender.core.contract import EstimateSettings, GentgError
from gentg_blender.core.skeleton import JOINT_MIRROR, NUM_JOINTS
from inference_backend.keypoints.layouts import present
from inference_backend.keypoints.track import KeypointTrack
from inference_backend.lifting.correct import CorrectorSettings
from inference_backend.lifting.lifter import Lifter, LiftResult, _Batch
from inference_backend.lifting.weights import Loaded
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGT, TGTConfig, TGTOutput

K = np.array([[800.0, 0, 480], [0, 800, 270], [0, 0, 1]])
FIELDS = ("joints", "root", "sigma", "sigma_xyz", "edge_lengths", "contacts", "gravity")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def networks() -> dict[str, Loaded]:
    """TGT and GPC whose every output moves, without sense."""
    torch.manual_seed(0)
    tgt = TGT(TGTConfig(d_space=8, space_heads=2, space_layers=1, d_time=32, time_heads=4, time_layers=1))
    gpc = GPC(GPCConfig(d_time=32, time_heads=4, time_layers=1, d_tgt=32, schedule="linear", levels=500))
    with torch.no_grad():
        for p in (*tgt.parameters(), *gpc.parameters()):
            if p.ndim > 1:
                p.normal_(0.0, 0.1)
        tgt.gravity_head.weight.mul_(0.02)  # the cameras stand nearly level
    return {
        "tgt": Loaded(tgt.eval().requires_grad_(False), "1" * 64, {"calibration": [1.2, 0.8]}),
        "gpc": Loaded(
            gpc.eval().requires_grad_(False), "2" * 64, {"corrector": {"steps": 2, "threshold": 0.06}}
        ),
    }


def track(frames: int, rate: float = 30.0, seen: np.ndarray | None = None, seed: int = 0) -> KeypointTrack:
    """Somebody who sways before the camera, as BlazePose would report it."""
    rng = np.random.default_rng(seed)
    at_rest, sway = rng.normal(size=(NUM_JOINTS, 2)) * [40, 90], rng.normal(size=(NUM_JOINTS, 2)) * 15
    t = np.arange(frames) / rate
    xy = at_rest + sway * np.sin(4 * t[:, None, None] + np.arange(NUM_JOINTS)[:, None]) + [560, 300]
    confidence = np.clip(0.8 + 0.1 * rng.normal(size=NUM_JOINTS), 0.3, 1.0) * present("blazepose33")
    keypoints = np.concatenate([xy, np.broadcast_to(confidence[:, None], (frames, NUM_JOINTS, 1))], -1)
    seen = np.ones(frames, bool) if seen is None else seen
    return KeypointTrack(keypoints, "blazepose33", t, np.arange(frames), seen, (960, 540), rate)


def lift(
    networks, clip: KeypointTrack, camera: np.ndarray = K, corrector=None, graphs=None, **settings
) -> LiftResult:
    lifter = Lifter(
        EstimateSettings(device="cpu", **({"correction": 1.0} | settings)),
        **networks,
        corrector=corrector,
        graphs=graphs,
    )
    return lifter.lift(clip, camera)


def assert_same(a, b, names=FIELDS, atol=1e-5):
    for name in names:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=atol, rtol=0, err_msg=name)


@pytest.mark.parametrize("frames", [1, 2, 23, 24, 65])
@pytest.mark.parametrize("quality", ["fast", "balanced"])
def test_short_clips(networks, frames, quality):
    result = lift(networks, track(frames), quality=quality)
    for lifted in (result.tgt, result.corrected):
        assert len(lifted) == frames  # Lifted itself checks shapes and finiteness
        assert (lifted.sigma > 0).all() and (lifted.root[:, 2] > 0).all() and lifted.edge_lengths[0] == 0
        assert ((lifted.contacts > 0) & (lifted.contacts < 1)).all()
    assert result.weights == {"tgt": "1" * 64, "gpc": "2" * 64}


def test_a_long_clip_through_every_quality(networks):
    clip = track(500)
    results = {q: lift(networks, clip, quality=q) for q in ("fast", "balanced", "best")}
    for result in results.values():
        assert len(result.tgt) == 500
        step = np.linalg.norm(np.diff(result.tgt.joints, axis=0), axis=-1)
        assert step.max() < 8 * np.quantile(step, 0.9)  # no seam between windows
    assert np.abs(results["fast"].tgt.joints - results["balanced"].tgt.joints).max() > 1e-4


def test_progress_reaches_its_total(networks):
    told = []
    lifter = Lifter(EstimateSettings(device="cpu", quality="fast", correction=1.0), **networks)
    lifter.lift(track(600), K, lambda stage, done, total: told.append((stage, done, total)))
    assert told[-1][1] == told[-1][2] and {s for s, _, _ in told} == {"lift"}
    assert [d for _, d, _ in told] == sorted({d for _, d, _ in told})


def test_fast_clips_are_lifted_as_interleaved_slower_ones(networks):
    """At 240 frames a second every fourth frame gives the same pose as a clip of these frames alone."""
    clip = track(480, rate=240.0)
    whole = lift(networks, clip, correction=0.0).tgt
    for phase in (0, 3):
        part = KeypointTrack(
            clip.keypoints[phase::4],
            clip.layout,
            clip.timestamps[phase::4],
            clip.frames[phase::4],
            clip.seen[phase::4],
            clip.image_size,
            60.0,
        )
        alone = lift(networks, part, correction=0.0).tgt
        np.testing.assert_allclose(whole.joints[phase::4], alone.joints, atol=1e-5)
        np.testing.assert_allclose(whole.root[phase::4], alone.root, atol=1e-5)


def test_long_gaps_are_filled_between_their_neighbours(networks):
    seen = np.ones(120, bool)
    seen[:5] = False
    seen[40:70] = False
    clip = track(120, seen=seen)
    clip.keypoints[~seen, :, :2] = 1e6  # what stands there means nothing
    out = lift(networks, clip).tgt
    share = ((np.arange(39, 71) - 39) / 31)[:, None, None]
    np.testing.assert_allclose(
        out.joints[39:71], (1 - share) * out.joints[39] + share * out.joints[70], atol=1e-6
    )
    np.testing.assert_array_equal(out.joints[:5], np.repeat(out.joints[5:6], 5, 0))
    alone = lift(networks, track(120, seen=np.arange(120) >= 70)).tgt  # a gap of a second separates
    np.testing.assert_allclose(out.joints[70:], alone.joints[70:], atol=1e-5)


def test_short_gaps_are_lifted_through(networks):
    seen = np.ones(60, bool)
    seen[30:36] = False
    out = lift(networks, track(60, seen=seen)).tgt
    straight = (
        out.joints[29] + (out.joints[36] - out.joints[29]) * (np.arange(29, 37) - 29)[:, None, None] / 7
    )
    assert np.abs(out.joints[29:37] - straight).max() > 1e-3


def test_nobody_seen_is_an_error(networks):
    with pytest.raises(GentgError) as caught:
        lift(networks, track(10, seen=np.zeros(10, bool)))
    assert caught.value.code == "no_person"


def test_the_same_twice_and_another_seed(networks):
    clip = track(90)
    one, two, other = (lift(networks, clip, seed=s) for s in (3, 3, 4))
    assert_same(one.corrected, two.corrected, atol=0)
    assert one.resampled == two.resampled > 0.1
    assert_same(one.tgt, other.tgt, atol=0)
    assert np.abs(one.corrected.joints - other.corrected.joints).max() > 1e-4


def test_a_mirrored_image_gives_the_mirrored_person(networks):
    clip = track(80)
    camera = K.copy()
    camera[0, 2] = 480.0
    flipped = clip.keypoints[:, JOINT_MIRROR].copy()
    flipped[..., 0] = 2 * camera[0, 2] - flipped[..., 0]
    a = lift(networks, clip, camera, quality="balanced", correction=0.0).tgt
    b = lift(networks, clip.with_keypoints(flipped), camera, quality="balanced", correction=0.0).tgt
    np.testing.assert_allclose(b.joints[:, JOINT_MIRROR] * [-1, 1, 1], a.joints, atol=1e-5)
    np.testing.assert_allclose(b.root * [-1, 1, 1], a.root, atol=1e-4)
    np.testing.assert_allclose(b.sigma[:, JOINT_MIRROR], a.sigma, atol=1e-5)
    np.testing.assert_allclose(b.contacts[:, [2, 3, 0, 1]], a.contacts, atol=1e-5)
    np.testing.assert_allclose(b.gravity * [-1, 1, 1], a.gravity, atol=1e-5)
    once = lift(networks, clip, camera, quality="fast", correction=0.0).tgt
    assert np.abs(once.joints - a.joints).max() > 1e-3  # a single pass has no such symmetry


def test_other_lens_and_image_give_the_same_person(networks):
    clip = track(40)
    other = np.array([[2000.0, 0, 1000], [0, 2000, 900], [0, 0, 1]])
    xy = (clip.keypoints[..., :2] - K[:2, 2]) / 800 * 2000 + other[:2, 2]
    moved = clip.with_keypoints(np.concatenate([xy, clip.keypoints[..., 2:]], -1))
    assert_same(
        lift(networks, clip, correction=0.0).tgt, lift(networks, moved, other, correction=0.0).tgt, atol=1e-4
    )


def test_the_amount_blends_between_tgt_and_the_correction(networks):
    clip = track(70)
    none, half, full = (lift(networks, clip, correction=c) for c in (0.0, 0.5, 1.0))
    assert_same(none.tgt, none.corrected, atol=0)
    assert none.resampled == 0.0
    assert_same(none.tgt, full.tgt, atol=0)
    assert np.abs(full.corrected.joints - full.tgt.joints).max() > 0.01
    np.testing.assert_allclose(
        half.corrected.joints, (half.tgt.joints + full.corrected.joints) / 2, atol=1e-6
    )


def test_sure_joints_are_not_corrected(networks):
    result = lift(networks, track(30), corrector=CorrectorSettings(threshold=1e6))
    assert_same(result.tgt, result.corrected, atol=0)
    assert result.resampled == 0.0


def test_the_diffusion_process_comes_from_the_weights(networks):
    found = Lifter(EstimateSettings(device="cpu"), **networks).corrector
    assert (found.schedule, found.levels, found.steps) == ("linear", 500, 2)


def test_sigma_agrees_with_its_axes_and_the_calibration(networks):
    clip = track(30)
    out = lift(networks, clip, correction=0.0).tgt
    np.testing.assert_allclose(out.sigma, np.linalg.norm(out.sigma_xyz, axis=-1), atol=1e-6)
    plain = networks | {"tgt": Loaded(networks["tgt"].model, "1" * 64, {"calibration": [0.6, 0.4]})}
    np.testing.assert_allclose(lift(plain, clip, correction=0.0).tgt.sigma, out.sigma / 2, rtol=1e-5)


def test_onnx_runtime_agrees_with_torch(networks, tmp_path):
    clip = track(70)
    want = lift(networks, clip)
    got = lift(networks, clip, runtime="onnx", graphs=tmp_path)
    assert_same(want.tgt, got.tgt, atol=1e-4)
    assert_same(want.corrected, got.corrected, atol=1e-4)
    graphs = sorted(p.name for p in tmp_path.iterdir())
    assert graphs == [f"gpc-{'2' * 16}.onnx", f"tgt-{'1' * 16}.onnx"]
    (tmp_path / graphs[0]).write_bytes(b"damaged")
    with pytest.raises(GentgError) as caught:
        lift(networks, clip, runtime="onnx", graphs=tmp_path)
    assert caught.value.code == "bad_weights" and caught.value.file == str(tmp_path / graphs[0])


def test_onnx_without_a_folder_and_missing_devices_are_refused(networks):
    with pytest.raises(GentgError, match="folder"):
        Lifter(EstimateSettings(runtime="onnx"), **networks)
    if not torch.cuda.is_available():
        with pytest.raises(GentgError, match="cuda"):
            Lifter(EstimateSettings(device="cuda"), **networks)


class PlumbLifter(Lifter):
    """Takes joint 1 for a plumb line's end, seen from the image's middle, and that line for gravity."""

    def _predict_batch(self, clip, pieces):
        frames = np.stack([rows for rows, _ in pieces])
        self.asked = [*getattr(self, "asked", []), (frames, clip.points.copy())]
        points = torch.as_tensor(clip.points[frames], dtype=torch.float32)
        b, t = frames.shape
        down = torch.nn.functional.pad(points[:, :, 1], (0, 1))
        out = TGTOutput(
            joints=torch.nn.functional.pad(points, (0, 1)),
            directions=torch.zeros(b, t, NUM_JOINTS, 3),
            lengths=torch.ones(b, NUM_JOINTS),
            scale=torch.tensor([0.1, 0.3]).expand(b, t, NUM_JOINTS, 2),
            root=torch.tensor([0.0, 0.0, 3.0]).expand(b, t, 3),
            contacts=torch.zeros(b, t, 4),
            gravity=torch.nn.functional.normalize(down, dim=-1),
            features=torch.zeros(b, t, 1),
        )
        as_filmed = torch.eye(3).expand(b, t, 3, 3)
        x = Normalised(points, points, points[..., 0], points, as_filmed, points)
        return _Batch(pieces, x, torch.zeros(b, t), out, slice(0, t), np.ones(b))


@pytest.mark.parametrize("degrees", [3.0, -12.0, 90.0, 170.0])
def test_a_camera_that_leans_is_put_upright_and_its_result_turned_back(networks, degrees):
    clip = track(30)
    clip.keypoints[:, 1] = [
        *(K[:2, 2] + 100 * np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])),
        1.0,
    ]
    lifter = PlumbLifter(EstimateSettings(device="cpu", correction=0.0), **networks)
    got = lifter.lift(clip, K).tgt
    first, last = lifter.asked[0][1], lifter.asked[-1][1]
    assert len(lifter.asked) == (1 if abs(degrees) < 5 else 2)
    assert abs(np.degrees(np.arctan2(last[0, 1, 0], last[0, 1, 1]))) < 5.0
    np.testing.assert_allclose(got.joints[..., :2], first, atol=1e-6)  # where the image as filmed has them
    np.testing.assert_allclose(got.gravity[:2], first[0, 1] / np.linalg.norm(first[0, 1]), atol=1e-6)
    across, along = 2 * np.array([1.2 * 0.1, 0.8 * 0.3]) ** 2  # of a Laplace distribution, calibrated
    np.testing.assert_allclose(
        got.sigma_xyz**2, np.broadcast_to([across, across, along], got.joints.shape), rtol=1e-5
    )


def test_a_few_windows_over_the_whole_clip_tell_how_the_camera_leans(networks):
    """A plumb line that swings from 7 to 17 degrees in 2000 frames: the image is turned by their mean, once."""
    frames, size = 2000, 64
    clip = track(frames)
    swing = np.radians(np.linspace(7.0, 17.0, frames))
    clip.keypoints[:, 1, :2] = K[:2, 2] + 100 * np.stack([np.sin(swing), np.cos(swing)], -1)
    clip.keypoints[:, 1, 2] = 1.0
    lifter = PlumbLifter(EstimateSettings(device="cpu", correction=0.0), **networks)
    got = lifter.lift(clip, K).tgt
    (ahead, _), *lifted = lifter.asked
    assert ahead.shape == (8, size) and ahead[0, 0] == 0 and ahead[-1, -1] == frames - 1
    assert (np.abs(np.diff(ahead[:, 0]) - (frames - size) / 7) <= 32).all()  # evenly, as far as windows lie
    turned = np.degrees(np.arctan2(*lifted[0][1][:, 1].T))
    np.testing.assert_allclose(turned, np.linspace(-5.0, 5.0, frames), atol=0.1)
    windows = np.concatenate([rows for rows, _ in lifted])
    assert len(np.unique(windows[:, 0])) == len(windows)  # each once
    assert set(windows.ravel()) == set(range(frames))
    np.testing.assert_allclose(got.joints[:, 1, :2], lifter.asked[0][1][:, 1], atol=1e-6)


def test_no_window_of_a_level_clip_is_lifted_twice(networks):
    clip = track(700)
    clip.keypoints[:, 1] = [*(K[:2, 2] + [0.0, 100.0]), 1.0]
    lifter = PlumbLifter(EstimateSettings(device="cpu", correction=0.0), **networks)
    lifter.lift(clip, K)
    starts = np.concatenate([rows[:, 0] for rows, _ in lifter.asked])
    assert sorted(starts) == [*range(0, 636, 32), 636]


def test_windows_of_several_lengths_are_all_lifted(networks):
    """Stretches of 5, 40 and 200 frames with gaps of a second between: three lengths of windows."""
    seen = np.ones(305, bool)
    seen[5:35] = seen[75:105] = False
    clip = track(305, seen=seen)
    clip.keypoints[:, 1] = [*(K[:2, 2] + [0.0, 100.0]), 1.0]
    lifter = PlumbLifter(EstimateSettings(device="cpu", correction=0.0), **networks)
    lifter.lift(clip, K)
    assert {rows.shape[1] for rows, _ in lifter.asked} == {5, 40, 64}
    assert lifter.asked[0][0].shape[1] == 64  # the commonest tell the lean
    assert set(np.concatenate([rows.ravel() for rows, _ in lifter.asked])) == set(np.flatnonzero(seen))


def test_what_was_not_corrected_takes_no_memory_of_its_own(networks):
    plain = lift(networks, track(30), correction=0.0)
    assert plain.corrected.joints is plain.tgt.joints
    changed = lift(networks, track(30))
    assert changed.corrected.joints is not changed.tgt.joints
    assert changed.corrected.sigma_xyz is changed.tgt.sigma_xyz and changed.corrected.root is changed.tgt.root
    assert changed.tgt.joints.dtype == changed.tgt.sigma_xyz.dtype == np.float32
