"""The networks through ONNX Runtime, called like the PyTorch ones.

The graphs are written once from the shipped weights into the cache folder, under the weights' hash.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from gentg_blender.core.contract import GentgError, atomic_file
from inference_backend.export.graphs import GPC_INPUTS, TGT_INPUTS, TGT_OUTPUTS, export
from inference_backend.lifting.weights import Loaded
from inference_backend.networks.gpc import GPCCondition
from inference_backend.networks.normalise import Normalised
from inference_backend.networks.tgt import TGTOutput


def _session(loaded: Loaded, kind: str, folder: Path):
    try:
        import onnxruntime
    except ImportError as error:
        raise GentgError(
            "missing_dependency",
            "The package onnxruntime is not installed.",
            hint="Set up the backend again, or choose --runtime torch.",
        ) from error
    path = folder / f"{kind}-{loaded.sha256[:16]}.onnx"
    if not path.is_file():
        with atomic_file(path) as temporary:
            export(loaded.model.cpu(), temporary, "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = min(4, os.cpu_count() or 1)
    wanted = ["CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"]
    have = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[p for p in wanted if p in have])
    except Exception as error:  # onnxruntime has a class of its own for each way a file can be damaged
        raise GentgError(
            "bad_weights",
            f"The ONNX graph of {kind.upper()} cannot be used: {error}",
            file=path,
            hint="Delete this file: it is made again from the weights.",
        ) from error


class OnnxTGT:
    """Stands in for networks.tgt.TGT in the lifter."""

    def __init__(self, loaded: Loaded, folder: Path):
        self.session = _session(loaded, "tgt", folder)
        self.inputs = [i.name for i in self.session.get_inputs()]

    def __call__(self, x: Normalised, times: torch.Tensor, family: torch.Tensor) -> TGTOutput:
        values = dict(
            zip(
                TGT_INPUTS,
                (x.points, x.velocity, x.confidence, x.condition, x.size, times, family),
                strict=True,
            )
        )
        out = self.session.run(list(TGT_OUTPUTS), {k: _array(values[k]) for k in self.inputs})
        return TGTOutput(*(torch.from_numpy(o) for o in out))


class OnnxGPC:
    """Stands in for networks.gpc.GPC's forward."""

    def __init__(self, loaded: Loaded, folder: Path):
        self.session = _session(loaded, "gpc", folder)
        self.inputs = [i.name for i in self.session.get_inputs()]

    def __call__(
        self, noisy: torch.Tensor, level: torch.Tensor, mask: torch.Tensor, c: GPCCondition
    ) -> torch.Tensor:
        values = dict(zip(GPC_INPUTS, (noisy, level, mask.float(), c.joints, c.scale, c.points, c.confidence,
                                       c.features, c.times), strict=True))  # fmt: skip
        return torch.from_numpy(self.session.run(["x0"], {k: _array(values[k]) for k in self.inputs})[0])


def _array(value: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(value.detach().cpu().numpy())
