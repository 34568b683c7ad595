"""Weights' files: a round trip, and every way in which a file can be wrong."""

import json

import pytest
import torch

from gentg_blender.core.contract import GentgError
from inference_backend.lifting import weights
from inference_backend.lifting.weights import load_weights, save_weights, sha256_of
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.tgt import TGT, TGTConfig

TINY = TGTConfig(d_space=8, space_heads=2, space_layers=1, d_time=16, time_heads=2, time_layers=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A weights folder as the package has one, with small networks."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    torch.manual_seed(0)
    save_weights(tmp_path / "tgt.safetensors", "tgt", TGT(TINY), {"calibration": [1.1, 0.9]})
    save_weights(
        tmp_path / "gpc.safetensors",
        "gpc",
        GPC(GPCConfig(d_time=16, time_heads=2, time_layers=1, d_tgt=16)),
        {},
    )
    return tmp_path


def refused(kind="tgt", **arguments) -> GentgError:
    with pytest.raises(GentgError) as caught:
        load_weights(kind, **arguments)
    assert caught.value.code == "bad_weights" and caught.value.hint
    return caught.value


def test_what_is_saved_is_loaded(folder):
    torch.manual_seed(0)
    want = TGT(TINY).state_dict()
    loaded = load_weights("tgt")
    assert loaded.sha256 == sha256_of(folder / "tgt.safetensors")
    assert loaded.info == {"calibration": [1.1, 0.9]}
    assert not loaded.model.training and not any(p.requires_grad for p in loaded.model.parameters())
    for name, value in loaded.model.state_dict().items():
        if name in want:
            torch.testing.assert_close(value, want[name], rtol=1e-3, atol=1e-6)  # half precision
    assert isinstance(load_weights("gpc").model, GPC)


def test_saving_one_keeps_the_others_hash(folder):
    table = json.loads((folder / "manifest.json").read_text())
    assert set(table) == {"tgt.safetensors", "gpc.safetensors"}
    for name, entry in table.items():
        assert entry == {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
    assert sorted(p.name for p in folder.iterdir()) == ["gpc.safetensors", "manifest.json", "tgt.safetensors"]


def test_a_missing_file_is_named(folder):
    (folder / "tgt.safetensors").unlink()
    assert refused().file == str(folder / "tgt.safetensors")


def test_one_changed_bit_is_found(folder):
    path = folder / "tgt.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    error = refused()
    assert error.file == str(path) and "hash" in error.message
    load_weights("tgt", path=path)  # a file that was asked for by name has no hash to match


def test_a_truncated_file_is_refused_by_its_hash_and_by_itself(folder):
    path = folder / "tgt.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert refused().file == str(path)
    assert refused(path=path).file == str(path)
    path.write_bytes(b"")
    assert refused(path=path).file == str(path)


def test_weights_of_the_other_network_are_refused(folder):
    error = refused("gpc", path=folder / "tgt.safetensors")
    assert "'tgt'" in error.message and error.file == str(folder / "tgt.safetensors")


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "not json", '{"tgt.safetensors": {}}'])
def test_a_missing_or_damaged_manifest_is_named(folder, text):
    if text is None:
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text(text)
    assert refused().file == str(folder / "manifest.json")


def test_foreign_safetensors_are_refused(folder):
    from safetensors.torch import save_file

    path = folder / "other.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    assert refused(path=path).file == str(path)
    meta = {"kind": "tgt", "config": '{"d_space": 8}', "info": "{}"}
    save_file({"a": torch.zeros(3)}, path, metadata=meta)
    assert refused(path=path).file == str(path)
    save_file({"a": torch.zeros(3)}, path, metadata=meta | {"config": '{"d_spice": 8}'})
    assert "d_spice" in refused(path=path).message
