"""Exported networks against PyTorch, number by number, at lengths and batches they were not traced with."""

import numpy as np
import pytest
import torch

from gentg_blender.core.contract import GentgError
from inference_backend.export.graphs import FORMATS, GPC_OUTPUTS, TGT_OUTPUTS, example, export, graph_of
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.tgt import TGT, TGTConfig

# (batch, frames); traced with (2, 48)
SIZES = [(1, 1), (3, 2), (1, 24), (2, 64), (4, 81), (1, 243)]


pytestmark = pytest.mark.usefixtures("one_thread")


def stirred(model):
    """Random weights that let every input through."""
    for p in model.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, 0.0, 0.1)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    tgt = TGTConfig(d_space=8, space_heads=2, space_layers=1, d_time=32, time_heads=2, time_layers=1)
    gpc = GPCConfig(d_time=32, time_heads=2, time_layers=1, d_tgt=32)
    return {"tgt": stirred(TGT(tgt)), "gpc": stirred(GPC(gpc))}


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory):
    """(format, network) -> its file, written once; folders are made on the way."""
    folder, made = tmp_path_factory.mktemp("graphs") / "deep", {}

    def of(kind: str, network: str):
        if (kind, network) not in made:
            made[kind, network] = export(models[network], folder / f"{network}{FORMATS[kind]}", kind)
        return made[kind, network]

    return of


def arguments(model, batch: int, frames: int):
    """Inputs whose families and levels differ from those traced with."""
    values = list(example(model, batch, frames, seed=frames))
    if isinstance(model, TGT):
        values[-1] = torch.arange(batch) % 6
    else:
        values[1] = 37 + 211 * torch.arange(batch)
    return tuple(values)


def runner_of(kind: str, path, model):
    """-> a function from tensors to arrays."""
    if kind == "torchscript":
        loaded = torch.jit.load(str(path))
        return lambda values: _tuple(loaded(*values))
    if kind == "exported-program":
        module = torch.export.load(str(path)).module()
        return lambda values: _tuple(module(*values))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = graph_of(model)[1]
    used = {i.name for i in session.get_inputs()}
    return lambda values: session.run(None, {n: v.numpy() for n, v in zip(names, values) if n in used})


def _tuple(out):
    return [v.numpy() for v in (out if isinstance(out, tuple) else (out,))]


@pytest.mark.parametrize("network", ["tgt", "gpc"])
@pytest.mark.parametrize("kind", FORMATS)
def test_numbers_agree_with_pytorch_at_every_size(models, exported, kind, network):
    model = models[network]
    run = runner_of(kind, exported(kind, network), model)
    graph, _, names = graph_of(model)
    for batch, frames in SIZES:
        if kind == "exported-program" and frames < 2:
            continue  # its time axis starts at 2
        values = arguments(model, batch, frames)
        want = _tuple(graph(*values))
        got = run(values)
        assert len(got) == len(want) == len(names)
        for name, a, b in zip(names, got, want):
            assert a.shape == b.shape, (name, batch, frames)
            np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4, err_msg=f"{name} at {batch} x {frames}")


def test_graphs_on_plain_tensors_are_the_networks_themselves(models):
    assert graph_of(models["tgt"])[2] == TGT_OUTPUTS and graph_of(models["gpc"])[2] == GPC_OUTPUTS
    for model in models.values():
        one, other = (_tuple(graph_of(model)[0](*arguments(model, 2, 9))) for _ in range(2))
        for a, b in zip(one, other):
            assert np.array_equal(a, b) and a.std() > 1e-4


def test_onnx_files_name_their_inputs_and_outputs(exported):
    import onnx

    model = onnx.load(exported("onnx", "tgt"))
    assert [o.name for o in model.graph.output] == list(TGT_OUTPUTS)
    free = {i.name: [bool(d.dim_param) for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    assert free["points"] == [True, True, False, False] and free["family"] == [True]


def test_an_unknown_format_is_refused(models, tmp_path):
    with pytest.raises(GentgError, match="coreml") as caught:
        export(models["tgt"], tmp_path / "a.mlmodel", "coreml")
    assert caught.value.code == "bad_request" and "onnx" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
