"""Joint positions -> full rotations of all bones, with twist. World axes, matrices (T, 3, 3).

A limb's direction fixes two of its three angles. The third, the roll, comes from points beside
it: pelvis from hips and spine, chest from shoulders, thigh and upper arm from the plane in which
knee and elbow bend, forearm from the knuckles, foot from heel and toes, head from face and ears.
Where the roll cannot be seen (a straight knee has no plane) it is carried over from neighbouring
frames and goes back to rest over about a second.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

from gentg_blender.core.rotations import (
    matrix_to_quat,
    normalize,
    quat_between,
    quat_to_matrix,
)
from gentg_blender.core.skeleton import (
    BONE_INDEX,
    BONE_JOINTS,
    BONE_PARENTS,
    BONES,
    JOINT_INDEX,
    JOINT_PARENTS,
)

from .joint_limits import HINGE_RANGE, PRONATION_RANGE, TURN_RANGE, fold, limit_turn, swing_about
from .rest_pose import RestPose

STRAIGHT = np.radians(6.0)  # a hinge bent less shows no plane at all,
BENT = np.radians(18.0)  # one bent more shows it fully
TWIST_FILTER = 0.03  # seconds: smoothing of a roll that is seen well
TWIST_MEMORY = 1.0  # seconds: how long an unseen roll is carried over before it is back at rest
SCATTERED, AGREED = 0.45, 0.85  # of a limb's length drawn: no direction at all, and a full one
PLANE_SIGMA = 0.35  # radians: a hinge's plane less certain than this is hardly followed
_KNUCKLE_SIGMA = 0.04  # metres: knuckles less certain than this hardly turn the forearm
_POINT_SIGMA = 0.01  # metres: no point counts as more certain
_OWN_ERROR = 0.5  # of a joint's error; the rest it shares with its neighbours
# How far pieces turn from what carries them, one standard deviation: decides what their own
# points leave open. The pelvis is compared with the trunk.
PIECE_SPREAD = {"hips": 0.5, "head": 0.6, "hand": 0.9, "foot": 0.5}


def fit_rotation(
    offsets: np.ndarray, points: np.ndarray, weights: np.ndarray, prior: np.ndarray, spread: float
) -> np.ndarray:
    """Rotations (T, 3, 3) that bring offsets (N, 3) closest to points (T, N, 3), both from the pivot.

    weights (T, N) inverse variances; prior (T, 3, 3) is what the rotation is if no point tells, with
    a standard deviation of `spread` radians. Kabsch 1976; a turn by a from the prior costs
    (1 - cos a) / spread^2, which is trace(R^T prior) / (2 spread^2) and a constant.
    """
    moment = np.einsum("tn,tni,nj->tij", weights, points, offsets) + prior / (2.0 * spread**2)
    u, _, vt = np.linalg.svd(moment)
    u[..., 2] *= np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)[:, None]
    return u @ vt


def _own_variance(sigma: np.ndarray) -> np.ndarray:
    """Variance of a joint against its neighbours in the same piece, from its total error in metres."""
    return _POINT_SIGMA**2 + (_OWN_ERROR * sigma) ** 2


def hips_rotation(x: np.ndarray, rest: RestPose, sigma: np.ndarray) -> np.ndarray:
    """The pelvis (T, 3, 3), rest-aligned (identity at rest), from hips and spine. x (T, 35, 3)."""
    at = [JOINT_INDEX[n] for n in ("l_hip", "r_hip", "spine")]
    offsets = rest.joints[at] - rest.point("pelvis")
    points = x[:, at] - x[:, [JOINT_INDEX["pelvis"]]]
    trunk = _trunk_axes(x) @ _trunk_axes(rest.joints[None])[0].T
    return fit_rotation(offsets, points, 1.0 / _own_variance(sigma[:, at]), trunk, PIECE_SPREAD["hips"])


def _trunk_axes(x: np.ndarray) -> np.ndarray:
    """Left, back, up (T, 3, 3) of the line from pelvis to neck and the line of the shoulders."""
    up = normalize(x[:, JOINT_INDEX["neck"]] - x[:, JOINT_INDEX["pelvis"]])
    left = x[:, JOINT_INDEX["l_shoulder"]] - x[:, JOINT_INDEX["r_shoulder"]]
    left = normalize(left - np.sum(left * up, axis=-1, keepdims=True) * up)
    return np.stack([left, np.cross(up, left), up], axis=-1)


def twist_filter(angle: np.ndarray, weight: np.ndarray, times: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Zero-phase filter of angles (T,) on the circle, each weighted (T,) in 0..1.

    Minimises sum dt (w |u - m|^2 + e |u - rest|^2) + k |du|^2 / dt over points u of the plane,
    whose angle is the answer: a tridiagonal system. Angles in radians, rest is 0.
    """
    frames = len(angle)
    if frames == 1:
        measured = weight * np.exp(1j * angle) + 1e-3
        return np.angle(measured)
    stiffness = TWIST_FILTER**2
    pull = stiffness / TWIST_MEMORY**2
    step = np.diff(times)
    share = np.gradient(times)
    band = np.zeros((2, frames))
    band[1] = share * (weight + pull)
    coupling = np.where(seen[1:] & seen[:-1], stiffness / step, 0.0)
    band[1, 1:] += coupling
    band[1, :-1] += coupling
    band[0, 1:] = -coupling
    right = np.stack([share * (weight * np.cos(angle) + pull), share * weight * np.sin(angle)], axis=-1)
    u = solveh_banded(band, right)
    return np.arctan2(u[:, 1], u[:, 0])


def resolve_chest_twist(
    x: np.ndarray,
    measured: np.ndarray,
    sigma: np.ndarray,
    rest: RestPose,
    times: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Joints (T, 35, 3) with the chest turned about the line from spine to neck; lengths are kept.

    Two stiff pieces between points that noise brings too close together must buckle, and would snap
    from side to side. The side comes from the `measured` chest (T, 35, 3; sigma (T, 35) metres)
    where it lies clearly off the line, else from neighbouring frames and, at last, from the side
    that the chest is on at rest.
    """
    spine, chest, neck = (JOINT_INDEX[n] for n in ("spine", "chest", "neck"))
    hips = hips_rotation(x, rest, sigma)
    axis = normalize(x[:, neck] - x[:, spine])
    rest_line = normalize(rest.joints[neck] - rest.joints[spine])
    rest_off = rest.joints[chest] - rest.joints[spine]
    usual = hips @ normalize(rest_off - (rest_off @ rest_line) * rest_line)
    usual = normalize(usual - np.sum(usual * axis, axis=-1, keepdims=True) * axis)
    beside = np.cross(axis, usual)
    line = normalize(measured[:, neck] - measured[:, spine])
    off = measured[:, chest] - measured[:, spine]
    off = off - np.sum(off * line, axis=-1, keepdims=True) * line
    size = np.sum(off**2, axis=-1)
    weight = size / (size + 4.0 * _own_variance(sigma[:, chest])) * seen  # clear at two standard deviations
    angle = np.arctan2(np.sum(off * beside, axis=-1), np.sum(off * usual, axis=-1))
    angle = twist_filter(angle, weight**2, times, seen)[:, None]
    arm = x[:, chest] - x[:, spine]
    along = np.sum(arm * axis, axis=-1, keepdims=True)
    out = np.linalg.norm(arm - along * axis, axis=-1, keepdims=True)
    settled = x.copy()
    settled[:, chest] = x[:, spine] + along * axis + out * (np.cos(angle) * usual + np.sin(angle) * beside)
    return settled


def rotation_confidence(joints: np.ndarray, rest: RestPose) -> np.ndarray:
    """How far (T, B) the network knows where bones point, 0..1, from its joints (T, 35, 3) in metres.

    Its joints are means over the poses it thinks possible. The mean of unit vectors is as long as they
    agree (the mean resultant length of directional statistics), so that a limb drawn far too short, as
    when left and right of the body change places, has hardly a direction.
    """
    parents = np.maximum(JOINT_PARENTS, 0)
    length = np.linalg.norm(rest.joints - rest.joints[parents], axis=-1)
    drawn = np.linalg.norm(joints - joints[:, parents], axis=-1) / np.maximum(length, 1e-6)
    drawn = np.clip((drawn - SCATTERED) / (AGREED - SCATTERED), 0.0, 1.0)
    confidence = np.ones((len(joints), len(BONES)))
    for bone, (_, tail) in zip(BONES, BONE_JOINTS, strict=True):
        names = {"hips": ("l_hip", "r_hip"), "chest": ("l_shoulder", "r_shoulder")}.get(bone, (tail,))
        confidence[:, BONE_INDEX[bone]] = drawn[:, [JOINT_INDEX[n] for n in names]].min(1)
    return confidence


def _swing(matrix: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Turn bone axes by the shortest way so that y lies along unit `direction`."""
    return quat_to_matrix(quat_between(matrix[..., 1], direction)) @ matrix


def _roll(matrix: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn bone axes about their own y by `angle` (T,)."""
    x, y, z = matrix[..., 0], matrix[..., 1], matrix[..., 2]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([c * x - s * z, y, c * z + s * x], axis=-1)


class _Body:
    """Bones found so far, and the joints they are found from."""

    def __init__(self, x: np.ndarray, sigma: np.ndarray, rest: RestPose, times, seen):
        self.x, self.sigma, self.rest, self.times, self.seen = x, sigma, rest, times, seen
        self.bones = np.empty((len(x), len(BONES), 3, 3))

    def joint(self, name: str) -> np.ndarray:
        return self.x[:, JOINT_INDEX[name]]

    def direction(self, a: str, b: str) -> np.ndarray:
        return normalize(self.joint(b) - self.joint(a))

    def __getitem__(self, bone: str) -> np.ndarray:
        return self.bones[:, BONE_INDEX[bone]]

    def __setitem__(self, bone: str, matrix: np.ndarray) -> None:
        self.bones[:, BONE_INDEX[bone]] = matrix

    def unturned(self, bone: str) -> np.ndarray:
        """The bone as its posed parent carries it, with no rotation of its own."""
        i = BONE_INDEX[bone]
        rest = self.rest.matrix
        return self.bones[:, BONE_PARENTS[i]] @ (rest[BONE_PARENTS[i]].T @ rest[i])

    def piece(self, bone: str, pivot: str, names: list[str], prior: np.ndarray) -> np.ndarray:
        """A rigid piece with several points, as the axes of its bone."""
        at = [JOINT_INDEX[n] for n in names]
        offsets = self.rest.joints[at] - self.rest.point(pivot)
        rest = self.rest.matrix[BONE_INDEX[bone]]
        points = self.x[:, at] - self.joint(pivot)[:, None]
        weights = 1.0 / _own_variance(self.sigma[:, at])
        turn = fit_rotation(offsets, points, weights, prior @ rest.T, PIECE_SPREAD[bone.split(".")[0]])
        return turn @ rest

    def limited(self, bone: str, matrix: np.ndarray, limit: float) -> np.ndarray:
        unturned = self.unturned(bone)
        local = matrix_to_quat(np.swapaxes(unturned, -1, -2) @ matrix)
        kept = limit_turn(local, limit)
        return unturned @ quat_to_matrix(kept)


def bone_rotations(
    x: np.ndarray,
    sigma: np.ndarray,
    rest: RestPose,
    times: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Rotations of all bones (T, B, 4) wxyz from joints (T, 35, 3) of a rigid fit, in the joints' axes.

    sigma (T, 35) metres. Elbows and knees that bend backwards are turned the right way about the
    line from shoulder to wrist or hip to ankle.
    """
    body = _Body(x.copy(), sigma, rest, times, seen)
    body["hips"] = hips_rotation(x, rest, sigma) @ rest.matrix[BONE_INDEX["hips"]]

    y = body.direction("chest", "neck")
    left = body.direction("r_shoulder", "l_shoulder")
    left = normalize(left - np.sum(left * y, axis=-1, keepdims=True) * y)
    body["chest"] = np.stack([left, y, np.cross(left, y)], axis=-1)
    body["spine"] = _between(body.unturned("spine"), body["chest"], body.direction("spine", "chest"))

    loose = _swing(body.unturned("neck"), body.direction("neck", "head"))
    body["neck"] = loose
    face = ["head_top", "nose", "l_eye", "r_eye", "l_ear", "r_ear"]
    head = body.piece("head", "head", face, body.unturned("head"))
    body["neck"] = body.limited("neck", _between(loose, head, loose[..., 1]), TURN_RANGE["neck"])
    body["head"] = body.limited("head", head, TURN_RANGE["head"])

    for s, S in (("l", ".L"), ("r", ".R")):
        _arm(body, s, S)
        _leg(body, s, S)
    # Bone by bone: the conversion's working space is several times its result.
    return np.stack([matrix_to_quat(bone) for bone in np.moveaxis(body.bones, 1, 0)], axis=1)


def _between(a: np.ndarray, b: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Bone axes along `direction` with the roll half-way between those of `a` and `b`."""
    first, second = _swing(a, direction), _swing(b, direction)
    z = normalize(first[..., 2] + second[..., 2])
    return np.stack([np.cross(direction, z), direction, z], axis=-1)


def _hinge(body: _Body, upper: str, joints: tuple[str, str, str], sign: float) -> np.ndarray:
    """Axes of an upper arm or a thigh; z is where the lower bone bends to (`sign` 1) or from (-1).

    Turns the middle joint about the line between the outer ones where it bends backwards.
    """
    root, mid, end = joints
    limit = HINGE_RANGE[upper[:-2]]

    def measure() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        matrix = _swing(body.unturned(upper), body.direction(root, mid))
        bent = sign * body.direction(mid, end)
        along_x = np.sum(bent * matrix[..., 0], axis=-1)
        along_z = np.sum(bent * matrix[..., 2], axis=-1)
        sine = np.hypot(along_x, along_z)
        flexion = np.arctan2(sine, sign * np.sum(bent * matrix[..., 1], axis=-1))
        return matrix, np.arctan2(along_x, along_z), flexion

    matrix, angle, flexion = measure()
    turn = fold(angle, limit) - angle
    backwards = np.abs(angle) > limit
    if backwards.any():
        moved = swing_about(body.joint(root), body.joint(mid), body.joint(end), turn)
        body.x[:, JOINT_INDEX[mid]] = np.where(backwards[:, None], moved, body.joint(mid))
        matrix, angle, flexion = measure()
    weight = np.clip((flexion - STRAIGHT) / (BENT - STRAIGHT), 0.0, 1.0)
    weight = weight * weight * (3.0 - 2.0 * weight) * body.seen
    error = np.sqrt(_own_variance(body.sigma[:, [JOINT_INDEX[n] for n in joints]]).mean(1))
    lower = np.linalg.norm(body.joint(end) - body.joint(mid), axis=-1)
    plane_error = error / np.maximum(lower * np.sin(flexion), 1e-3)
    weight = weight / (1.0 + (plane_error / PLANE_SIGMA) ** 2)
    # A limb folded right back (180 degrees) has no plane either.
    weight = weight * np.clip((np.pi - flexion) / STRAIGHT, 0.0, 1.0)
    return _roll(matrix, twist_filter(fold(angle, limit), weight, body.times, body.seen))


def _arm(body: _Body, s: str, S: str) -> None:
    shoulder, elbow, wrist = (f"{s}_{n}" for n in ("shoulder", "elbow", "wrist"))
    upper, lower, hand = "upper_arm" + S, "forearm" + S, "hand" + S
    body["shoulder" + S] = _swing(body.unturned("shoulder" + S), body.direction("neck", shoulder))
    body[upper] = _hinge(body, upper, (shoulder, elbow, wrist), 1.0)
    straight = _swing(body.unturned(lower), body.direction(elbow, wrist))
    body[lower] = straight
    knuckles = [f"{s}_{n}" for n in ("index", "pinky", "thumb")]
    measured = body.piece(hand, wrist, knuckles, body.unturned(hand))
    # The hand's rotation from the untwisted forearm, in forearm axes: its part about y is pronation.
    i, j = BONE_INDEX[lower], BONE_INDEX[hand]
    rest_in_lower = body.rest.matrix[i].T @ body.rest.matrix[j]
    relative = matrix_to_quat(np.swapaxes(straight, -1, -2) @ measured @ rest_in_lower.T)
    angle = 2.0 * np.arctan2(relative[..., 2], relative[..., 0])
    angle = np.arctan2(np.sin(angle), np.cos(angle))
    at = [JOINT_INDEX[f"{s}_index"], JOINT_INDEX[f"{s}_pinky"]]
    weight = 1.0 / (1.0 + np.mean(body.sigma[:, at] ** 2, axis=1) / _KNUCKLE_SIGMA**2)
    weight = weight * np.clip(np.hypot(relative[..., 0], relative[..., 2]) / 0.3, 0.0, 1.0) * body.seen
    turn = twist_filter(fold(angle, PRONATION_RANGE), weight, body.times, body.seen)
    body[lower] = _roll(straight, turn)
    body[hand] = body.limited(hand, measured, TURN_RANGE["hand"])


def _leg(body: _Body, s: str, S: str) -> None:
    hip, knee, ankle = (f"{s}_{n}" for n in ("hip", "knee", "ankle"))
    thigh, shin, foot = "thigh" + S, "shin" + S, "foot" + S
    body[thigh] = _hinge(body, thigh, (hip, knee, ankle), -1.0)
    body[shin] = _swing(body.unturned(shin), body.direction(knee, ankle))
    points = [f"{s}_{n}" for n in ("heel", "foot_index", "small_toe")]
    body[foot] = body.piece(foot, ankle, points, body.unturned(foot))
    body["toe" + S] = body.unturned("toe" + S)
