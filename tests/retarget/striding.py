"""A walk with feet that truly stand: heel strike, flat, roll over the ball, swing. Contacts are exact.

Needs numpy and gentg_blender.core only, so that it runs inside Blender.
"""

from __future__ import annotations

import numpy as np
from walking import rest_bones, rest_joints, walking

from gentg_blender.core.contract import Capture
from gentg_blender.core.kinematics import local_rotations, two_bone_ik
from gentg_blender.core.rotations import quat_from_axis_angle, quat_identity, quat_multiply, quat_rotate
from gentg_blender.core.skeleton import BONE_INDEX, BONE_PARENTS, BONES

PERIOD, SPEED = 1.2, 1.0  # seconds a stride of two steps, metres a second
STRIKE, FLAT, STANCE = 0.1, 0.4, 0.62  # ends of the phases, as fractions of the period
X = np.array([1.0, 0.0, 0.0])


def _turn_x(angle: np.ndarray) -> np.ndarray:
    return quat_from_axis_angle(np.broadcast_to(X, (len(angle), 3)), angle)


def _foot(t: np.ndarray, offset: float, ankle: np.ndarray, heel: np.ndarray, ball: np.ndarray):
    """Ankle (T, 3), pitch (T,), contacts (T, 2) of one foot. Points are of the rest pose."""
    phase = t / PERIOD + offset
    step, u = np.floor(phase), phase % 1.0

    def place(n):  # where the standing foot's rest pose is moved to on its n-th step
        return (n - offset)[:, None] * PERIOD * SPEED * np.array([0.0, -1.0, 0.0]) + [0, -0.31, 0]

    def stance(v):  # pitch and ankle relative to the place
        pitch = np.where(v < STRIKE, -0.35 * (1 - v / STRIKE), 0.0)
        pitch = np.where(v > FLAT, 0.7 * np.clip((v - FLAT) / (STANCE - FLAT), 0, 1) ** 2, pitch)
        pivot = np.where((v < STRIKE)[:, None], heel, ball)
        return pitch, pivot + quat_rotate(_turn_x(pitch), ankle - pivot)

    pitch, at = stance(np.minimum(u, STANCE))
    at = at + place(step)
    swing = u > STANCE
    s = np.clip((u - STANCE) / (1 - STANCE), 0, 1)
    blend = s * s * (3 - 2 * s)
    next_pitch, next_at = stance(np.zeros_like(u))
    next_at = next_at + place(step + 1)
    at = np.where(
        swing[:, None],
        at + blend[:, None] * (next_at - at) + (0.1 * np.sin(np.pi * s))[:, None] * [0, 0, 1],
        at,
    )
    pitch = np.where(swing, pitch + blend * (next_pitch - pitch), pitch)
    return at, pitch, np.stack([u <= FLAT, (u >= STRIKE) & (u <= STANCE)], axis=-1)


def striding(seconds: float = 4.0, fps: float = 30.0, seed: int = 0) -> Capture:
    """The capture; its arrays of points beyond bones and contacts are the plain walk's."""
    capture = walking(seconds, fps, seed=seed)
    t = np.asarray(capture.timestamps)
    head, tail, rest = rest_bones(seed)
    joint = rest_joints()
    turn = quat_identity(len(t), len(BONES))  # world turns from rest
    phase = 2 * np.pi * t / PERIOD
    hips = head[0] + np.stack([0.02 * np.sin(phase), -SPEED * t, -0.05 + 0.015 * np.cos(2 * phase)], -1)
    yaw = quat_from_axis_angle(np.broadcast_to([0.0, 0, 1.0], (len(t), 3)), 0.08 * np.sin(phase))
    turn[:, :] = yaw[:, None]
    contacts = np.zeros((len(t), 4), bool)
    for n, (s, side) in enumerate((("l_", ".L"), ("r_", ".R"))):
        thigh, shin, foot, toe = (BONE_INDEX[b + side] for b in ("thigh", "shin", "foot", "toe"))
        ball = head[toe] * [1, 1, 0]
        at, pitch, held = _foot(t, 0.5 * n, head[foot], joint[s + "heel"] * [1, 1, 0], ball)
        contacts[:, 2 * n : 2 * n + 2] = held
        hip, knee, ankle = (hips + quat_rotate(yaw, head[b] - head[0]) for b in (thigh, shin, foot))
        leg = two_bone_ik(hip, knee, ankle, at, pole=np.array([0.0, -1.0, 0.0]))
        turn[:, thigh], turn[:, shin] = quat_multiply(leg.upper, yaw), quat_multiply(leg.lower, yaw)
        turn[:, foot] = _turn_x(pitch)
        turn[:, toe] = np.where(held[:, 1:], quat_identity(len(t)), _turn_x(pitch))
        sign = 1.0 if n == 0 else -1.0
        down = quat_from_axis_angle(
            np.broadcast_to([0.0, 1.0, 0.0], (len(t), 3)), np.full(len(t), sign * 1.2)
        )
        swing = _turn_x(-sign * 0.4 * np.sin(phase))
        for bone, bend in (("upper_arm", 0.0), ("forearm", -0.5), ("hand", -0.5)):
            turn[:, BONE_INDEX[bone + side]] = quat_multiply(
                quat_multiply(_turn_x(np.full(len(t), bend)), swing), down
            )
    posed = quat_multiply(turn, np.broadcast_to(rest, turn.shape))
    capture.local_rotation = local_rotations(rest, BONE_PARENTS, posed)
    capture.root, capture.contacts = hips, contacts
    capture.local_rotation_tgt, capture.root_tgt = capture.local_rotation, capture.root
    return capture
