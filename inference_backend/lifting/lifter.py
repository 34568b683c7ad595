"""From a person's 2D keypoints to 3D joints with uncertainty: TGT, then GPC, window by window."""

from __future__ import annotations

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
ROLLED = np.radians(5.0)  # a camera that leans more is put upright for a second lift
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
    resampled: float = 0.0  # share of the joints that GPC drew anew
    warnings: list[str] = field(default_factory=list)


@dataclass
class _Blend:
    """Weighted sums of window outputs in the real camera's axes, and the clip-level means."""

    joints: np.ndarray  # (T, 35, 3)
    corrected: np.ndarray
    root: np.ndarray  # (T, 3)
    variance: np.ndarray  # (T, 35, 3)
    contacts: np.ndarray  # (T, 4)
    weight: np.ndarray  # (T,)
    resampled: float = 0.0  # frames' worth of resampled joints
    frames: int = 0  # frames lifted, overlaps counted each time

    @classmethod
    def empty(cls, frames: int) -> _Blend:
        z = np.zeros
        return cls(z((frames, NUM_JOINTS, 3)), z((frames, NUM_JOINTS, 3)), z((frames, 3)),
                   z((frames, NUM_JOINTS, 3)), z((frames, 4)), z(frames))  # fmt: skip


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
        points = (track.keypoints[..., :2] - K[:2, 2]) / K[[0, 1], [0, 1]]
        confidence = np.where(seen[:, None], track.keypoints[..., 2], 0.0)
        points = np.where(confidence[..., None] > 0, points, 0.0)
        times = np.asarray(track.timestamps, float)
        family = FAMILIES.index(track.layout) if track.layout in FAMILIES else len(FAMILIES)

        result = self._lift(points, confidence, seen, times, family, report)
        roll = float(np.arctan2(result.tgt.gravity[0], result.tgt.gravity[1]))
        if abs(roll) > ROLLED:
            # Level cameras are what the network knows best, and turning a picture about its axis is exact.
            upright = np.array(
                [[np.cos(roll), -np.sin(roll), 0.0], [np.sin(roll), np.cos(roll), 0.0], [0.0, 0.0, 1.0]]
            )
            again = self._lift(points @ upright[:2, :2].T, confidence, seen, times, family, report)
            down = result.tgt.gravity + upright.T @ again.tgt.gravity  # both readings count
            result = again
            result.tgt, result.corrected = again.tgt.turned(upright.T), again.corrected.turned(upright.T)
            result.tgt.gravity = result.corrected.gravity = down / np.linalg.norm(down)
        return result

    def _lift(
        self,
        points: np.ndarray,
        confidence: np.ndarray,
        seen: np.ndarray,
        times: np.ndarray,
        family: int,
        report: Report | None,
    ) -> LiftResult:
        """`points` (T, 35, 2) = (x/z, y/z), 0 where the confidence (T, 35) is 0."""
        blend = _Blend.empty(len(times))
        pieces = self._pieces(seen, times)
        lengths, gravity, done = [], [], 0
        random = torch.Generator(device=self.device).manual_seed(self.settings.seed)
        for size in sorted({len(rows) for rows, _ in pieces}):
            same = [p for p in pieces if len(p[0]) == size]
            for k in range(0, len(same), BATCH):
                group = same[k : k + BATCH]
                rows = np.stack([r for r, _ in group])
                out, x, joints, share = self._run(points[rows], confidence[rows], times[rows], family, random)
                self._add(blend, group, out, x, joints, share)
                w = confidence[rows].mean((1, 2)) + 1e-6
                lengths.append((out.lengths.cpu().numpy(), w))
                down = torch.einsum("btji,btj->bti", x.rotation, out.gravity)
                gravity.append((down.mean(1).cpu().numpy(), w))
                done += len(group)
                if report:
                    report("lift", done, len(pieces))
        return self._result(blend, times, lengths, gravity)

    # ------------------------------------------------------------------ windows
    def _pieces(self, seen: np.ndarray, times: np.ndarray) -> list[tuple[np.ndarray, Window]]:
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

    def _run(
        self,
        points: np.ndarray,
        confidence: np.ndarray,
        times: np.ndarray,
        family: int,
        random: torch.Generator,
    ) -> tuple[TGTOutput, Normalised, torch.Tensor, float]:
        """Networks on a batch of equal windows. Arrays (B, T, ...); outputs are cut back to T frames."""
        b, t = times.shape
        before, after = _padding(t)
        rows = np.clip(np.arange(-before, t + after), 0, t - 1)
        step = np.median(np.diff(times, axis=1), axis=1) if t > 1 else np.full(b, 1 / 30)
        padded = times[:, rows] + np.where(
            np.arange(-before, t + after) < 0, np.arange(-before, t + after),
            np.maximum(np.arange(-before, t + after) - (t - 1), 0))[None] * step[:, None]  # fmt: skip

        def tensor(a: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(a, dtype=torch.float32, device=self.device)

        p, c, s = tensor(points[:, rows]), tensor(confidence[:, rows]), tensor(padded - padded[:, :1])
        x = normalise(p, c, s)
        kind = torch.full((b,), family, device=self.device)
        out = self.tgt_network(x, s, kind)
        if QUALITIES[self.settings.quality].mirrored:
            out = mean_with_mirror(out, self.tgt_network, p, c, s, kind)
        joints, share = out.joints, 0.0
        if self.settings.correction > 0:
            joints, mask = correct(
                self.gpc_network, out, x, s, self.corrector, random, out.scale * self.calibration
            )
            share = float(mask[:, before : before + t].float().mean())
        cut = slice(before, before + t)
        out = TGTOutput(
            out.joints[:, cut],
            out.directions[:, cut],
            out.lengths,
            out.scale[:, cut],
            out.root[:, cut],
            out.contacts[:, cut],
            out.gravity[:, cut],
            out.features[:, cut],
        )
        x = Normalised(x.points[:, cut], x.velocity[:, cut], x.confidence[:, cut], x.condition[:, cut],
                       x.rotation[:, cut], x.size[:, cut])  # fmt: skip
        return out, x, joints[:, cut], share

    def _add(
        self,
        blend: _Blend,
        group: list[tuple[np.ndarray, Window]],
        out: TGTOutput,
        x: Normalised,
        joints: torch.Tensor,
        share: float,
    ) -> None:
        back = x.rotation.transpose(-1, -2)  # virtual -> real camera axes
        scale = out.scale * self.calibration
        variance = 2 * torch.stack([scale[..., 0], scale[..., 0], scale[..., 1]], -1) ** 2
        real = {
            "joints": torch.einsum("btij,btkj->btki", back, out.joints),
            "corrected": torch.einsum("btij,btkj->btki", back, joints),
            "root": torch.einsum("btij,btj->bti", back, out.root),
            "variance": torch.einsum("btij,btkj->btki", back**2, variance),
            "contacts": torch.sigmoid(out.contacts),
        }
        for i, (rows, window) in enumerate(group):
            for name, value in real.items():
                w = window.weight.reshape(-1, *[1] * (value.ndim - 2))
                getattr(blend, name)[rows] += w * value[i].cpu().numpy()
            blend.weight[rows] += window.weight
        frames = sum(len(rows) for rows, _ in group)
        blend.resampled += share * frames
        blend.frames += frames

    def _result(self, blend: _Blend, times: np.ndarray, lengths: list, gravity: list) -> LiftResult:
        have = blend.weight > 0
        total = blend.weight[have]

        def mean(values: np.ndarray) -> np.ndarray:
            """Divide by the weights; frames nobody was seen in hold interpolated values."""
            v = values[have] / total.reshape(-1, *[1] * (values.ndim - 1))
            if have.all():
                return v
            flat = v.reshape(len(v), -1)
            filled = np.stack([np.interp(times, times[have], column) for column in flat.T], -1)
            return filled.reshape(values.shape)

        edge = np.average(
            np.concatenate([v for v, _ in lengths]), axis=0, weights=np.concatenate([w for _, w in lengths])
        )
        down = np.average(
            np.concatenate([v for v, _ in gravity]), axis=0, weights=np.concatenate([w for _, w in gravity])
        )
        edge[0] = 0.0
        variance = mean(blend.variance)
        joints, corrected = mean(blend.joints), mean(blend.corrected)
        amount = self.settings.correction
        common = dict(
            root=mean(blend.root),
            sigma=np.sqrt(variance.sum(-1)),
            sigma_xyz=np.sqrt(variance),
            edge_lengths=edge,
            contacts=mean(blend.contacts),
            gravity=down / np.linalg.norm(down),
        )
        return LiftResult(
            Lifted(joints=joints, **common),
            Lifted(joints=joints + amount * (corrected - joints), **common),
            {"tgt": self.tgt.sha256, "gpc": self.gpc.sha256},
            blend.resampled / blend.frames,
        )


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
    """Average with the network's answer to the mirrored picture, mirrored back."""
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
