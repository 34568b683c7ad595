"""The metrics reproduce the figures published with the rendered clips for MediaPipe's own 3D."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from inference_backend.evaluation.poses import Poses
from inference_backend.evaluation.readers import read_poses, read_reference
from inference_backend.evaluation.score import score

SHARED = Path(os.environ.get("GENTG_SHARED", Path(__file__).resolve().parents[3] / "shared"))
RENDERED = SHARED / "data" / "video" / "rendered"
CLIPS = ("ballet", "behind_counter", "boxing", "dive_roll", "jump_forward", "run_duck_pan", "scoop_low",
         "sit_stool", "walk_turn")  # fmt: skip

pytestmark = pytest.mark.skipif(
    not RENDERED.is_dir(), reason=f"no rendered clips in {RENDERED}: set GENTG_SHARED"
)


@pytest.mark.parametrize("clip", CLIPS)
def test_published_figures(clip):
    published = json.loads((RENDERED / "scores_mediapipe.json").read_text())[clip]["body12"]
    ours = score(read_poses(RENDERED / "baselines" / "mediapipe" / f"{clip}.npz"),
                 read_reference(RENDERED / clip / "gt.npz"))  # fmt: skip
    v = ours.values
    exact = {"mpjpe": "mpjpe", "p_mpjpe": "p_mpjpe", "mpjpe_rot": "mpjpe_rot", "pa_clip": "n_mpjpe_rot",
             "bone_std": "bone_std", "bone_scale": "bone_scale", "swap": "swap",
             "accel_ref": "accel_gt", "coverage": "coverage"}  # fmt: skip
    for mine, theirs in exact.items():
        assert v[mine] == pytest.approx(published[theirs], rel=1e-4, abs=1e-6), mine
    # Published after a clip-wide rotation, which we leave out: a definition, not a tolerance for bugs.
    assert v["accel_error"] == pytest.approx(published["accel_err"], rel=0.005)
    # Two of 5300 contact steps fall on the other side of the threshold.
    assert v["skate"] == pytest.approx(published["skate"], rel=0.01)
    assert v["skate_ref"] == pytest.approx(published["skate_gt"], rel=0.01)
    for joint, value in published["per_joint_p_mpjpe"].items():
        assert ours.per_joint["p_mpjpe"][joint] == pytest.approx(value, abs=0.06)


def test_published_figures_of_the_real_reference_itself():
    """Its own acceleration (4.5 m/s2) and foot skate (0.065 m/s), as published beside MediaPipe's."""
    path = SHARED / "data" / "video" / "pose2sim_single" / "reference_3d.npz"
    for camera in ("cam01", "cam02"):
        reference = read_reference(path, camera)
        poses = Poses(reference.names, reference.in_camera(), reference.times, reference.frames)
        v = score(poses, reference).values
        assert v["accel_ref"] == pytest.approx(4.5, abs=0.06)
        assert v["skate_ref"] == pytest.approx(0.065, abs=0.006)


def test_truth_scores_zero():
    reference = read_reference(RENDERED / "run_duck_pan" / "gt.npz")
    v = score(
        Poses(reference.names, reference.in_camera(), reference.times, reference.frames), reference
    ).values
    assert reference.camera.moves
    for name in ("mpjpe", "p_mpjpe", "accel_error", "mpjve", "root_error"):
        assert v[name] < 1e-6, name
    assert v["swap"] == 0 and v["pck150"] == 1 and v["skate"] == pytest.approx(v["skate_ref"])
    assert np.isfinite(v["auc"])
