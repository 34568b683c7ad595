"""Times in a binary glTF, scaled in place: files made by hand, read back by pygltflib."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from gentg_blender.core.retarget.glb import set_duration


def glb(times: list[np.ndarray], values: np.ndarray, **changes) -> bytes:
    """Samplers whose times lie behind a block of other data, as exporters mix them."""
    blob = values.astype("<f4").tobytes()
    views = [{"buffer": 0, "byteLength": len(blob)}]
    accessors = [{"bufferView": 0, "componentType": 5126, "count": len(values), "type": "SCALAR"}]
    for t in times:
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": 4 * len(t)})
        accessors.append({"bufferView": len(views) - 1, "componentType": 5126, "count": len(t), "type": "SCALAR",
                          "min": [float(t[0])], "max": [float(t[-1])], **changes})  # fmt: skip
        blob += t.astype("<f4").tobytes()
    scene = {"asset": {"version": "2.0"}, "bufferViews": views, "accessors": accessors, "buffers": [{"byteLength": len(blob)}],
             "nodes": [{"name": "Hüfte"}], "animations": [{"channels": [], "samplers": [{"input": 1 + i, "output": 0} for i in range(len(times))]}]}  # fmt: skip
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def test_all_times_are_scaled_and_nothing_else(tmp_path):
    pygltflib = pytest.importorskip("pygltflib")
    every, ends = np.arange(5) / 24.024, np.array([0.0, 4 / 24.024])
    values = np.arange(7.0)
    out = set_duration(glb([every, ends], values), 4 / 24 * 1.001)
    (tmp_path / "a.glb").write_bytes(out)
    read = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert read.nodes[0].name == "Hüfte" and len(out) == struct.unpack_from("<I", out, 8)[0]

    def array(i):
        view = read.bufferViews[read.accessors[i].bufferView]
        return np.frombuffer(read.binary_blob(), "<f4", read.accessors[i].count, view.byteOffset or 0)

    assert np.array_equal(array(0), values.astype("<f4"))
    assert array(1) == pytest.approx(np.arange(5) * 1.001 / 24, rel=1e-6)
    assert array(2) == pytest.approx([0.0, 4 * 1.001 / 24], rel=1e-6)
    assert read.accessors[1].max == pytest.approx([4 * 1.001 / 24], rel=1e-6)


def test_right_times_and_stills_stay_as_they_are():
    data = glb([np.arange(4) / 30], np.zeros(4))
    assert set_duration(data, 0.1) == data
    still = glb([np.zeros(1)], np.zeros(1))
    assert set_duration(still, 0.0) == still


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="not a GLB"):
        set_duration(b"glTF text", 1.0)
    with pytest.raises(ValueError, match="plain floats"):
        set_duration(glb([np.arange(4) / 30], np.zeros(4), componentType=5123), 1.0)
