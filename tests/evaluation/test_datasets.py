"""Readers of Human3.6M and MPI-INF-3DHP on small files made in those forms, and the lift suite on them."""

import json

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import FEET, JOINT_INDEX, JOINTS, MAIN_JOINTS
from inference_backend.evaluation import h36m, mpi3dhp
from inference_backend.evaluation.lift_suite import score_lifts
from inference_backend.evaluation.report import grouped, mean_score
from inference_backend.lifting.lifted import Lifted

RNG = np.random.default_rng(5)
DIST = [-0.2, 0.24, -0.0009, -0.0014, -0.002]


def skeleton(t: int) -> np.ndarray:
    """(T, 17, 3) metres, in MAIN_JOINTS order: a rough person about the origin, moving a little."""
    base = np.zeros((17, 3))
    for i, n in enumerate(MAIN_JOINTS):
        side = {"l": 1, "r": -1}.get(n[0], 0) if n[1] == "_" else 0
        height = {"ankle": -0.85, "knee": -0.43, "hip": 0, "shoulder": 0.5, "elbow": 0.25, "wrist": 0.0}.get(
            n[2:], 0.0
        )
        middle = {"spine": 0.25, "neck": 0.5, "nose": 0.6, "head_top": 0.75}.get(n, 0.0)
        base[i] = side * 0.15, 0.02 * i, height if side else middle
    return base + 0.02 * np.cumsum(RNG.normal(size=(t, 17, 3)), 0) + np.linspace(0, 0.5, t)[:, None, None]


def h36m_files(folder, frames=6, confidence=False):
    """Two subjects, two actions with two takes each, four cameras; exact distorted projections."""
    cameras = {"intrinsics": {}, "extrinsics": {"S9": {}, "S11": {}}}
    K = np.array([[1145.0, 0, 512], [0, 1143.0, 515], [0, 0, 1]])
    for k, name in enumerate(h36m._CAMERAS):
        R = Rotation.from_euler("zx", [90 * k, -100], degrees=True).inv().as_matrix()
        R = (
            Rotation.from_matrix([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).as_matrix()
            @ Rotation.from_euler("z", 90 * k, degrees=True).as_matrix()
        )
        cameras["intrinsics"][name] = {"calibration_matrix": K.tolist(), "distortion": DIST}
        for subject in cameras["extrinsics"]:
            cameras["extrinsics"][subject][name] = {"R": R.tolist(), "t": [[0.0], [100.0], [5000.0]]}
    truth, points = {}, {}
    for subject in ("S9", "S11"):
        truth[subject], points[subject] = {}, {}
        for take in ("Walking", "Walking 1", "Eating", "Eating 2"):
            x = skeleton(frames)
            full = RNG.normal(size=(frames, 32, 3))
            full[:, list(h36m._OF_32)] = x
            truth[subject][take] = full.astype(np.float32)
            views = []
            for name in h36m._CAMERAS:
                e = cameras["extrinsics"][subject][name]
                rvec, _ = cv2.Rodrigues(np.array(e["R"]))
                uv, _ = cv2.projectPoints(
                    full[:, list(h36m._OF_32)].reshape(-1, 3),
                    rvec,
                    np.array(e["t"]) / 1000,
                    K,
                    np.array(DIST),
                )
                uv = uv.reshape(frames, 17, 2)
                uv = np.concatenate([uv, uv[-1:]])  # videos have some frames more
                views.append(
                    np.concatenate([uv, np.full((frames + 1, 17, 1), 0.8)], -1)
                    if confidence
                    else uv.astype(np.float32)
                )
            points[subject][take] = views
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=truth)
    np.savez_compressed(
        folder / "data_2d_h36m_gt.npz",
        positions_2d=points,
        metadata={"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [[4, 5], [1, 2]]},
    )
    (folder / "cameras.json").write_text(json.dumps(cameras))
    return folder / "data_3d_h36m.npz", folder / "data_2d_h36m_gt.npz", folder / "cameras.json"


def oracle(offset):
    """A "lifter" that knows the truth of the case it is given, plus an offset on the left wrist."""
    box = {}

    def watch(cases):
        for case in cases:
            box["reference"] = case.reference
            yield case

    def lift(track, K):
        ref = box["reference"]
        x = np.zeros((len(track), 35, 3))
        camera = np.nan_to_num(ref.in_camera())
        for i, n in enumerate(ref.names):
            x[:, JOINT_INDEX[n]] = camera[:, i]
        x[:, JOINT_INDEX["l_wrist"], 2] += offset(ref)
        root = x[:, :1].copy()
        n = len(track)
        return {"oracle": Lifted(x - root, root[:, 0], np.full((n, 35), 0.1), np.full((n, 35, 3), 0.1), np.zeros(35),
                                 np.zeros((n, len(FEET))), np.array([0, 1.0, 0]))}  # fmt: skip

    return watch, lift


def test_h36m_cases_hold_what_was_filmed(tmp_path):
    cases = list(h36m.h36m_cases(*h36m_files(tmp_path)))
    assert len(cases) == 2 * 4 * 4
    assert {c.reference.groups["action"] for c in cases} == {"Walking", "Eating"}
    for case in cases[::5]:
        case.track.check()
        uv = case.reference.in_camera() @ case.K.T
        uv = uv[..., :2] / uv[..., 2:]
        main = case.track.keypoints[:, [JOINT_INDEX[n] for n in MAIN_JOINTS]]
        # undistortion is the inverse of the dataset's distortion; middles are remade from their pairs
        free = [i for i, n in enumerate(MAIN_JOINTS) if n not in ("pelvis", "neck")]
        np.testing.assert_allclose(main[:, free, :2], uv[:, free], atol=0.05)
        assert (case.track.keypoints[..., 2] > 0).sum(1).tolist() == [17] * 6
        assert case.reference.in_camera()[..., 2].min() > 3


def test_h36m_16_joints_hide_the_nose_and_confidence_is_kept(tmp_path):
    case = next(h36m.h36m_cases(*h36m_files(tmp_path, confidence=True), joints=16))
    assert case.track.keypoints[0, JOINT_INDEX["nose"], 2] == 0
    assert case.track.keypoints[0, JOINT_INDEX["l_knee"], 2] == pytest.approx(0.8)
    assert len(h36m.JOINTS_16) == 16 and "nose" not in h36m.JOINTS_16


def test_h36m_protocol_weighs_actions_equally(tmp_path):
    watch, lift = oracle(lambda ref: 0.17 if ref.groups["action"] == "Eating" else 0.034)
    scores = score_lifts(watch(h36m.h36m_cases(*h36m_files(tmp_path))), lift, MAIN_JOINTS, root="pelvis")[
        "oracle"
    ]
    assert len(scores) == 32
    by_action = grouped(scores, "action", by_frames=True)
    assert [s.groups["action"] for s in by_action] == ["Eating", "Walking"]
    np.testing.assert_allclose([s.values["mpjpe"] for s in by_action], [10.0, 2.0], rtol=1e-5)
    assert mean_score(by_action).values["mpjpe"] == pytest.approx(6.0, rel=1e-5)
    assert by_action[0].per_joint["mpjpe"]["l_wrist"] == pytest.approx(170, rel=1e-5)
    assert by_action[0].values["root_error"] == pytest.approx(0, abs=1e-3)


def test_h36m_faults_are_named(tmp_path):
    three, two, cameras = h36m_files(tmp_path)
    with pytest.raises(GentgError, match="positions_3d"):
        next(h36m.h36m_cases(two, two, cameras))
    with pytest.raises(GentgError, match="S1 is not"):
        next(h36m.h36m_cases(three, two, cameras, subjects=("S1",)))
    (tmp_path / "bad.json").write_text('{"extrinsics": {"S9": {"a": {}}}}')
    with pytest.raises(GentgError, match="camera file"):
        next(h36m.h36m_cases(three, two, tmp_path / "bad.json"))
    with pytest.raises(GentgError, match="16 or 17"):
        next(h36m.h36m_cases(three, two, cameras, joints=15))


def mpi_arrays(t=12):
    order = [MAIN_JOINTS.index(n) for n in mpi3dhp.JOINTS]
    xyz = skeleton(t)[:, order] @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T + [0.3, 0.1, 4.0]
    K = np.array([[1497.0, 0, 1024.7], [0, 1495.2, 1051.0], [0, 0, 1]])
    uv = xyz @ K.T
    valid = np.ones(t, bool)
    valid[3] = False
    return K, uv[..., :2] / uv[..., 2:], 1000 * xyz, valid


def check_mpi(cases, K, xyz):
    case = cases[0]
    np.testing.assert_allclose(case.K, K, rtol=1e-6)
    case.track.check()
    assert case.track.seen.tolist() == [i != 3 for i in range(12)]
    np.testing.assert_allclose(case.reference.world[0], xyz[0] / 1000)
    assert np.isnan(case.reference.world[3]).all()
    watch, lift = oracle(lambda ref: 0.2)
    score = score_lifts(watch(cases), lift, MAIN_JOINTS, root="pelvis")["oracle"][0]
    assert score.values["mpjpe"] == pytest.approx(200 / 17)
    assert score.values["pck150"] == pytest.approx(16 / 17)  # frames without truth don't count
    assert score.frames == 11


def test_mpi_inf_3dhp_npz(tmp_path):
    K, uv, xyz, valid = mpi_arrays()
    np.savez_compressed(
        tmp_path / "data_test_3dhp.npz", data={"TS1": {"data_2d": uv, "data_3d": xyz, "valid": valid}}
    )
    check_mpi(list(mpi3dhp.mpi3dhp_cases(tmp_path / "data_test_3dhp.npz")), K, xyz)


def test_mpi_inf_3dhp_mat(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: .mat files of 3DHP are not tested")
    K, uv, xyz, valid = mpi_arrays()
    (tmp_path / "TS1").mkdir()
    with h5py.File(tmp_path / "TS1" / "annot_data.mat", "w") as mat:
        mat["annot2"], mat["annot3"], mat["valid_frame"] = (
            uv[:, None],
            xyz[:, None],
            valid[:, None].astype(float),
        )
    check_mpi(list(mpi3dhp.mpi3dhp_cases(tmp_path)), K, xyz)


def test_mpi_faults_are_named(tmp_path):
    K, uv, xyz, valid = mpi_arrays()
    path = tmp_path / "a.npz"
    np.savez(path, data={"TS1": {"data_2d": uv, "data_3d": xyz - xyz[:, 14:15], "valid": valid}})
    with pytest.raises(GentgError, match="camera axes"):
        list(mpi3dhp.mpi3dhp_cases(path))
    np.savez(path, data={"TS1": {"data_2d": uv[::-1].copy(), "data_3d": xyz, "valid": valid}})
    with pytest.raises(GentgError, match="do not belong together"):
        list(mpi3dhp.mpi3dhp_cases(path))
    np.savez(path, data={"TS1": {"data_2d": uv}})
    with pytest.raises(GentgError, match="Not a test file"):
        list(mpi3dhp.mpi3dhp_cases(path))
    with pytest.raises(GentgError) as caught:
        list(mpi3dhp.mpi3dhp_cases(tmp_path))
    assert caught.value.code == "no_such_file"


def test_joint_orders_are_of_all_17():
    assert (
        set(mpi3dhp.JOINTS) == set(MAIN_JOINTS) and len(h36m._OF_32) == 17 and set(MAIN_JOINTS) < set(JOINTS)
    )
