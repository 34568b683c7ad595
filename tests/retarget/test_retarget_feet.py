"""Planted feet, hips that come down and knees, on targets from child to giant."""

from __future__ import annotations

import numpy as np
import pytest
from rig_factory import forward_matrices, make_rig, world_points

from gentg_blender.core.retarget.body import control_rig
from gentg_blender.core.retarget.contacts import detect_contacts, runs
from gentg_blender.core.retarget.feet import FeetSettings, plant_feet, reach_wrist
from gentg_blender.core.retarget.keys import channels
from gentg_blender.core.retarget.mapping import Mapping
from gentg_blender.core.retarget.solve import solve


def planted(stride, preset="mixamo", height=1.8, arms=0.5, contacts=None, settings=None, **kwargs):
    bones, chains = make_rig(preset, height, arms, seed=11, **kwargs)
    mapping = Mapping(chains)
    rig = control_rig(bones, mapping.used(), np.eye(4))
    solution = solve(stride, rig, mapping)
    contacts = stride.contacts if contacts is None else contacts
    report = plant_feet(solution, contacts, stride.times, settings)
    keys = channels(solution, stride.times)
    posed = forward_matrices(bones, keys.rotation, keys.location, len(stride))
    return solution, report, bones, chains, posed, world_points(bones, posed, np.eye(4))


def foot_points(bones, chains, posed, side):
    """Heel (behind the ankle, on the floor) and ball, carried by the posed foot."""
    rest = {b.name: b for b in bones}
    foot = rest[chains["foot" + side][0]]
    toe = rest[chains["toe" + side][0]] if "toe" + side in chains else None
    ankle = np.array(foot.head)
    ball = np.array(toe.head if toe else foot.tail)
    along = (ball - ankle) * [1, 1, 0]
    floor = [1, 1, 0]
    points = [(ankle - 0.3 * along) * floor, (ankle + along) * floor]
    from gentg_blender.core.rotations import quat_to_matrix

    rest_matrix = np.eye(4)
    rest_matrix[:3, :3], rest_matrix[:3, 3] = quat_to_matrix(np.array(foot.rotation)), ankle
    ride = posed[foot.name] @ np.linalg.inv(rest_matrix)
    return [np.einsum("tij,j->ti", ride[:, :3, :3], p) + ride[:, :3, 3] for p in points]


@pytest.mark.parametrize("height", [1.1, 1.8, 2.4])
@pytest.mark.parametrize("preset", ["mixamo", "daz_8", "makehuman"])
def test_planted_feet_stand_still_on_the_floor(stride, preset, height):
    solution, report, bones, chains, posed, _ = planted(stride, preset, height)
    assert report.planted > 40 and report.out_of_reach == 0
    for n, side in enumerate((".L", ".R")):
        points = foot_points(bones, chains, posed, side)
        for p in (0, 1):
            for a, b in runs(stride.contacts[:, 2 * n + p]):
                still = points[p][a:b]
                assert np.ptp(still, axis=0).max() < 0.001
                assert np.abs(still[:, 2]).max() < 0.001
            assert points[p][:, 2].min() > -0.002


def toe_tip(bones, chains, posed, side):
    """Tip of the toes on the floor of the rest pose, carried by the posed toe bone."""
    rest = {b.name: b for b in bones}[chains["toe" + side][0]]
    from gentg_blender.core.rotations import quat_to_matrix

    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = quat_to_matrix(np.array(rest.rotation)), rest.head
    ride = posed[rest.name] @ np.linalg.inv(matrix)
    return ride[:, :3, :3] @ (np.array(rest.tail) * [1, 1, 0]) + ride[:, :3, 3]


@pytest.mark.parametrize("height", [1.1, 2.4])
def test_toes_do_not_sink_into_the_floor(stride, height):
    """They follow the pitched foot in swing, so that without care their tips would."""
    solution, _, bones, chains, posed, _ = planted(stride, "mixamo", height)
    for n, side in enumerate((".L", ".R")):
        tip = toe_tip(bones, chains, posed, side)
        assert tip[:, 2].min() > -0.001
        ball = stride.contacts[:, 2 * n + 1]
        assert np.abs(tip[ball, 2]).max() < 0.001  # flat on it while the ball is planted
        assert tip[~stride.contacts[:, 2 * n : 2 * n + 2].any(axis=1), 2].max() > 0.02  # and free in swing


def test_without_contacts_the_motion_is_left_alone(stride):
    high = type(stride)(stride.body, stride.head + [0, 0, 0.4], stride.rotation, stride.times)
    bones, chains = make_rig("mixamo", 1.8, 0.5, seed=11)
    mapping = Mapping(chains)
    rig = control_rig(bones, mapping.used(), np.eye(4))
    solution = solve(high, rig, mapping)
    before = solution.pose.head.copy()
    report = plant_feet(solution, np.zeros_like(stride.contacts), stride.times)
    assert report.planted == 0 and report.lowered == 0.0
    assert np.abs(solution.pose.head - before).max() < 1e-4  # metres; the knee of a straight leg


def test_knees_bend_forward_and_lengths_stay(stride):
    solution, _, bones, chains, _, points = planted(stride, "mixamo", 1.1)
    for side in ("Left", "Right"):
        hip, knee, ankle = (points[n][0] for n in (f"{side}UpLeg", f"{side}Leg", f"{side}Foot"))
        line = (ankle - hip) / np.linalg.norm(ankle - hip, axis=-1, keepdims=True)
        bend = (knee - hip) - np.sum((knee - hip) * line, axis=-1, keepdims=True) * line
        clear = np.linalg.norm(bend, axis=-1) > 0.01
        assert clear.any() and np.all(bend[clear, 1] < 0.0)  # the actor faces -Y
        assert np.ptp(np.linalg.norm(knee - hip, axis=-1)) < 1e-9


def test_hips_come_down_for_short_legs_and_smoothly(stride):
    """Anchors far apart: the standing legs have to spread, so the hips must sink."""
    wide = stride.contacts.copy()
    wide[:] = True  # both feet held for the whole walk: the hips travel away from them
    solution, report, *_ = planted(stride, "mixamo", 1.8, contacts=wide)
    assert report.lowered > 0.05
    hips = solution.pose.head[:, solution.body.chains["hips"][0], 2]
    # no jump: what is lowered comes over several frames
    assert np.abs(np.diff(hips, 2)).max() < 0.06


def test_contacts_high_above_the_floor_stay_there(stride):
    lifted = type(stride)(
        stride.body, stride.head + [0, 0, 0.4], stride.rotation, stride.times, stride.contacts
    )
    _, _, bones, chains, posed, _ = planted(lifted)
    heel = foot_points(bones, chains, posed, ".L")[0]
    a, b = max(runs(stride.contacts[:, 0]), key=lambda r: r[1] - r[0])
    assert heel[a:b, 2].min() > 0.2 and np.ptp(heel[a:b, 2]) < 0.001


def test_easing_is_in_seconds_and_has_no_jumps(stride):
    own = stride.head[:, stride.body.chains["foot.L"][0]]
    fastest = np.linalg.norm(np.diff(own, axis=0), axis=-1).max()
    for blend in (0.1, 0.3):
        solution, *_ = planted(stride, settings=FeetSettings(blend=blend))
        ankle = solution.pose.head[:, solution.body.chains["foot.L"][0]]
        assert np.linalg.norm(np.diff(ankle, axis=0), axis=-1).max() < 1.5 * solution.scale * fastest


def test_contacts_are_found_where_a_foot_stands(walk):
    """A source whose left foot stands for the first half and then flies."""
    head = np.repeat(walk.body.head[None], 60, 0)
    rotation = np.repeat(walk.body.rotation[None], 60, 0)
    head[30:] += np.linspace(0, 1.0, 30)[:, None, None] * [0, -1.0, 0.3]
    source = type(walk)(walk.body, head, rotation, np.arange(60) / 30)
    found = detect_contacts(source)
    assert found[:29].all() and not found[34:].any()


def test_hands_reach_a_pinned_place(stride):
    bones, chains = make_rig("mixamo", 1.5, 0.5, seed=2)
    mapping = Mapping(chains)
    rig = control_rig(bones, mapping.used(), np.eye(4))
    solution = solve(stride, rig, mapping)
    i = solution.body.chains["hand.L"][0]
    target = solution.pose.head[:, i] + [0.0, 0.03, 0.05]
    missed = reach_wrist(solution, ".L", target)
    assert missed.max() < 1e-6
    assert np.abs(solution.pose.head[:, i] - target).max() < 1e-6


def test_the_source_of_these_tests_stands_still_itself(stride):
    """Otherwise a foot that stands would prove nothing."""
    i, j = stride.body.chains["foot.L"][0], stride.body.chains["toe.L"][0]
    for a, b in runs(stride.contacts[:, 0] & stride.contacts[:, 1]):
        assert np.ptp(stride.head[a:b, i], axis=0).max() < 1e-6
    for a, b in runs(stride.contacts[:, 1]):
        assert np.ptp(stride.head[a:b, j], axis=0).max() < 2e-2
