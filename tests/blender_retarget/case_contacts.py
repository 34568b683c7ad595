"""In Blender: foot contacts are edited on the timeline and the feet are locked from them again."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import build, make_rig, raises, read_back, rigify, source  # noqa: E402

from gentg_blender.core.retarget.contacts import runs  # noqa: E402
from gentg_blender.tool.cleanup import revert, smooth_action  # noqa: E402
from gentg_blender.tool.compat import channelbag  # noqa: E402
from gentg_blender.tool.contacts import has_contacts, lock_feet_again, mark_contact  # noqa: E402
from gentg_blender.tool.retarget import RetargetSettings, retarget_to_rig  # noqa: E402
from gentg_blender.tool.rig_reader import read_contacts  # noqa: E402

FRAMES = list(range(1, 121))


def contacts_of(ob):
    return read_contacts(ob, np.array(FRAMES, float))


def flat(contacts, side):
    return runs(contacts[:, 2 * side] & contacts[:, 2 * side + 1])


def feet(ob, names=("foot.L", "toe.L", "foot.R", "toe.R")):
    """Ankles and balls (T, 4, 3)."""
    return read_back(ob, list(names), FRAMES)


def moved(points, frames):
    """How far the ankle and the ball of the left foot stray over frames [a, b)."""
    a, b = frames
    return float(np.linalg.norm(points[a:b, :2] - points[a:b, :2].mean(0), axis=-1).max())


def shift_keys(ob, by):
    """What an animator does in the dope sheet: the left foot's contact keys, all but the first, later."""
    data = ob.animation_data
    for name in ("contact_heel.L", "contact_toe.L"):
        curve = channelbag(data.action, data.action_slot).fcurves.find(f'["{name}"]')
        for key in list(curve.keyframe_points)[1:]:
            key.co_ui.x += by
        curve.update()


def test_contacts_moved_by_ten_frames_are_locked_there():
    walk, _ = source()
    before, contacts, action = feet(walk), contacts_of(walk), walk.animation_data.action
    shift_keys(walk, 10)
    now = contacts_of(walk)
    stance = next(r for r in flat(contacts, 0) if r[0] > 15)
    later = (stance[0] + 10, stance[1] + 10)
    assert later in flat(now, 0) and moved(before, later) > 0.1
    done = lock_feet_again(bpy.context, walk)
    after = feet(walk)
    assert done.action != action and action.use_fake_user and walk.animation_data.action == done.action
    for a, b in flat(now, 0):
        assert moved(after, (a, b)) < 0.005, (a, b, moved(after, (a, b)))
    # where it stands later is where it stood
    assert np.linalg.norm(after[later[1] - 1, 0] - before[stance[1] - 1, 0]) < 0.08
    other = np.linalg.norm(after[:, 2] - before[:, 2], axis=-1)  # the right foot's contacts were left alone
    assert np.median(other) < 0.01
    arm = ["hand.L", "head"]
    assert np.array_equal(contacts_of(walk), now) and len(arm) == 2
    # back, and from the first motion again: nothing of the first lock is left
    shift_keys(walk, -10)
    again = lock_feet_again(bpy.context, walk)
    last = feet(walk)
    assert moved(last, later) > 0.1 and moved(last, stance) < 0.005
    assert again.action["gentg_from"] == action
    assert revert(walk) == action and np.abs(feet(walk) - before).max() < 1e-6


def test_marking_frames_keeps_what_lies_beside_them():
    walk, _ = source()
    before = contacts_of(walk)
    mark_contact(walk, "l_heel", 40, 49, True)
    now = contacts_of(walk)
    assert (
        now[39:49, 0].all()
        and np.array_equal(now[:39], before[:39])
        and np.array_equal(now[49:], before[49:])
    )
    mark_contact(walk, "l_heel", 1, 120, False)
    assert not contacts_of(walk)[:, 0].any() and contacts_of(walk)[:, 1].any()
    raises("no part of the feet", mark_contact, walk, "l_knee", 1, 2)
    raises("ends before", mark_contact, walk, "l_heel", 9, 2)
    bones, chains = make_rig("mixamo")
    raises("has no animation", mark_contact, build(bones), "l_heel", 1, 2)


def test_a_foot_that_slides_is_held_once_it_is_marked():
    """A motion with contacts that say nothing: smoothed feet slide, and are marked by hand."""
    walk, _ = source()
    contacts = contacts_of(walk)
    smooth_action(bpy.context, walk, {"legs": 0.4, "feet": 0.4, "path": 0.2})
    sliding = feet(walk)
    stance = flat(contacts, 0)[1]
    assert moved(sliding, stance) > 0.005
    lock_feet_again(bpy.context, walk)
    assert moved(feet(walk), stance) < 0.001
    hips = read_back(walk, ["hips", "hand.L"], FRAMES)
    assert np.abs(np.diff(hips, 2, axis=0)).max() < 0.03  # no jump


def test_retargeted_rigs_are_solved_again_from_their_contacts():
    for kind in ("mixamo", "rigify"):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        walk, _ = source()
        if kind == "mixamo":
            target = build(make_rig("mixamo", 1.5, 0.5, 3)[0])
            names = ("LeftFoot", "LeftToeBase", "RightFoot", "RightToeBase")
        else:
            target, names = rigify()[1], ("ORG-foot.L", "ORG-toe.L", "ORG-foot.R", "ORG-toe.R")
        first = retarget_to_rig(bpy.context, walk, target, settings=RetargetSettings(controls="IK"))
        assert has_contacts(target)
        contacts = contacts_of(target)
        stance = next(r for r in flat(contacts, 0) if r[0] > 15)
        later = (stance[0] + 10, stance[1] + 10)
        shift_keys(target, 10)
        done = lock_feet_again(bpy.context, target)
        after = feet(target, names)
        assert done.action != first.action and first.action.use_fake_user
        assert moved(after, later) < 0.005, (kind, moved(after, later))
        # cleaned up since: what there is is kept, legs and hips apart
        smooth_action(bpy.context, target, {"arms": 0.3, "legs": 0.3, "other": 0.2})
        assert lock_feet_again(bpy.context, target).action.name.endswith("feet locked")
        assert moved(feet(target, names), later) < 0.005, (kind, moved(feet(target, names), later))


def test_without_contacts_it_says_so():
    walk, _ = source(1.0)
    bag = channelbag(walk.animation_data.action, walk.animation_data.action_slot)
    for curve in [c for c in bag.fcurves if "contact" in c.data_path]:
        bag.fcurves.remove(curve)
    assert not has_contacts(walk)
    raises("no foot contacts", lock_feet_again, bpy.context, walk)
