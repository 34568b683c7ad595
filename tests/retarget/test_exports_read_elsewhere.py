"""Exports read by programs that share no code with Blender: assimp (FBX), bvhio, pygltflib, usd-core.

Every preset at a whole and at an NTSC rate: joints within 2 mm in every frame, duration within a
frame, height within 1 %, axes, units and bone names.

The files are made by the bpy module in a process of its own. Tests are skipped, with the reason,
where bpy or a reader is missing.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

MAKER = Path(__file__).resolve().parents[1] / "blender_retarget" / "make_exports.py"
FRAMES = 60
RATES = {"30": (30, 1.0), "23.976": (24, 1.001)}  # Blender's fps and fps_base

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bpy") is None, reason="the bpy module is not installed"
)


@pytest.fixture(scope="module", params=RATES)
def exported(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("exports")
    arguments = [str(folder), *map(str, RATES[request.param])]
    run = subprocess.run(
        [sys.executable, str(MAKER), *arguments], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0 and (folder / "truth.json").exists(), run.stdout + run.stderr
    return folder, json.loads((folder / "truth.json").read_text())


def y_up(points):
    """Blender's world as a Y-up program sees it."""
    points = np.asarray(points, float)
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def worlds(nodes, parents, local):
    """World matrices (T, N, 4, 4) from local ones."""
    out = np.zeros_like(local)
    for i in range(len(nodes)):
        out[:, i] = local[:, i] if parents[i] < 0 else out[:, parents[i]] @ local[:, i]
    return out


def compose(position, quaternion_wxyz, scale):
    m = np.tile(np.eye(4), (len(position), 1, 1))
    q = np.asarray(quaternion_wxyz, float)
    m[:, :3, :3] = Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix() * np.asarray(scale, float)[:, None, :]
    m[:, :3, 3] = position
    return m


def check(heads, rest, truth, names, duration, up=y_up):
    """Posed and rest joints in metres, in the file's axes, and seconds from the first key to the last."""
    order = [names.index(n) for n in truth["names"]]
    assert np.abs(heads[:, order] - up(truth["heads"])).max() < 0.002
    vertical = int(np.argmax(np.ptp(up(truth["rest"]), axis=0)))
    assert np.ptp(rest[order, vertical]) == pytest.approx(np.ptp(up(truth["rest"])[:, vertical]), rel=0.01)
    # a frame is allowed; drift that would show in a longer take is not
    assert duration == pytest.approx((FRAMES - 1) / truth["rate"], rel=2e-4)


def read_by_assimp(path, tmp_path, unit):
    """Names, rest heads (N, 3), posed heads (T, N, 3) in metres and the duration in seconds."""
    tool = shutil.which("assimp")
    if tool is None:
        pytest.skip("assimp is not installed (Debian: assimp-utils)")
    text = tmp_path / "scene.json"
    subprocess.run(
        [tool, "export", str(path), str(text), "-fassjson"], check=True, capture_output=True, timeout=120
    )
    scene = json.loads(text.read_text())
    names, parents, rest = [], [], []

    def walk(node, parent):
        names.append(node["name"])
        parents.append(parent)
        rest.append(np.array(node["transformation"], float).reshape(4, 4))
        here = len(names) - 1
        for child in node.get("children", []):
            walk(child, here)

    walk(scene["rootnode"], -1)
    assert len(scene["animations"]) == 1
    animation = scene["animations"][0]
    local = np.tile(np.array(rest), (FRAMES, 1, 1, 1))
    for channel in animation["channels"]:
        at = names.index(channel["name"])
        tracks = [channel[k] for k in ("positionkeys", "rotationkeys", "scalingkeys")]

        def full(keys):
            values = np.array([k[1] for k in keys], float)
            return values if len(values) == FRAMES else np.repeat(values[:1], FRAMES, 0)

        for keys in tracks:
            assert len(keys) in (1, FRAMES)
        local[:, at] = compose(*(full(k) for k in tracks))
    heads = worlds(names, parents, local)[:, :, :3, 3] * unit
    still = worlds(names, parents, np.array(rest)[None])[0, :, :3, 3] * unit
    return names, still, heads, animation["duration"] / animation["tickspersecond"], np.array(rest)


@pytest.mark.parametrize("preset", ["fbx_blender", "fbx_unreal", "fbx_unity", "fbx_maya"])
def test_fbx_by_assimp(exported, tmp_path, preset):
    folder, truth = exported
    path = folder / truth["files"][preset]
    data = path.read_bytes()
    at = data.index(b"UnitScaleFactor")  # a double behind the property's type names; FBX counts centimetres
    centimetres = float(np.frombuffer(data[at:].split(b"NumberS", 1)[1][5:13], "<f8")[0])
    names, rest, heads, duration, local = read_by_assimp(path, tmp_path, centimetres / 100.0)
    check(heads, rest, truth, names, duration)
    order = [names.index(n) for n in truth["names"]]
    assert np.abs(rest[order] - y_up(truth["rest"])).max() < 0.002
    assert not any(n.endswith("_end") or n.endswith("_leaf") for n in names)
    scale = np.linalg.norm(local[names.index("walk")][:3, :3], axis=0)
    assert scale == pytest.approx(np.full(3, 100.0 if preset == "fbx_blender" else 1.0))
    if preset == "fbx_maya":  # joints point along their own X
        shin, foot = names.index("shin.L"), names.index("foot.L")
        offset = local[foot][:3, 3]
        assert shin and abs(offset[0]) == pytest.approx(np.linalg.norm(offset), rel=1e-4)


def test_fbx_at_a_whole_rate_by_assimp(exported, tmp_path):
    """The preset for Blender's older importer: as many keys, at whole frames of 24 instead of 23.976 a second."""
    folder, truth = exported
    whole = round(truth["rate"])
    names, _, heads, duration, _ = read_by_assimp(
        folder / truth["files"]["fbx_blender_legacy"], tmp_path, 0.01
    )
    assert abs(duration - (FRAMES - 1) / truth["rate"]) < 1.0 / truth["rate"]
    at = np.minimum(np.arange(FRAMES) * truth["rate"] / whole, FRAMES - 1)
    before = np.minimum(at.astype(int), FRAMES - 2)
    share = (at - before)[:, None, None]
    want = y_up(truth["heads"])
    want = (1 - share) * want[before] + share * want[before + 1]
    assert np.abs(heads[:, [names.index(n) for n in truth["names"]]] - want).max() < 0.002


def test_bvh_by_bvhio(exported):
    bvhio = pytest.importorskip("bvhio")
    folder, truth = exported
    root = bvhio.readAsHierarchy(str(folder / truth["files"]["bvh"]))
    names = [joint.Name for joint, _, _ in root.layout()]
    heads = np.zeros((FRAMES, len(names), 3))
    for t in range(FRAMES):
        root.loadPose(t)
        for i, (joint, _, _) in enumerate(root.layout()):
            heads[t, i] = [*joint.PositionWorld]
    root.loadRestPose(recursive=True)
    rest = np.array([[*joint.PositionWorld] for joint, _, _ in root.layout()])
    container = bvhio.readAsBvh(str(folder / truth["files"]["bvh"]))
    assert container.FrameCount == FRAMES
    check(heads / 100.0, rest / 100.0, truth, names, (FRAMES - 1) * container.FrameTime)


def test_gltf_by_pygltflib(exported):
    pygltflib = pytest.importorskip("pygltflib")
    folder, truth = exported
    gltf = pygltflib.GLTF2().load(str(folder / truth["files"]["gltf"]))
    blob = gltf.binary_blob()

    def array(index):
        accessor = gltf.accessors[index]
        view = gltf.bufferViews[accessor.bufferView]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor.type]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        assert accessor.componentType == pygltflib.FLOAT
        return np.frombuffer(blob, "<f4", accessor.count * width, start).reshape(accessor.count, width)

    children = {c: i for i, n in enumerate(gltf.nodes) for c in n.children or []}
    order: list[int] = []
    for i in range(len(gltf.nodes)):  # parents first
        line = []
        while i is not None and i not in order:
            line.append(i)
            i = children.get(i)
        order += reversed(line)
    nodes = [gltf.nodes[i] for i in order]
    parents = [order.index(children[i]) if i in children else -1 for i in order]
    values = {
        "translation": [np.array(n.translation or [0, 0, 0], float) for n in nodes],
        "rotation": [np.array(n.rotation or [0, 0, 0, 1], float) for n in nodes],
        "scale": [np.array(n.scale or [1, 1, 1], float) for n in nodes],
    }
    tracks = {k: [np.repeat(v[None], FRAMES, 0) for v in vs] for k, vs in values.items()}
    assert len(gltf.animations) == 1
    duration = 0.0
    for channel in gltf.animations[0].channels:
        sampler = gltf.animations[0].samplers[channel.sampler]
        times, out = array(sampler.input)[:, 0], array(sampler.output)
        if len(times) == FRAMES:
            duration = float(times[-1] - times[0])
            assert np.allclose(times, np.arange(FRAMES) / truth["rate"], atol=1e-4)
            tracks[channel.target.path][order.index(channel.target.node)] = out
        else:
            assert np.ptp(out, axis=0).max() < 1e-6  # something that stands still
            tracks[channel.target.path][order.index(channel.target.node)] = np.repeat(out[:1], FRAMES, 0)

    def posed(arrays):
        channels = zip(*(arrays[k] for k in ("translation", "rotation", "scale")), strict=True)
        local = np.stack([compose(t, r[:, [3, 0, 1, 2]], s) for t, r, s in channels], axis=1)
        return worlds(nodes, parents, local)[:, :, :3, 3]

    still = posed({k: [v[None] for v in vs] for k, vs in values.items()})[0]
    check(posed(tracks), still, truth, [n.name for n in nodes], duration)


def test_usd_by_its_own_library(exported):
    folder, truth = exported
    if "usd" not in truth["files"]:
        pytest.skip("this bpy has no USD")
    pytest.importorskip("pxr", reason="no USD reader (usd-core) is installed")
    from pxr import Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.Open(str(folder / truth["files"]["usd"]))
    assert stage.GetTimeCodesPerSecond() == pytest.approx(truth["rate"], rel=1e-4)
    metres = UsdGeom.GetStageMetersPerUnit(stage)
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    skeletons = [p for p in stage.Traverse() if p.IsA(UsdSkel.Skeleton)]
    assert len(skeletons) == 1
    skeleton = UsdSkel.Skeleton(skeletons[0])
    # Blender writes a SkelRoot only around skinned meshes, so that the motion is bound by hand here
    bound = UsdSkel.BindingAPI(skeletons[0]).GetAnimationSource()
    motion = UsdSkel.Cache().GetAnimQuery(UsdSkel.Animation(bound))
    joints = skeleton.GetJointsAttr().Get()
    assert list(motion.GetJointOrder()) == list(joints)
    topology = UsdSkel.Topology(joints)
    times = motion.GetJointTransformTimeSamples()
    assert len(times) == FRAMES
    place = UsdGeom.XformCache()

    def world(local, time):
        place.SetTime(time)
        posed = np.array(UsdSkel.ConcatJointTransforms(topology, local))
        posed = posed @ np.array(place.GetLocalToWorldTransform(skeletons[0]))  # USD's vectors are rows
        return metres * posed[:, 3, :3]

    heads = np.array([world(motion.ComputeJointLocalTransforms(t), t) for t in times])
    # bind transforms are the rest pose, in the world; Blender's "rest" transforms are the pose of the first frame
    rest = metres * np.array([np.array(m) for m in skeleton.GetBindTransformsAttr().Get()])[:, 3, :3]
    names = [str(path).rsplit("/", 1)[-1] for path in joints]
    truth = {**truth, "names": [n.replace(".", "_") for n in truth["names"]]}  # USD allows no dots in names
    duration = (times[-1] - times[0]) / stage.GetTimeCodesPerSecond()
    check(heads, rest, truth, names, duration, up=np.asarray)
