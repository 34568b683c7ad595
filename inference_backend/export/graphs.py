"""TGT and GPC's denoiser as graphs of plain tensors, written in three formats with a free time axis."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import NUM_JOINTS
from inference_backend.networks.gpc import GPC, GPCCondition
from inference_backend.networks.normalise import CONDITIONS, Normalised
from inference_backend.networks.tgt import TGT

FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "exported-program": ".pt2"}
TGT_INPUTS = ("points", "velocity", "confidence", "condition", "size", "times", "family")
TGT_OUTPUTS = ("joints", "directions", "lengths", "scale", "root", "contacts", "gravity", "features")
GPC_INPUTS = ("noisy", "level", "mask", "joints", "scale", "points", "confidence", "features", "times")
GPC_OUTPUTS = ("x0",)
_NO_TIME_AXIS = {"family", "level", "lengths"}
OPSET = 18


class TGTGraph(nn.Module):
    """TGT on plain tensors: TGT_INPUTS -> TGT_OUTPUTS."""

    def __init__(self, model: TGT):
        super().__init__()
        self.model = model

    def forward(self, points, velocity, confidence, condition, size, times, family):
        # The virtual camera's rotation is no input of the network: outputs are in its axes.
        x = Normalised(points, velocity, confidence, condition, points, size)
        out = self.model(x, times, family)
        return tuple(getattr(out, name) for name in TGT_OUTPUTS)


class GPCGraph(nn.Module):
    """GPC's denoiser on plain tensors: GPC_INPUTS -> x0. `mask` is 0 or 1."""

    def __init__(self, model: GPC):
        super().__init__()
        self.model = model

    def forward(self, noisy, level, mask, joints, scale, points, confidence, features, times):
        return self.model(
            noisy, level, mask, GPCCondition(joints, scale, points, confidence, features, times)
        )


def graph_of(model: nn.Module) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...]]:
    """-> the network on plain tensors, names of its inputs and outputs."""
    if isinstance(model, TGT):
        return TGTGraph(model).eval(), TGT_INPUTS, TGT_OUTPUTS
    return GPCGraph(model).eval(), GPC_INPUTS, GPC_OUTPUTS


def example(model: nn.Module, batch: int, frames: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random inputs of the right shapes and ranges."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(batch, frames, *shape, generator=g)

    times = (torch.arange(frames) / 30.0).expand(batch, -1).contiguous()
    confidence = torch.rand(batch, frames, NUM_JOINTS, generator=g)
    if isinstance(model, TGT):
        return (randn(NUM_JOINTS, 2), 0.1 * randn(NUM_JOINTS, 2), confidence, 0.3 * randn(CONDITIONS),
                0.1 + randn().abs(), times, torch.full((batch,), 3))  # fmt: skip
    return (
        randn(NUM_JOINTS, 3),
        torch.full((batch,), 400),
        (randn(NUM_JOINTS) > 0).float(),
        randn(NUM_JOINTS, 3),
        0.02 + 0.05 * torch.rand(batch, frames, NUM_JOINTS, 2, generator=g),
        randn(NUM_JOINTS, 2),
        confidence,
        randn(model.config.d_tgt),
        times,
    )


def export(model: nn.Module, path: Path, kind: str) -> Path:
    """Write `model` as `kind` of FORMATS; batch and time stay free. Raises GentgError for an unknown kind."""
    if kind not in FORMATS:
        raise GentgError(
            "bad_request", f"unknown export format {kind!r}", hint=f"Choose from {', '.join(FORMATS)}."
        )
    graph, inputs, outputs = graph_of(model)
    arguments = example(model, 2, 48)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "torchscript":
        torch.jit.save(torch.jit.trace(graph, arguments, check_trace=False), str(path))
        return path
    batch, frames = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("frames", min=2, max=100_000)
    shapes = {n: {0: batch} if n in _NO_TIME_AXIS else {0: batch, 1: frames} for n in inputs}
    program = torch.export.export(graph, arguments, dynamic_shapes=shapes)
    if kind == "exported-program":
        torch.export.save(program, str(path))
        return path
    torch.onnx.export(program, (), str(path), input_names=list(inputs), output_names=list(outputs),
                      opset_version=OPSET, dynamo=True, external_data=False, verbose=False)  # fmt: skip
    return path
