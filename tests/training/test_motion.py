"""Motion files to joints: against scipy on a made file, against the data's own reader on the real one."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from inference_backend.training.motion import read_motion

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "motion"


def stored(path: Path, clip: str):
    with np.load(path, allow_pickle=False) as z:
        skeleton = json.loads(z["index"].tobytes())["skeletons"]["made"]
        return skeleton, z["rot/" + clip] / 32767, z["pos/" + clip]


def test_joints_stand_where_scipys_rotations_put_them(motion_file, clips):
    clip = clips[1]
    skeleton, quats, root = stored(motion_file, clip.clip_id)
    for t in (0, 40, 149):
        turn, place = {}, {}
        for k, (name, parent) in enumerate(zip(skeleton["names"], skeleton["parents"])):
            own = Rotation.from_quat(quats[t, k][[1, 2, 3, 0]])
            up = skeleton["names"][parent]
            turn[name] = own if parent < 0 else turn[up] * own
            place[name] = root[t] if parent < 0 else place[up] + turn[up].apply(skeleton["offsets"][k])
        for ours, theirs in (
            ("l_hip", "LeftUpLeg"),
            ("r_knee", "RightLeg"),
            ("l_ankle", "LeftFoot"),
            ("r_wrist", "RightFingerBase"),
            ("l_elbow", "LeftForeArm"),
            ("chest", "Spine1"),
        ):
            x, y, z = place[theirs]
            np.testing.assert_allclose(
                clip.xyz[t, J[ours]], [x, -z, y], atol=1e-5
            )  # y up, facing +z -> z up, facing -y


def test_clips_keep_their_names_and_rate(clips):
    assert [c.clip_id for c in clips][:2] == ["made_1_0", "made_1_1"] and clips[-1].subject == "made_3"
    assert all(c.fps == 30 and c.xyz.dtype == np.float32 and c.xyz.shape[1:] == (35, 3) for c in clips)


def directions(xyz: np.ndarray):
    """Left, forward and up of the trunk (T, 3) each."""
    up = xyz[:, J["neck"]] - xyz[:, J["pelvis"]]
    left = xyz[:, J["l_hip"]] - xyz[:, J["r_hip"]]
    return left, np.cross(left, up), up  # z up, facing -y: left is +x, and x cross z is -y


def along(vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return (vector * axis).sum(-1) / np.linalg.norm(axis, axis=-1)


def test_middles_face_hands_and_feet_of_the_made_person(clips):
    for clip in clips:
        x = clip.xyz.astype(float)
        left, ahead, up = directions(x)
        for middle, pair in (("pelvis", "hip"), ("neck", "shoulder"), ("head", "ear")):
            np.testing.assert_allclose(
                x[:, J[middle]], (x[:, J["l_" + pair]] + x[:, J["r_" + pair]]) / 2, atol=1e-5
            )
        assert (along(x[:, J["nose"]] - x[:, J["head"]], ahead) > 0.08).all()
        assert (along(x[:, J["l_ear"]] - x[:, J["r_ear"]], left) > 0.1).all()
        assert (along(x[:, J["head_top"]] - x[:, J["head"]], up) > 0.08).all()
        for side, sign in (("l", 1), ("r", -1)):
            foot = x[:, J[f"{side}_foot_index"]] - x[:, J[f"{side}_heel"]]
            assert 0.2 < np.linalg.norm(foot, axis=-1).mean() < 0.3
            assert (np.linalg.norm(x[:, J[f"{side}_index"]] - x[:, J[f"{side}_wrist"]], axis=-1) < 0.12).all()
            toe = x[:, J[f"{side}_small_toe"]] - x[:, J[f"{side}_foot_index"]]
            assert np.median(sign * along(toe, left)) > 0.02  # the small toe is on the outer side


def test_missing_damaged_and_foreign_files_are_named(tmp_path):
    with pytest.raises(GentgError) as caught:
        read_motion(tmp_path / "none.npz")
    assert caught.value.code == "no_such_file" and caught.value.file == str(tmp_path / "none.npz")
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"not an archive")
    other = tmp_path / "other.npz"
    np.savez(other, a=np.zeros(3))
    empty = tmp_path / "empty.npz"
    np.savez(
        empty, index=np.frombuffer(json.dumps({"fps": 30, "clips": [], "skeletons": {}}).encode(), np.uint8)
    )
    for path in (bad, other, empty):
        with pytest.raises(GentgError) as caught:
            read_motion(path)
        assert caught.value.code == "bad_request" and caught.value.file == str(path)


@pytest.fixture(scope="module")
def real():
    """The training data and a reader that was written for it by others."""
    if not (SHARED / "cmu_mocap.npz").is_file():
        pytest.skip("the shared motion data (../shared/data/motion) is not here: NOT checked on real motion")
    spec = importlib.util.spec_from_file_location("shared_read_motion", SHARED / "read_motion.py")
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    return read_motion(SHARED / "cmu_mocap.npz"), reader.MotionFile(SHARED / "cmu_mocap.npz")


def test_real_joints_agree_with_the_datas_own_reader(real):
    clips, library = real
    theirs = {
        "cmu": {
            "l_hip": "LeftUpLeg",
            "r_hip": "RightUpLeg",
            "l_knee": "LeftLeg",
            "r_knee": "RightLeg",
            "l_ankle": "LeftFoot",
            "r_ankle": "RightFoot",
            "l_wrist": "LeftFingerBase",
            "r_wrist": "RightFingerBase",
        },
        "daz": {
            "l_hip": "lThigh",
            "r_hip": "rThigh",
            "l_knee": "lShin",
            "r_knee": "rShin",
            "l_ankle": "lFoot",
            "r_ankle": "rFoot",
            "l_wrist": "lHand",
            "r_wrist": "rHand",
        },
    }
    assert len(clips) > 300
    kinds = set()
    for clip in clips[::17]:
        found = library.load(clip.clip_id)
        kind = "daz" if found.info["skeleton"] == "cmu_daz" else "cmu"
        kinds.add(kind)
        pos = found.positions()
        for ours, name in theirs[kind].items():
            p = pos[:, found.names.index(name)]
            want = np.stack([p[:, 0], -p[:, 2], p[:, 1]], -1)
            np.testing.assert_allclose(
                clip.xyz[:, J[ours]], want, atol=2e-5, err_msg=f"{clip.clip_id} {ours}"
            )
    assert kinds == {"cmu", "daz"}


def test_real_people_face_forward_and_stand_on_their_feet(real):
    """In upright frames: the nose before the ears, toes before heels, crown on top, left on the left."""
    counts = {"nose": [], "toes": [], "crown": [], "left": []}
    for clip in real[0][::5]:
        x = clip.xyz.astype(float)
        left, ahead, up = directions(x)
        upright = (along(up, np.array([0, 0, 1.0])) / np.linalg.norm(up, axis=-1) > 0.95) & (
            x[:, J["head"], 2] - x[:, [J["l_ankle"], J["r_ankle"]], 2].min(1) > 1.1
        )
        level = [v[upright] for v in (left, ahead)]
        counts["nose"].append(along((x[:, J["nose"]] - x[:, J["head"]])[upright], level[1]) > 0)
        for s in "lr":
            foot = (x[:, J[f"{s}_foot_index"]] - x[:, J[f"{s}_heel"]])[upright]
            counts["toes"].append(along(foot, level[1]) > 0)
        counts["crown"].append((x[:, J["head_top"]] - x[:, J["head"]])[upright][:, 2] > 0.05)
        counts["left"].append(along((x[:, J["l_shoulder"]] - x[:, J["r_shoulder"]])[upright], level[0]) > 0)
    shares = {k: np.concatenate(v).mean() for k, v in counts.items()}
    assert sum(len(v) for v in counts["nose"]) > 10_000
    assert all(share > 0.95 for share in shares.values()), shares
