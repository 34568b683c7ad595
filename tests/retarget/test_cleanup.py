"""Clean-up maths against analytic cases."""

from __future__ import annotations

import numpy as np
import pytest
from rig_factory import forward_matrices, make_rig
from scipy.spatial.transform import Rotation

from gentg_blender.core.retarget.body import control_rig
from gentg_blender.core.retarget.cleanup import (
    flip_side,
    floor_shift,
    in_place,
    loop_rotations,
    loop_vectors,
    mirror_channel,
    mirror_motion,
    mirrored_bones,
    reduce_keys,
    rotation_error,
    smooth_rotations,
    vector_error,
)
from gentg_blender.core.retarget.keys import quat_to_euler, smooth
from gentg_blender.core.retarget.mapping import Mapping
from gentg_blender.core.retarget.sampling import basis_rotation, euler_to_quat
from gentg_blender.core.retarget.solve import solve
from gentg_blender.core.rotations import quat_from_axis_angle, rotation_angle

EULER_ORDERS = ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")


def turns(angle, axis=(0.0, 0.0, 1.0)):
    return quat_from_axis_angle(np.broadcast_to(np.array(axis), (len(angle), 3)), angle)


def test_smoothing_keeps_lines_and_has_no_lag():
    t = np.linspace(0, 2, 121)
    line = np.stack([3 * t, 1 - t], -1)
    assert np.abs(smooth(line, t, 0.2) - line).max() < 1e-12
    bump = np.exp(-(((t - 1) / 0.05) ** 2))[:, None]
    assert np.argmax(smooth(bump, t, 0.3)) == np.argmax(bump)


def test_smoothing_is_in_seconds_whatever_the_rate():
    """A sine is damped by the Gaussian's own factor, at 24 and at 120 frames a second."""
    f, width = 3.0, 0.12
    want = np.exp(-0.5 * (2 * np.pi * f * width / 2) ** 2)
    for rate in (30, 120):
        t = np.arange(0, 4, 1 / rate)
        middle, sine = slice(rate, 3 * rate), np.sin(2 * np.pi * f * t)
        out = smooth(sine[:, None], t, width)[middle, 0]
        gain = out @ sine[middle] / (sine[middle] @ sine[middle])
        assert gain == pytest.approx(want, rel=0.02)
        assert np.abs(out - gain * sine[middle]).max() < 0.01


def test_smoothed_rotations_stay_rotations():
    t = np.linspace(0, 1, 61)
    noisy = turns(0.5 * t + 0.05 * np.random.default_rng(0).normal(size=61))
    out = smooth_rotations(noisy * np.where(np.arange(61) % 2, -1, 1)[:, None], t, 0.3)
    assert np.abs(np.linalg.norm(out, axis=-1) - 1).max() < 1e-12
    assert rotation_angle(out[30]) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("bound", [0.002, 0.01, 0.05])
def test_key_reduction_keeps_its_bound(bound):
    t = np.linspace(0, 4, 241)
    q = turns(np.sin(2 * t) + 0.3 * np.sin(9 * t), (0.6, 0.0, 0.8))
    kept = reduce_keys(q, t, bound, mode="QUATERNION")
    assert rotation_error(q, kept, t).max() <= bound and len(kept) < 241
    # the bound is measured as Blender plays it, not only at the keys
    played = np.stack([np.interp(t, t[kept], q[kept, k]) for k in range(4)], -1)
    played = Rotation.from_quat(played[:, [1, 2, 3, 0]])
    error = (Rotation.from_quat(q[:, [1, 2, 3, 0]]).inv() * played).magnitude()
    assert error.max() <= bound + 1e-9
    v = np.stack([np.sin(t), t, t**2], -1)
    kept = reduce_keys(v, t, bound)
    assert vector_error(v, kept, t).max() <= bound
    assert len(reduce_keys(np.stack([t, 2 * t], -1), t, 1e-9)) == 2


@pytest.mark.parametrize("mode", [*EULER_ORDERS, "AXIS_ANGLE"])
def test_key_reduction_keeps_degrees_in_every_rotation_mode(mode):
    """Near a gimbal lock the channels differ by less than the rotations do, and about an axis of an angle by more."""
    t, bound = np.linspace(0, 4, 241), np.radians(1.0)
    if mode == "AXIS_ANGLE":
        values = np.stack([1 + np.sin(2 * t), np.cos(t), np.sin(t), 0 * t + 0.5], -1)
    else:
        values = np.zeros((241, 3))
        for axis, angle in zip(mode, (np.sin(3 * t), 1.4 + 0.1 * np.sin(t), -np.sin(3 * t)), strict=True):
            values[:, "XYZ".index(axis)] = angle
    kept = reduce_keys(values, t, bound, mode=mode)
    played = np.stack([np.interp(t, t[kept], v[kept]) for v in values.T], -1)
    if mode == "AXIS_ANGLE":
        turned = [Rotation.from_rotvec(v[:, :1] * v[:, 1:] / np.linalg.norm(v[:, 1:], axis=1)[:, None])
                  for v in (values, played)]  # fmt: skip
    else:
        turned = [
            Rotation.from_euler(mode.lower(), v[:, ["XYZ".index(c) for c in mode]]) for v in (values, played)
        ]
    assert (turned[0].inv() * turned[1]).magnitude().max() <= bound + 1e-9 and len(kept) < 120


def test_key_reduction_leaves_gaps_held():
    t = np.r_[np.arange(0.0, 10.0), np.arange(60.0, 70.0)]
    held = t == 9.0
    kept = reduce_keys(np.stack([0.01 * t, 0 * t], -1), t, 1.0, held=held)
    assert kept.tolist() == [0, 9, 10, 19]


def test_in_place_takes_the_travel_out():
    t = np.linspace(0, 6, 181)
    path = np.stack([0.03 * np.sin(2 * np.pi * t), -1.2 * t, 0.9 + 0.02 * np.cos(4 * np.pi * t)], -1)
    out = in_place(path, t)
    inner = slice(45, -45)
    assert np.ptp(out[inner, 1]) < 0.02 and np.ptp(out[inner, 0]) > 0.04
    assert np.ptp(out[:, 1]) < 0.05  # at the ends too
    assert np.abs(out[:, 2] - path[:, 2]).max() < 1e-12
    assert np.ptp(in_place(path, t, sway=False)[:, :2], axis=0).max() < 1e-12


def test_floor_is_levelled_and_raised():
    rng = np.random.default_rng(1)
    flat = np.concatenate([rng.uniform(-1, 1, (50, 4, 2)), np.zeros((50, 4, 1))], -1)
    tilt = Rotation.from_euler("xy", [4, -3], degrees=True)
    points = tilt.apply(flat.reshape(-1, 3)).reshape(50, 4, 3) + [0, 0, 0.07]
    turn, shift = floor_shift(points, np.ones((50, 4), bool))
    level = Rotation.from_quat(turn[[1, 2, 3, 0]]).apply(points.reshape(-1, 3)) + shift
    assert np.abs(level[:, 2]).max() < 1e-9
    # feet in one spot say nothing about a tilt
    turn, shift = floor_shift(points[:, :1] * 0.01 + [0, 0, 0.05], np.ones((50, 1), bool))
    assert turn[0] == 1.0 and shift[2] == pytest.approx(-0.05, abs=0.002)
    assert floor_shift(points, np.zeros((50, 4), bool))[1][2] == 0.0


def test_loops_close():
    t = np.linspace(0, 2, 61)
    q = loop_rotations(turns(0.4 * t), t, 0.5)
    assert abs(np.sum(q[0] * q[-1])) == pytest.approx(1.0, abs=1e-12)
    assert np.allclose(q[:40], turns(0.4 * t)[:40])
    v = loop_vectors(np.stack([0.1 * t, -1.0 * t, 0.2 * t], -1), t, 0.5, travel=np.array([0.2, -2.0, 0.0]))
    assert v[-1, 2] == pytest.approx(0.0) and v[-1, 1] == pytest.approx(-2.0)


def test_mirroring_twice_gives_the_motion_back_and_sides_swap(stride):
    bones, chains = make_rig("mixamo", 1.8, 0.4, seed=6)
    rig = control_rig(bones, Mapping(chains).used(), np.eye(4))
    plain = solve(stride, rig, Mapping(chains))
    mirrored = solve(mirror_motion(stride), rig, Mapping(chains))
    left, right = rig.index("LeftHand"), rig.index("RightHand")
    assert np.abs(mirrored.pose.head[:, left] - plain.pose.head[:, right] * [-1, 1, 1]).max() < 1e-9
    again = mirror_motion(mirror_motion(stride))
    assert np.allclose(again.head, stride.head) and np.allclose(again.rotation, stride.rotation)
    assert np.array_equal(again.contacts, stride.contacts) and again.body.chains == stride.body.chains


@pytest.mark.parametrize("preset", ["mixamo", "unreal_5", "daz_8", "biped", "vroid"])
def test_channels_go_to_their_twins_and_the_rig_moves_as_in_a_mirror(preset):
    """Random rotations of every bone, with random rolls, against matrices that are reflected."""
    bones, chains = make_rig(preset, 1.8, 0.4, seed=6)
    twins, normal = mirrored_bones(bones, Mapping(chains))
    assert normal == pytest.approx([1.0, 0.0, 0.0])
    rng = np.random.default_rng(0)
    rotation = {b.name: Rotation.random(3, random_state=rng).as_quat()[:, [3, 0, 1, 2]] for b in bones}
    hips = chains["hips"][0]
    location = {hips: rng.normal(size=(3, 3))}
    rest = {b.name: np.array(b.rotation) for b in bones}
    twin = {b.name: twins.get(b.name, b.name) for b in bones}
    turned = {twin[n]: mirror_channel(q, rest[n], rest[twin[n]], normal) for n, q in rotation.items()}
    moved = {hips: mirror_channel(location[hips], rest[hips], rest[hips], normal)}
    plain = forward_matrices(bones, rotation, location, 3)
    mirrored = forward_matrices(bones, turned, moved, 3)
    for name in (n for c in chains.values() for n in c):
        expected = plain[name][:, :3, 3] * [-1.0, 1.0, 1.0]
        assert np.abs(mirrored[twin[name]][:, :3, 3] - expected).max() < 1e-9, name
    lefts = [n for r, c in chains.items() if r.endswith(".L") for n in c]
    assert all(flip_side(flip_side(n)) == n != twin[n] for n in lefts)


def test_sides_of_names():
    for a, b in (("mixamorig:LeftArm", "mixamorig:RightArm"), ("DEF-hand.L.001", "DEF-hand.R.001"),
                 ("lShldrBend", "rShldrBend"), ("Bip01 L Thigh", "Bip01 R Thigh"), ("thigh_l", "thigh_r"),
                 ("J_Bip_R_Hand", "J_Bip_L_Hand"), ("UPPER_LEFT", "UPPER_RIGHT")):  # fmt: skip
        assert flip_side(a) == b and flip_side(b) == a
    assert flip_side("spine") == "spine" and flip_side("Pelvis") == "Pelvis"


@pytest.mark.parametrize("order", EULER_ORDERS)
def test_euler_orders_against_scipy(order):
    rng = np.random.default_rng(2)
    angles = rng.uniform(-1.4, 1.4, (200, 3))
    # scipy's lower-case sequences turn about fixed axes, first letter first, as Blender's modes do
    places = ["XYZ".index(c) for c in order]
    truth = Rotation.from_euler(order.lower(), angles[:, places])
    q = euler_to_quat(angles, order)
    assert np.abs(Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix() - truth.as_matrix()).max() < 1e-12
    back = euler_to_quat(quat_to_euler(q, order), order)
    assert np.abs(np.abs(np.sum(back * q, -1)) - 1).max() < 1e-12


@pytest.mark.parametrize("order", EULER_ORDERS)
def test_euler_angles_are_continuous_through_full_turns_and_gimbal_lock(order):
    t = np.linspace(0, 1, 301)
    q = turns(4 * np.pi * t, (0.0, 1.0, 0.0))
    angles = quat_to_euler(q, order)
    assert np.abs(np.diff(angles, axis=0)).max() < 0.1 or order[1] == "Y"
    back = euler_to_quat(angles, order)
    assert np.abs(np.abs(np.sum(back * q, -1)) - 1).max() < 1e-9


def test_rotation_modes():
    assert np.allclose(
        basis_rotation("AXIS_ANGLE", np.array([[0.6, 0.0, 2.0, 0.0]])), turns(np.array([0.6]), (0, 1.0, 0))
    )
    assert np.allclose(
        basis_rotation("QUATERNION", np.array([[2.0, 0, 0, 0], [0, 0, 0, 0]])), [[1, 0, 0, 0]] * 2
    )
