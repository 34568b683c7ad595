"""Rigs for tests: any preset's bone names on a body of any size, rest pose, rolls and extra bones.

Also an independent forward kinematics in 4x4 matrices, as Blender's pose bones work.
"""

from __future__ import annotations

import numpy as np

from gentg_blender.core.retarget.presets import PRESET
from gentg_blender.core.retarget.rig import RigBone
from gentg_blender.core.rotations import (
    basis_from,
    matrix_to_quat,
    quat_from_axis_angle,
    quat_multiply,
    quat_to_matrix,
)
from gentg_blender.core.skeleton import BONES, mirror_name

# Joints of a body of 1 m height in T-pose, facing -Y; deliberately not our own proportions.
JOINTS = {
    "hips": (0, 0.01, 0.54), "spine": (0, 0.015, 0.60), "chest": (0, 0.0, 0.72), "neck": (0, 0.02, 0.83),
    "head": (0, 0.0, 0.88), "head_top": (0, 0.0, 1.0), "shoulder.L": (0.015, -0.01, 0.81),
    "upper_arm.L": (0.10, 0.01, 0.82), "forearm.L": (0.25, 0.02, 0.82), "hand.L": (0.41, 0.01, 0.82),
    "hand_tip.L": (0.46, 0.0, 0.82), "thigh.L": (0.055, 0.0, 0.52), "shin.L": (0.055, -0.01, 0.26),
    "foot.L": (0.055, 0.01, 0.045), "toe.L": (0.06, -0.07, 0.01), "toe_tip.L": (0.062, -0.11, 0.008),
}  # fmt: skip
END = {"hips": "spine", "spine": "chest", "chest": "neck", "neck": "head", "head": "head_top",
       "shoulder": "upper_arm", "upper_arm": "forearm", "forearm": "hand", "hand": "hand_tip", "thigh": "shin",
       "shin": "foot", "foot": "toe", "toe": "toe_tip"}  # fmt: skip
PARENT = {"spine": "hips", "chest": "spine", "neck": "chest", "head": "neck", "shoulder": "chest",
          "upper_arm": "shoulder", "forearm": "upper_arm", "hand": "forearm", "thigh": "hips", "shin": "thigh",
          "foot": "shin", "toe": "foot"}  # fmt: skip


# How rigs hang together as published, where it is not as PARENT says: a bone that stands between a part and
# what it hangs on ({s}: the side as the rig spells it), parts that hang on another one, bones beside the body's.
BETWEEN = {
    "daz_8": {"thigh": "pelvis"}, "daz_9": {"thigh": "pelvis"}, "character_creator": {"thigh": "CC_Base_Pelvis"},
    "makehuman": {"thigh": "pelvis.{s}"}, "bvh_cmu": {"thigh": "{s}HipJoint"},
    "cloudrig": {"toe": "FK-Foot.{s}"},
}  # fmt: skip
HANGS = {"biped": {"shoulder": "neck"}}
BESIDE = {
    "unreal_4": ("ik_foot_root", "ik_hand_root"), "unreal_5": ("ik_foot_root", "ik_hand_root", "interaction"),
    "character_creator": ("CC_Base_L_ToeBaseShareBone",), "mixamo": ("HeadTop_End",),
    "rigify_metarig": ("pelvis.L", "pelvis.R", "breast.L"), "vroid": ("J_Sec_Hair1_01",),
    "smplx": ("jaw", "left_eye_smplhf"), "daz_8": ("lPectoral", "head_end"), "biped": ("Bip01 Footsteps",),
}  # fmt: skip
# Rest poses as they come: arms below the horizontal, legs apart, feet turned out, in radians.
REST_POSE = {
    "unreal_4": (0.85, 0.10, 0.10), "unreal_5": (0.85, 0.10, 0.10), "daz_8": (0.75, 0.09, 0.12),
    "daz_9": (0.70, 0.08, 0.12), "character_creator": (0.65, 0.06, 0.10), "makehuman": (0.75, 0.07, 0.15),
    "rigify": (0.80, 0.02, 0.0), "rigify_metarig": (0.80, 0.02, 0.0), "auto_rig_pro": (0.70, 0.04, 0.10),
    "auto_rig_pro_export": (0.70, 0.04, 0.10), "cloudrig": (0.60, 0.03, 0.05), "smplx": (0.0, 0.09, 0.10),
    "smpl": (0.0, 0.09, 0.10), "biped": (0.5, 0.05, 0.10), "bvh_cmu": (0.0, 0.30, 0.15),
}  # fmt: skip
# Come as FBX: Y up, centimetres, and tails that show along whatever axis the program's joints have.
BY_FBX = ("mixamo", "unreal_4", "unreal_5", "unity", "vroid", "daz_8", "daz_9", "character_creator",
          "auto_rig_pro_export", "smpl", "biped")  # fmt: skip


def joints(
    height: float, arm_angle: float, apart: float = 0.0, toe_out: float = 0.0
) -> dict[str, np.ndarray]:
    """Positions in metres; arms lowered by `arm_angle` radians from the T-pose, legs spread and feet
    turned out by as many."""
    out = {n: np.array(p, float) for n, p in JOINTS.items()}
    pivot = out["upper_arm.L"]
    c, s = np.cos(arm_angle), np.sin(arm_angle)
    down = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    for n in ("forearm.L", "hand.L", "hand_tip.L"):
        out[n] = pivot + down @ (out[n] - pivot)
    pivot, ankle = out["thigh.L"].copy(), out["foot.L"].copy()
    c, s = np.cos(apart), np.sin(apart)
    for n in ("shin.L", "foot.L"):
        x, y, z = out[n] - pivot
        out[n] = pivot + [c * x - s * z, y, z]
    c, s = np.cos(toe_out), np.sin(toe_out)
    for n in ("toe.L", "toe_tip.L"):
        x, y, z = out[n] - ankle
        out[n] = out["foot.L"] + [c * x - s * y, s * x + c * y, z]
    out |= {mirror_name(n): p * [-1, 1, 1] for n, p in out.items() if n.endswith(".L")}
    return {n: height * p for n, p in out.items()}


def make_rig(
    preset: str = "mixamo", height: float = 1.8, arm_angle: float = 0.0, seed: int | None = 0, turn=(1.0, 0, 0, 0),
    unit: float = 1.0, drop: tuple[str, ...] = (), fingers: bool = True, twists: bool = True, published: bool = False,
) -> tuple[list[RigBone], dict[str, tuple[str, ...]]]:  # fmt: skip
    """Bones of a rig and the true map role -> names.

    `seed` rolls every bone at random (None: no rolls). `turn` rotates the armature space and
    `unit` scales it: the object's matrix has to undo both. Roles in `drop` are left out. `published`
    adds how the preset's rigs hang together, their legs and feet in rest and tails as FBX brings them.
    """
    points = joints(height, arm_angle, *REST_POSE.get(preset, (0.0, 0.0, 0.0))[1:] * published)
    between, hangs, beside = (t.get(preset, {}) if published else {} for t in (BETWEEN, HANGS, BESIDE))
    loose = published and preset in BY_FBX
    chains = {
        r: tuple(n.split("|")[0] for n in c) for r, c in PRESET[preset].chains().items() if r not in drop
    }
    rng = np.random.default_rng(seed)
    bones: list[RigBone] = []
    first = None
    R = quat_to_matrix(np.array(turn, float)) / unit

    def add(name, parent, a, b):
        a, b = R @ np.asarray(a, float), R @ np.asarray(b, float)
        if loose and seed is not None:
            axis = rng.normal(size=3)
            b = a + axis / np.linalg.norm(axis) * np.linalg.norm(b - a)
        helper = (
            np.array([0.0, 0.0, 1.0])
            if abs((b - a)[2]) < 0.9 * np.linalg.norm(b - a)
            else np.array([0.0, 1.0, 0])
        )
        q = matrix_to_quat(basis_from(b - a, helper))
        if seed is not None:
            q = quat_multiply(q, quat_from_axis_angle(np.array([0.0, 1.0, 0.0]), rng.uniform(-np.pi, np.pi)))
        bones.append(RigBone(name, parent, tuple(map(float, a)), tuple(map(float, b)), tuple(map(float, q))))
        return name

    if "root" in chains:
        first = add(chains["root"][0], None, (0, 0, 0), (0, 0.2 * height, 0))
    last = {"": first}
    for role in BONES:
        if role not in chains:
            continue
        part, side = role.split(".")[0], role[len(role.split(".")[0]) :]
        a = points[role if role in points else part]
        b = points[END[part] + side] if END[part] + side in points else points[END[part]]
        above = hangs.get(part, part)
        parent = (last.get(above + side) or last.get(above)) if above != part else None
        while above in PARENT and parent is None:
            above = PARENT[above]
            parent = last.get(above + side) or last.get(above)
        parent = parent or first
        if part in between:
            name = between[part].replace(
                "{s}", dict(zip((".L", ".R"), PRESET[preset].sides, strict=True))[side]
            )
            if name not in {o.name for o in bones}:
                add(name, parent, points[PARENT[part] + side if part == "toe" else "hips"], a)
            parent = name if part != "toe" else parent
        steps = len(chains[role])
        for i, name in enumerate(chains[role]):
            parent = add(name, parent, a + (b - a) * i / steps, a + (b - a) * (i + 1) / steps)
        last[role] = parent
        if twists and part in ("upper_arm", "forearm"):
            add(f"extra twist {role}", parent, a + 0.5 * (b - a), a + 0.8 * (b - a))
        if fingers and part == "hand":
            for n, x in enumerate((-0.015, -0.005, 0.005, 0.015)):
                add(f"finger {n} {role}", parent, b + [0, x * height, 0], b + (b - a) + [0, x * height, 0])
    for name in beside:
        add(name, first or bones[0].name, (0, 0, 0), (0, 0.1 * height, 0))
    return bones, chains


def forward_matrices(
    bones: list[RigBone], rotation: dict, location: dict, frames: int
) -> dict[str, np.ndarray]:
    """Name -> posed matrix (T, 4, 4) in armature space, from matrix_basis rotations and locations."""
    rest, posed = {}, {}
    for b in bones:
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = quat_to_matrix(np.array(b.rotation)), b.head
        rest[b.name] = m
        basis = np.tile(np.eye(4), (frames, 1, 1))
        if b.name in rotation:
            basis[:, :3, :3] = quat_to_matrix(rotation[b.name])
        if b.name in location:
            basis[:, :3, 3] = location[b.name]
        if b.parent is None:
            posed[b.name] = m @ basis
        else:
            posed[b.name] = posed[b.parent] @ np.linalg.inv(rest[b.parent]) @ m @ basis
    return posed


def world_points(bones, posed, matrix) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> world head and tail (T, 3)."""
    out = {}
    for b in bones:
        m = matrix @ posed[b.name]
        along = np.linalg.inv(quat_to_matrix(np.array(b.rotation))) @ (np.array(b.tail) - np.array(b.head))
        out[b.name] = (m[:, :3, 3], m[:, :3, :3] @ along + m[:, :3, 3])
    return out


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between vectors (..., 3)."""
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1)))
