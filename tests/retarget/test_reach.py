"""Hands and feet where the actor's were, on bodies from child to giant, read back by an independent forward kinematics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rig_factory import forward_matrices, make_rig, world_points

from gentg_blender.core.contract import GentgError
from gentg_blender.core.retarget.body import control_rig
from gentg_blender.core.retarget.keys import channels
from gentg_blender.core.retarget.mapping import Mapping
from gentg_blender.core.retarget.reach import reach_actor
from gentg_blender.core.retarget.solve import solve


def stretched(bones, chains, arms):
    """The rig with arms of another length: everything from the shoulder joints on is scaled by `arms`."""
    parent, head = {b.name: b.parent for b in bones}, {b.name: np.array(b.head) for b in bones}
    tops = [chains["upper_arm" + side][0] for side in (".L", ".R")]

    def top(name):
        while name is not None and name not in tops:
            name = parent[name]
        return name

    def moved(point, name):
        at = head[top(name)]
        return tuple(at + arms * (np.array(point) - at))

    return [
        replace(b, head=moved(b.head, b.name), tail=moved(b.tail, b.name)) if top(b.name) else b
        for b in bones
    ]


def retargeted(source, preset, height, hands, feet, arms=1.0):
    """Posed joints (T, 3) by role, the scale of the path, and what fell short."""
    bones, chains = make_rig(preset, height, 0.6, seed=5)
    bones = stretched(bones, chains, arms)
    mapping = Mapping(chains)
    solution = solve(source, control_rig(bones, mapping.used(), np.eye(4)), mapping)
    short = reach_actor(solution, source, hands, feet)
    keys = channels(solution, source.times)
    posed = world_points(bones, forward_matrices(bones, keys.rotation, keys.location, len(source)), np.eye(4))
    at = {role: posed[chain[0]][0] for role, chain in chains.items()}
    return at, solution.scale, short


def hip_centre(at):
    return 0.5 * (at["thigh.L"] + at["thigh.R"])


def actors(source):
    return {role: source.head[:, chain[0]] for role, chain in source.body.chains.items()}


@pytest.mark.parametrize(("height", "arms"), [(1.1, 0.85), (1.1, 1.3), (1.8, 0.9), (2.4, 0.85), (2.4, 1.3)])
@pytest.mark.parametrize("preset", ["mixamo", "daz_8", "unreal_5"])
def test_wrists_are_where_the_scaled_actor_s_were(stride, preset, height, arms):
    at, scale, short = retargeted(stride, preset, height, 1.0, 0.0, arms)
    actor = actors(stride)
    plain, *_ = retargeted(stride, preset, height, 0.0, 0.0, arms)
    for side in (".L", ".R"):
        wanted = hip_centre(at) + scale * (actor["hand" + side] - hip_centre(actor))
        shoulder, elbow, wrist = (at[r + side] for r in ("upper_arm", "forearm", "hand"))
        upper, lower = (np.linalg.norm(v, axis=-1) for v in (elbow - shoulder, wrist - elbow))
        assert np.ptp(upper) < 1e-6 and np.ptp(lower) < 1e-6, "rigid by construction"
        missing = np.maximum(np.linalg.norm(wanted - shoulder, axis=-1) - upper - lower, 0.0)
        error = np.linalg.norm(wrist - wanted, axis=-1)
        # within reach it is there, and beyond the arm is stretched towards it
        assert np.all(error < missing + 0.010), (error - missing).max()
        assert np.all(missing == 0.0) == (arms > 1.0)
        assert short["hand" + side] == pytest.approx(error.max(), abs=2e-3)
        # otherwise the arm's own length decides, and it is another one
        off = np.linalg.norm(plain["hand" + side] - wanted, axis=-1)
        assert np.median(off) > 0.02 * height


@pytest.mark.parametrize("height", [1.1, 2.4])
def test_ankles_keep_their_height_above_the_sole_and_the_strides_their_length(stride, height):
    at, scale, short = retargeted(stride, "mixamo", height, 0.0, 1.0)
    actor = actors(stride)
    for side in (".L", ".R"):
        got = at["foot" + side] - hip_centre(at)
        wanted = scale * (actor["foot" + side] - hip_centre(actor))
        assert np.abs(got - wanted)[:, :2].max() < 0.010 + short["foot" + side]
    assert set(short) == {"foot.L", "foot.R"}


def test_the_mix_lies_between(stride):
    none, half, full = (retargeted(stride, "mixamo", 1.8, a, 0.0, 1.3)[0]["hand.L"] for a in (0.0, 0.5, 1.0))
    apart = np.linalg.norm(full - none, axis=-1)
    assert np.median(apart) > 0.03
    assert np.abs(half - 0.5 * (none + full)).max() < 0.003
    for amount in (-0.1, 1.5):
        with pytest.raises(GentgError, match="between 0 and 1"):
            retargeted(stride, "mixamo", 1.8, amount, 0.0)
