"""One capture against one reference: every metric at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import mirror_name
from inference_backend.evaluation import metrics, uncertainty
from inference_backend.evaluation.poses import FOOT_POINTS, LIMB_BONES, LIMB_JOINTS, Poses, Reference, root_of


@dataclass
class Score:
    """`values`: metric -> number (mm, m/s, m/s^2, m/s^3 or a share; NaN = not applicable)."""

    values: dict[str, float]
    per_joint: dict[str, dict[str, float]] = field(default_factory=dict)  # metric -> joint -> mm
    frames: int = 0
    groups: dict[str, str] = field(default_factory=dict)


def score(
    poses: Poses,
    reference: Reference,
    joints: tuple[str, ...] = LIMB_JOINTS,
    *,
    root: str = "hips",
    feet: bool = True,
) -> Score:
    """Compare over `joints`, centred on the middle of the hips or on the pelvis (`root`), in camera axes.

    `feet=False` leaves out skate and floor, for references whose world has no floor.

    Under a moving camera both are turned into world axes frame by frame, so that the camera's motion is no
    error and no motion of the person. Frames are joined by number; frames of the reference that the capture
    lacks or has not seen count against `coverage` and PCK, not against the other metrics. Raises GentgError.
    """
    missing = [n for n in joints if n not in poses.names or n not in reference.names]
    if missing:
        raise GentgError(
            "bad_request",
            f"These joints are not in both files: {', '.join(missing)}.",
            hint="Both must name their joints as GenTG does, or as gt.npz does.",
        )
    rows, found = _join(poses, reference)
    if not found.any():
        raise GentgError("bad_request", f"The capture and the reference {reference.clip} share no frame.")
    times = reference.times
    turn = np.swapaxes(reference.camera.R, -1, -2)  # camera -> world axes

    def of_capture(array: np.ndarray) -> np.ndarray:
        out = np.full((len(times),) + array.shape[1:], np.nan)
        out[found] = array[rows[found]]
        return out

    everything = of_capture(poses.xyz)
    root_pred = root_of(poses.names, everything, root)
    truth = reference.in_camera()
    root_ref = root_of(reference.names, truth, root)
    pred_all = everything - root_pred[:, None]
    ref_all = truth - root_ref[:, None]
    if reference.camera.moves:
        pred_all, ref_all = _turn(turn, pred_all), _turn(turn, ref_all)
    pick_ref = [reference.names.index(n) for n in joints]
    pred, ref = poses.pick(joints, pred_all), ref_all[:, pick_ref]
    unknown = ~np.isfinite(ref).all(-1)

    errors = metrics.distances(pred, ref)
    aligned = metrics.distances(metrics.procrustes_aligned(pred, ref), ref)
    rotated, _ = metrics.clip_aligned(pred, ref, scale=False)
    scaled, _ = metrics.clip_aligned(pred, ref, scale=True)
    bones, partner = _bones(joints)
    mirror = np.array([joints.index(mirror_name(n)) for n in joints])
    seen = metrics.complete(pred) & ~unknown.any(1)
    values = {
        "coverage": float(metrics.complete(pred).mean()),
        "mpjpe": metrics.mean(errors),
        "n_mpjpe": metrics.mean(metrics.distances(metrics.scale_aligned(pred, ref), ref)),
        "p_mpjpe": metrics.mean(aligned),
        "mpjpe_rot": metrics.mean(metrics.distances(rotated, ref)),
        "pa_clip": metrics.mean(metrics.distances(scaled, ref)),
        "mpjve": metrics.mean(metrics.motion_error(pred, ref, times, 1)),
        "accel_error": metrics.mean(metrics.motion_error(pred, ref, times, 2)),
        "accel_ref": metrics.mean(metrics.motion_size(ref, times, 2)),
        "jitter": metrics.mean(metrics.motion_size(pred, times, 3)),
        "jitter_ref": metrics.mean(metrics.motion_size(ref, times, 3)),
        "pck150": metrics.pck(errors[~unknown]),
        "auc": metrics.auc(errors[~unknown]),
        "bone_std": metrics.bone_std(pred, bones),
        "bone_scale": _bone_scale(pred, ref, bones),
        "side_difference": metrics.side_difference(pred, bones, partner),
        "swap": float(metrics.swapped(pred[seen], ref[seen], mirror).mean()) if seen.any() else float("nan"),
    }
    if feet:
        values |= _feet(poses, reference, everything - root_pred[:, None], turn, of_capture)
    if poses.absolute:
        values["root_error"], values["root_error_percent"] = metrics.root_error(root_pred, root_ref)
    if poses.sigma is not None:
        free = [i for i, n in enumerate(joints) if n != "pelvis"]  # the root has no error to be uncertain of
        sigma = of_capture(poses.pick(joints, poses.sigma))
        values |= uncertainty_values(errors[:, free] / metrics.MM, sigma[:, free])
    per_joint = {
        "mpjpe": {n: metrics.mean(errors[:, i]) for i, n in enumerate(joints)},
        "p_mpjpe": {n: metrics.mean(aligned[:, i]) for i, n in enumerate(joints)},
    }
    groups = {"clip": reference.clip} | reference.groups
    return Score(values, per_joint, int(metrics.complete(pred).sum()), groups)


def uncertainty_values(error: np.ndarray, sigma: np.ndarray) -> dict[str, float]:
    """Metres, equal shapes -> coverage at the usual levels, ECE, AUSE and Spearman's correlation."""
    out = {f"coverage_{round(100 * p)}": uncertainty.coverage(error, sigma, p) for p in uncertainty.LEVELS}
    out["ece"] = uncertainty.calibration_error(error, sigma)
    out["ause"] = uncertainty.ause(error, sigma)
    out["spearman"] = uncertainty.spearman(error, sigma)
    return out


def _join(poses: Poses, reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """For each reference frame: its row in the capture, and whether there is one."""
    row_of = {int(f): i for i, f in enumerate(poses.frames)}
    rows = np.array([row_of.get(int(f), -1) for f in reference.frames])
    return rows, rows >= 0


def _turn(rotation: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.einsum("tij,tnj->tni", rotation, x)


def _bones(joints: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Limb bones between `joints` as index pairs (L, 2), and each bone's mirror image (L,)."""
    kept = [b for b in LIMB_BONES if b[0] in joints and b[1] in joints]
    partner = [kept.index((mirror_name(a), mirror_name(b))) for a, b in kept]
    return np.array([[joints.index(a), joints.index(b)] for a, b in kept]).reshape(-1, 2), np.array(
        partner, int
    )


def _bone_scale(pred: np.ndarray, ref: np.ndarray, bones: np.ndarray) -> float:
    """Median over bones of predicted / true mean length: below 1 for a method that shrinks people."""
    if not len(bones) or not metrics.complete(pred).any():
        return float("nan")
    ours, theirs = (
        np.nanmean(metrics.bone_lengths(pred, bones), 0),
        np.nanmean(metrics.bone_lengths(ref, bones), 0),
    )
    return float(np.median(ours / theirs))


def _feet(
    poses: Poses, reference: Reference, centred: np.ndarray, turn: np.ndarray, of_capture
) -> dict[str, float]:
    """Skate with the reference's root path (the pose's fault alone), with the capture's own, and the floor."""
    feet = tuple(n for n in FOOT_POINTS if n in poses.names and n in reference.names)
    if not feet:
        return {}
    truth = reference.world[:, [reference.names.index(n) for n in feet]]
    stands = metrics.planted(truth, reference.times)
    path = root_of(reference.names, reference.world, "hips")
    moved = _turn(turn, poses.pick(feet, centred)) + path[:, None]
    out = {
        "skate": metrics.foot_skate(moved, reference.times, stands),
        "skate_ref": metrics.foot_skate(truth, reference.times, stands),
    }
    if poses.world is not None:
        own = of_capture(poses.world)
        out["skate_own_root"] = metrics.foot_skate(poses.pick(feet, own), reference.times, stands)
        seen = metrics.complete(own)
        out["floor_mean"], out["floor_max"] = metrics.floor_penetration(own[seen])
    return out
