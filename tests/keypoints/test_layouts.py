import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from gentg_blender.core.skeleton import JOINTS, MAIN_JOINTS, mirror_name
from inference_backend.keypoints.layouts import LAYOUTS, present, to_canonical

# Well-known places, written down independently of the tables: layout -> joint -> index.
KNOWN = {
    "coco17": {"nose": 0, "l_ear": 3, "r_shoulder": 6, "l_wrist": 9, "r_hip": 12, "l_ankle": 15, "r_ankle": 16},
    "halpe26": {"head_top": 17, "l_foot_index": 20, "r_foot_index": 21, "l_small_toe": 22, "r_small_toe": 23,
                "l_heel": 24, "r_heel": 25},
    "wholebody133": {"r_ankle": 16, "l_foot_index": 17, "l_small_toe": 18, "l_heel": 19, "r_foot_index": 20,
                     "r_small_toe": 21, "r_heel": 22, "l_thumb": 94, "l_index": 96, "l_pinky": 108, "r_thumb": 115,
                     "r_index": 117, "r_pinky": 129},
    "blazepose33": {"nose": 0, "l_eye": 2, "r_eye": 5, "l_ear": 7, "r_ear": 8, "l_shoulder": 11, "l_pinky": 17,
                    "r_index": 20, "l_thumb": 21, "l_hip": 23, "r_ankle": 28, "l_heel": 29, "r_foot_index": 32},
    "h36m17": {"pelvis": 0, "r_hip": 1, "l_hip": 4, "spine": 7, "neck": 8, "nose": 9, "head_top": 10,
               "l_shoulder": 11, "r_wrist": 16},
}  # fmt: skip
COUNT = {"coco17": 17, "halpe26": 26, "wholebody133": 133, "blazepose33": 33, "h36m17": 17}


@pytest.mark.parametrize("layout", COUNT)
def test_points_arrive_at_their_joints(layout):
    assert len(LAYOUTS[layout]) == COUNT[layout] == len(set(LAYOUTS[layout]))
    points = np.zeros((COUNT[layout], 3))
    points[:, 0], points[:, 2] = np.arange(COUNT[layout]) * 10, 0.5
    out = to_canonical(points, layout)
    for joint, index in KNOWN[layout].items():
        if joint in ("pelvis", "neck"):
            continue  # derived below
        assert out[J[joint], 0] == index * 10, joint


@pytest.mark.parametrize("layout", COUNT)
def test_layouts_are_symmetric(layout):
    has = present(layout)
    for i, joint in enumerate(JOINTS):
        assert has[i] == has[J[mirror_name(joint)]], joint


def test_what_is_absent_is_absent():
    names = lambda layout: {JOINTS[i] for i in np.flatnonzero(present(layout))}  # noqa: E731
    assert {"spine", "chest", "head_top", "l_heel", "l_index"}.isdisjoint(names("coco17"))
    assert {"pelvis", "neck", "head"} <= names("coco17")
    assert names("h36m17") == set(MAIN_JOINTS)
    assert {"l_small_toe", "spine"}.isdisjoint(names("blazepose33")) and "l_thumb" in names("blazepose33")
    assert not to_canonical(np.ones((17, 3)), "coco17")[J["chest"]].any()


def test_derived_middles():
    points = np.zeros((2, 17, 3))
    points[:, 11], points[:, 12] = (100, 40, 0.9), (120, 44, 0.3)
    points[1, 12, 2] = 0.0
    out = to_canonical(points, "coco17")
    assert np.allclose(out[0, J["pelvis"]], (110, 42, 0.3))
    assert out[1, J["pelvis"], 2] == 0.0
    assert out[0, J["neck"], 2] == 0.0


def test_own_point_stands_where_the_pair_is_missing():
    points = np.zeros((26, 3))
    points[19] = (50, 60, 0.8)  # Halpe's own hip
    assert np.allclose(to_canonical(points, "halpe26")[J["pelvis"]], (50, 60, 0.8))


def test_wrong_layouts_are_refused():
    for points, layout in ((np.zeros((5, 17, 3)), "body25"), (np.zeros((5, 18, 3)), "coco17")):
        with pytest.raises(GentgError) as caught:
            to_canonical(points, layout)
        assert caught.value.code == "bad_keypoints"
