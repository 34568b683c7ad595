"""Pickled object arrays are read, and nothing else that a pickle can do."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.evaluation.object_npz import load_object_npz

NESTED = {
    "S9": {"Walking 1": np.arange(24.0).reshape(2, 4, 3), "n": np.float32(2.5)},
    "list": [np.ones((2, 2), np.float32), "text", None, 3],
}


def test_nested_arrays_come_out_as_they_went_in(tmp_path):
    np.savez_compressed(
        tmp_path / "a.npz", positions=NESTED, plain=np.eye(3), objects=np.array([{"a": 1}, "b"], object)
    )
    out = load_object_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(out["positions"]["S9"]["Walking 1"], NESTED["S9"]["Walking 1"])
    assert out["positions"]["S9"]["n"] == 2.5 and out["positions"]["list"][1:] == ["text", None, 3]
    np.testing.assert_array_equal(out["plain"], np.eye(3))
    assert out["objects"].tolist() == [{"a": 1}, "b"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_pickle_protocol_that_numpy_has_used(tmp_path, protocol):
    _write(tmp_path / "a.npz", pickle.dumps(np.array(NESTED, object), protocol))
    out = load_object_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(out["member"]["S9"]["Walking 1"], NESTED["S9"]["Walking 1"])


class _Evil:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("call, args", [(os.system, ("touch {}",)), (eval, ("open('{}', 'w')",)), (open, ("{}", "w")),
                                        (getattr, ("a", "upper")), (np.fromfile, ("{}",)), (bytearray, (10**12,))])  # fmt: skip
def test_code_is_refused_and_not_run(tmp_path, call, args):
    mark = tmp_path / "mark"
    args = tuple(a.format(mark) if isinstance(a, str) else a for a in args)
    np.savez(tmp_path / "evil.npz", positions=np.array({"a": _Evil(call, *args)}, object))
    with pytest.raises(GentgError) as caught:
        load_object_npz(tmp_path / "evil.npz")
    assert caught.value.code == "bad_request" and "will not be opened" in caught.value.message
    assert not mark.exists()


def _write(path, body: bytes):
    with zipfile.ZipFile(path, "w") as archive, archive.open("member.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
        stream.write(body)


def test_codecs_other_than_latin1_and_damaged_files_are_refused(tmp_path):
    import codecs

    _write(tmp_path / "a.npz", pickle.dumps(np.array(_Evil(codecs.encode, "abc", "rot13"), object)))
    with pytest.raises(GentgError, match="will not be opened"):
        load_object_npz(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(GentgError, match="Not a readable npz"):
        load_object_npz(tmp_path / "b.npz")
    _write(tmp_path / "c.npz", pickle.dumps(np.array(NESTED, object))[:-30])
    with pytest.raises(GentgError):
        load_object_npz(tmp_path / "c.npz")
    with pytest.raises(GentgError) as caught:
        load_object_npz(tmp_path / "none.npz")
    assert caught.value.code == "no_such_file"
