"""From a person's 2D keypoints to 3D joints with uncertainty: TGT, then GPC, window by window."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from gentg_blender.core.contract import EstimateSettings, GentgError
from gentg_blender.core.skeleton import JOINT_MIRROR, NUM_JOINTS
from inference_backend.lifting.correct import CorrectorSettings, correct
from inference_backend.lifting.lifted import Lifted
from inference_backend.lifting.weights import Loaded, load_weights
from inference_backend.lifting.windows import Window, segments, windows
from inference_backend.networks.normalise import Normalised, normalise
from inference_backend.networks.tgt import FAMILIES, TGTOutput

Report = Callable[[str, int, int | None], None]

WINDOW = 64  # frames: the length the networks were trained on
SHORTEST = 24  # shorter clips are held at their ends up to this many frames
FASTEST = 62.0  # frames per second; faster clips are lifted as interleaved slower ones
BRIDGE = 0.4  # seconds: shorter gaps are lifted through
MAX_ROLL = np.radians(5.0)  # a camera that leans more is put upright for a second lift
BATCH = 8  # windows at once: fast, and flat in memory


@dataclass(frozen=True)
class Quality:
    """What a quality level buys: overlap of the windows, averaging over the mirrored input."""

    hop: int
    mirrored: bool


QUALITIES = {"fast": Quality(48, False), "balanced": Quality(32, True), "best": Quality(16, True)}


@dataclass
class LiftResult:
    """Poses before and after correction, what made them, and how much was resampled."""

    tgt: Lifted
    corrected: Lifted
    weights: dict[str, str]  # network -> sha256
    resampled: float = 0.0  # share of the joints that GPC drew again
    warnings: list[str] = field(default_factory=list)


@dataclass
class _Clip:
    """A person's points on the plane at z = 1, as the networks get them; absent points are 0."""

    points: np.ndarray  # (T, 35, 2) float32, (x/z, y/z)
    confidence: np.ndarray  # (T, 35) float32
    times: np.ndarray  # (T,) seconds
    family: int  # index in FAMILIES


_FrameWindow = tuple[np.ndarray, Window]  # frame numbers of a window in the clip, and the window


@dataclass
class _Batch:
    """Windows of one length and what TGT says of them, with the frames that short ones are held for."""

    pieces: list[_FrameWindow]
    x: Normalised
    times: torch.Tensor  # (B, T) seconds from the window's beginning
    out: TGTOutput
    cut: slice  # the window's own frames
    weight: np.ndarray  # (B,) mean confidence: what its readings of the whole clip count

    def gravity(self) -> np.ndarray:
        """(3,) weighted sum of the windows' readings, in the axes of the camera that took the image."""
        down = torch.einsum("btji,btj->bti", self.x.rotation, self.out.gravity)[:, self.cut].mean(1)
        return self.weight @ down.cpu().numpy()


@dataclass
class _Blend:
    """Weighted sums of window outputs in the real camera's axes, and of the clip-level means.

    Single precision in what has a value for each joint: it decides how much memory a long clip takes.
    """

    back: np.ndarray  # (3, 3) from the axes of the lifted image to the real camera's
    joints: np.ndarray  # (T, 35, 3)
    variance: np.ndarray  # (T, 35, 3)
    root: np.ndarray  # (T, 3)
    contacts: np.ndarray  # (T, 4)
    weight: np.ndarray  # (T,)
    change: np.ndarray | None = None  # (T, 35, 3) corrected minus TGT's; None while nothing was corrected
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(NUM_JOINTS))
    gravity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    trust: float = 0.0  # sum of the weights of the last two
    resampled: float = 0.0  # frames' worth of resampled joints
    frames: int = 0  # frames lifted, overlaps counted each time

    @classmethod
    def empty(cls, frames: int, back: np.ndarray) -> _Blend:
        per_joint = (frames, NUM_JOINTS, 3)
        return cls(back, np.zeros(per_joint, np.float32), np.zeros(per_joint, np.float32), np.zeros((frames, 3)),
                   np.zeros((frames, 4)), np.zeros(frames))  # fmt: skip


def pick_device(name: str) -> torch.device:
    """auto | cpu | cuda | mps -> device. Raises GentgError when the one asked for is not there."""
    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if have["cuda"] else "mps" if have["mps"] else "cpu")
    if not have[name]:
        raise GentgError(
            "bad_request",
            f"The device '{name}' is not available here.",
            hint="Choose --device auto or cpu; `gentg doctor` shows what was found.",
        )
    return torch.device(name)


class Lifter:
    """Holds the networks; one instance serves many clips."""

    def __init__(
        self,
        settings: EstimateSettings,
        tgt: Loaded | None = None,
        gpc: Loaded | None = None,
        corrector: CorrectorSettings | None = None,
        graphs: Path | None = None,
    ):
        """`graphs` is the folder that ONNX graphs are kept in; runtime onnx needs it."""
        self.settings = settings
        self.device = pick_device("cpu" if settings.runtime == "onnx" else settings.device)
        self.tgt = tgt or load_weights("tgt", self.device)
        self.gpc = gpc or load_weights("gpc", self.device)
        self.tgt_network, self.gpc_network = self.tgt.model, self.gpc.model
        if settings.runtime == "onnx":
            if graphs is None:
                raise GentgError("bad_request", "The runtime onnx needs a folder to keep its graphs in.")
            from inference_backend.lifting.onnx_networks import OnnxGPC, OnnxTGT

            self.tgt_network, self.gpc_network = OnnxTGT(self.tgt, graphs), OnnxGPC(self.gpc, graphs)
        # The diffusion process is a property of the weights; the rest may be tuned.
        process = {"schedule": self.gpc.model.config.schedule, "levels": self.gpc.model.config.levels}
        self.corrector = corrector or CorrectorSettings(**self.gpc.info.get("corrector", {}) | process)
        # Calibration: factors on TGT's scale (plane, depth), found on held-out people.
        self.calibration = torch.tensor(self.tgt.info.get("calibration", [1.0, 1.0]), device=self.device)

    @torch.no_grad()
    def lift(self, track, K: np.ndarray, report: Report | None = None) -> LiftResult:
        """`track`: KeypointTrack in pixels; `K` (3, 3) intrinsics. Raises GentgError("no_person")."""
        seen = np.asarray(track.seen, bool) & (track.keypoints[..., 2] > 0).any(-1)
        if not seen.any():
            raise GentgError(
                "no_person",
                "No person was found in the clip.",
                hint="Check that a person is visible for at least a moment.",
            )
        points = ((track.keypoints[..., :2] - K[:2, 2]) / K[[0, 1], [0, 1]]).astype(np.float32)
        confidence = np.where(seen[:, None], track.keypoints[..., 2], 0.0).astype(np.float32)
        points[confidence <= 0] = 0.0
        family = FAMILIES.index(track.layout) if track.layout in FAMILIES else len(FAMILIES)
        clip = _Clip(points, confidence, np.asarray(track.timestamps, float), family)

        # A few windows tell how the camera leans before the whole clip is lifted, once.
        pieces = self._pieces(seen, clip.times)
        batch = self._predict_batch(clip, _spread(pieces))
        down = batch.gravity()
        roll = float(np.arctan2(down[0], down[1]))
        if abs(roll) <= MAX_ROLL:
            return self._lift(clip, pieces, batch, np.eye(3), report)
        # Level cameras are what the network knows best, and turning an image about its axis is exact.
        upright = np.array(
            [[np.cos(roll), -np.sin(roll), 0.0], [np.sin(roll), np.cos(roll), 0.0], [0.0, 0.0, 1.0]]
        )
        clip.points = clip.points @ upright[:2, :2].T.astype(np.float32)
        result = self._lift(clip, pieces, None, upright.T, report)
        down = down / np.linalg.norm(down) + result.tgt.gravity  # both readings count
        result.tgt.gravity = result.corrected.gravity = down / np.linalg.norm(down)
        return result

    def _lift(
        self,
        clip: _Clip,
        pieces: list[_FrameWindow],
        asked: _Batch | None,
        back: np.ndarray,
        report: Report | None,
    ) -> LiftResult:
        """Lift all `pieces`; those in the batch that was `asked` already are not asked again. `back` (3, 3): from the
        axes of the image as it is given to the networks to the real camera's."""
        blend, done = _Blend.empty(len(clip.times), back), 0
        random = torch.Generator(device=self.device).manual_seed(self.settings.seed)
        known = {id(piece) for piece in asked.pieces} if asked else set()
        left = _batches([piece for piece in pieces if id(piece) not in known])
        for batch in itertools.chain(
            [asked] if asked else [], (self._predict_batch(clip, group) for group in left)
        ):
            self._accumulate(blend, batch, random)
            done += len(batch.pieces)
            if report:
                report("lift", done, len(pieces))
        return self._result(blend, clip.times)

    # ------------------------------------------------------------------ windows
    def _pieces(self, seen: np.ndarray, times: np.ndarray) -> list[_FrameWindow]:
        """Frame numbers of every window, with its blend weights."""
        hop = QUALITIES[self.settings.quality].hop
        out = []
        for part in segments(seen, times, BRIDGE):
            frames = np.arange(part.start, part.stop)
            rate = (len(frames) - 1) / (times[frames[-1]] - times[frames[0]]) if len(frames) > 1 else 30.0
            stride = max(1, int(np.ceil(rate / FASTEST)))
            for phase in range(min(stride, len(frames))):
                rows = frames[phase::stride]
                out += [(rows[w.start : w.stop], w) for w in windows(len(rows), WINDOW, hop)]
        return out

    def _predict_batch(self, clip: _Clip, pieces: list[_FrameWindow]) -> _Batch:
        """TGT's answer to windows of one length; short ones are held at their ends up to SHORTEST frames."""
        frames = np.stack([rows for rows, _ in pieces])
        times = clip.times[frames]
        b, t = times.shape
        before, after = _padding(t)
        offsets = np.arange(-before, t + after)
        rows = np.clip(offsets, 0, t - 1)
        step = np.median(np.diff(times, axis=1), axis=1) if t > 1 else np.full(b, 1 / 30)
        seconds = (
            times[:, rows] + np.where(offsets < 0, offsets, np.maximum(offsets - (t - 1), 0)) * step[:, None]
        )

        def tensor(a: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(a, dtype=torch.float32, device=self.device)

        held = frames[:, rows]
        p, c, s = tensor(clip.points[held]), tensor(clip.confidence[held]), tensor(seconds - seconds[:, :1])
        x = normalise(p, c, s)
        kind = torch.full((b,), clip.family, device=self.device)
        out = self.tgt_network(x, s, kind)
        if QUALITIES[self.settings.quality].mirrored:
            out = mean_with_mirror(out, self.tgt_network, p, c, s, kind)
        weight = clip.confidence[frames].mean((1, 2), dtype=float) + 1e-6
        return _Batch(pieces, x, s, out, slice(before, before + t), weight)

    def _accumulate(self, blend: _Blend, batch: _Batch, random: torch.Generator) -> None:
        """Correct a batch and add it to the sums."""
        out, cut = batch.out, batch.cut
        scale = out.scale * self.calibration
        joints, share = None, 0.0
        if self.settings.correction > 0:
            joints, mask = correct(self.gpc_network, out, batch.x, batch.times, self.corrector, random, scale)
            share = float(mask[:, cut].float().mean())
        turn = torch.as_tensor(blend.back, dtype=torch.float32, device=self.device)
        back = turn @ batch.x.rotation[:, cut].transpose(-1, -2)  # virtual -> real camera axes
        scale = scale[:, cut]
        variance = 2 * torch.stack([scale[..., 0], scale[..., 0], scale[..., 1]], -1) ** 2
        real = {
            "joints": torch.einsum("btij,btkj->btki", back, out.joints[:, cut]),
            "root": torch.einsum("btij,btj->bti", back, out.root[:, cut]),
            # errors along the axes are independent
            "variance": torch.einsum("btij,btkj->btki", back**2, variance),
            "contacts": torch.sigmoid(out.contacts[:, cut]),
        }
        if joints is not None and share > 0:
            if blend.change is None:
                blend.change = np.zeros_like(blend.joints)
            real["change"] = torch.einsum("btij,btkj->btki", back, (joints - out.joints)[:, cut])
        for i, (rows, window) in enumerate(batch.pieces):
            for name, value in real.items():
                w = window.weight.astype(np.float32).reshape(-1, *[1] * (value.ndim - 2))
                getattr(blend, name)[rows] += w * value[i].cpu().numpy()
            blend.weight[rows] += window.weight
        frames = sum(len(rows) for rows, _ in batch.pieces)
        blend.resampled += share * frames
        blend.frames += frames
        blend.lengths += batch.weight @ out.lengths.cpu().numpy()
        blend.gravity += blend.back @ batch.gravity()
        blend.trust += batch.weight.sum()

    def _result(self, blend: _Blend, times: np.ndarray) -> LiftResult:
        """Means of what was added; takes the blend's arrays for its own."""
        have = blend.weight > 0
        total = np.where(have, blend.weight, 1.0)

        def mean(values: np.ndarray) -> np.ndarray:
            """Divide by the weights; frames nobody was seen in hold interpolated values."""
            values /= total.astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
            if not have.all():
                for column in values.reshape(len(values), -1).T:
                    column[~have] = np.interp(times[~have], times[have], column[have])
            return values

        variance, joints = mean(blend.variance), mean(blend.joints)
        corrected = joints
        if blend.change is not None:
            corrected = mean(blend.change)
            corrected *= self.settings.correction
            corrected += joints
        edge = blend.lengths / blend.trust
        edge[0] = 0.0
        common = dict(
            root=mean(blend.root),
            sigma=np.sqrt(variance.sum(-1)),
            sigma_xyz=np.sqrt(variance, out=variance),
            edge_lengths=edge,
            contacts=mean(blend.contacts),
            gravity=blend.gravity / np.linalg.norm(blend.gravity),
        )
        return LiftResult(
            Lifted(joints=joints, **common),
            Lifted(joints=corrected, **common),
            {"tgt": self.tgt.sha256, "gpc": self.gpc.sha256},
            blend.resampled / blend.frames,
        )


def _spread(pieces: list[_FrameWindow]) -> list[_FrameWindow]:
    """A batch of windows of the commonest length, spread evenly over the clip: no more than lie side by side."""
    by_size: dict[int, list[_FrameWindow]] = {}
    for piece in pieces:
        by_size.setdefault(len(piece[0]), []).append(piece)
    common = max(by_size.values(), key=lambda same: len(same) * len(same[0][0]))
    frames = np.unique(np.concatenate([rows for rows, _ in common]))
    count = min(BATCH, -(-len(frames) // len(common[0][0])))
    return [common[i] for i in np.linspace(0, len(common) - 1, count).round().astype(int)]


def _batches(pieces: list[_FrameWindow]) -> list[list[_FrameWindow]]:
    """Windows of one length together, at most BATCH of them."""
    ordered = sorted(pieces, key=lambda piece: len(piece[0]))  # keeps the order in time within a length
    groups = [list(same) for _, same in itertools.groupby(ordered, key=lambda piece: len(piece[0]))]
    return [same[k : k + BATCH] for same in groups for k in range(0, len(same), BATCH)]


def _padding(frames: int) -> tuple[int, int]:
    """Frames to hold at either end so that a short clip fills SHORTEST."""
    missing = max(0, SHORTEST - frames)
    return missing // 2, missing - missing // 2


def mean_with_mirror(
    out: TGTOutput,
    model,
    points: torch.Tensor,
    confidence: torch.Tensor,
    times: torch.Tensor,
    family: torch.Tensor,
) -> TGTOutput:
    """Average with the network's answer to the mirrored image, mirrored back."""
    swap = torch.as_tensor(JOINT_MIRROR, device=points.device)
    flip2 = torch.tensor([-1.0, 1.0], device=points.device)
    flip3 = torch.tensor([-1.0, 1.0, 1.0], device=points.device)
    other = model(normalise(points[:, :, swap] * flip2, confidence[:, :, swap], times), times, family)
    feet = [2, 3, 0, 1]  # FEET with left and right exchanged
    return TGTOutput(
        joints=(out.joints + other.joints[:, :, swap] * flip3) / 2,
        directions=torch.nn.functional.normalize(
            out.directions + other.directions[:, :, swap] * flip3, dim=-1
        ),
        lengths=(out.lengths + other.lengths) / 2,
        scale=(out.scale * other.scale[:, :, swap]).sqrt(),
        root=(out.root + other.root * flip3) / 2,
        contacts=(out.contacts + other.contacts[..., feet]) / 2,
        gravity=torch.nn.functional.normalize(out.gravity + other.gravity * flip3, dim=-1),
        features=out.features,
    )
