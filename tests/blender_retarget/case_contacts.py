"""In Blender: foot contacts are edited on the timeline and the feet are locked from them again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_retarget import build, make_rig, raises, read_back, rigify, source  # noqa: E402
from striding import striding  # noqa: E402

from gentg_blender.core.contract import save_capture  # noqa: E402
from gentg_blender.core.retarget.contacts import runs  # noqa: E402
from gentg_blender.core.rotations import quat_from_axis_angle, quat_multiply  # noqa: E402
from gentg_blender.core.skeleton import BONE_INDEX  # noqa: E402
from gentg_blender.tool.cleanup import revert, smooth_action  # noqa: E402
from gentg_blender.tool.compat import channelbag  # noqa: E402
from gentg_blender.tool.contacts import has_contacts, lock_feet_again, mark_contact  # noqa: E402
from gentg_blender.tool.result import ImportSettings, import_capture  # noqa: E402
from gentg_blender.tool.retarget import RetargetSettings, retarget_to_rig  # noqa: E402
from gentg_blender.tool.rig_reader import read_contacts  # noqa: E402

FRAMES = list(range(1, 121))
BLEND = 5  # frames of 0.15 s


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
    raises("no part of feet or hands", mark_contact, walk, "l_knee", 1, 2)
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


# --------------------------------------------------------------------------- freed from the backend's lock


def locked_and_free(tmp, start=1):
    """A walk as the backend locks it, imported from its file, and where ankles and balls (T, 4, 3) were before the lock."""
    walk, other = armatures(tmp, start)
    return walk, feet(other)


def armatures(tmp, start=1):
    """A walk as the backend locks it, imported from its file, and as it was before the lock: the body drifts,
    higher by a centimetre, and the left leg swings on its own."""
    capture = striding()
    t = np.asarray(capture.timestamps)
    capture.root_free = capture.root + np.stack(
        [0.03 * np.sin(2.3 * t), 0.02 * np.sin(1.7 * t), 0.01 + 0 * t], -1
    )
    capture.local_rotation_free = capture.local_rotation.copy()
    swing = quat_from_axis_angle(np.broadcast_to([1.0, 0.0, 0.0], (len(t), 3)), 0.02 * np.sin(3.1 * t))
    for bone in ("thigh.L", "foot.L"):
        b = BONE_INDEX[bone]
        capture.local_rotation_free[:, b] = quat_multiply(capture.local_rotation[:, b], swing)
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 30, 1.0
    free = replace(capture, local_rotation=capture.local_rotation_free, root=capture.root_free)
    other = import_capture(
        bpy.context, free, ImportSettings(name="free", camera=False, start_frame=start)
    ).armature
    settings = ImportSettings(
        name="walk", camera=False, start_frame=start, capture_file=save_capture(tmp / "walk.npz", capture)
    )
    return import_capture(bpy.context, capture, settings).armature, other


def take_away(walk, stretch, parts=("l_heel", "l_foot_index")):
    for part in parts:
        mark_contact(walk, part, FRAMES[stretch[0]], FRAMES[stretch[1] - 1], False)


def whole(contacts, side):
    """Stretches in which any part of the foot is planted."""
    return runs(contacts[:, 2 * side] | contacts[:, 2 * side + 1])


def off(a, b):
    return np.linalg.norm(a - b, axis=-1)


def test_a_contact_that_is_taken_away_frees_the_foot(tmp):
    walk, free = locked_and_free(tmp)
    before, contacts = feet(walk), contacts_of(walk)
    a, b = next(r for r in whole(contacts, 0) if r[0] > 15)
    assert off(before, free)[a:b, :2].max() > 0.03  # the lock did something there
    take_away(walk, (a, b))
    done = lock_feet_again(bpy.context, walk)
    assert not done.warnings and done.action["gentg_from"].use_fake_user
    after = feet(walk)
    assert off(after, free)[a:b, :2].max() < 0.005
    away = np.r_[: a - BLEND - 1, b + BLEND + 1 : len(FRAMES)]
    assert off(after, before)[away].max() < 0.005  # nothing else moved
    for first, last in whole(contacts, 1):  # and the other foot stands where it stood
        assert off(after, before)[first:last, 2:].max() < 0.005
    jump, was = (np.abs(np.diff(x, 2, axis=0))[:, :2].max() for x in (after, free))
    assert jump < was + 0.012, (jump, was)
    # marked again, it is locked again: from the import, not from what was freed
    for part, column in (("l_heel", 0), ("l_foot_index", 1)):
        for first, last in runs(contacts[:, column]):
            mark_contact(walk, part, FRAMES[first], FRAMES[last - 1], True)
    assert np.array_equal(contacts_of(walk), contacts)
    lock_feet_again(bpy.context, walk)
    assert off(feet(walk), before).max() < 0.005


def test_a_heel_that_lifts_earlier_rolls_as_the_actors_did(tmp):
    walk, free = locked_and_free(tmp)
    before, contacts = feet(walk), contacts_of(walk)
    a, b = next(r for r in flat(contacts, 0) if r[0] > 15)
    heel = (b - 8, b)
    take_away(walk, heel, ["l_heel"])
    assert not lock_feet_again(bpy.context, walk).warnings
    after = feet(walk)
    assert moved(after[:, 1:2].repeat(2, 1), (a, b)) < 0.001  # the ball stays planted
    assert off(after, before)[a:b, 1].max() < 0.02
    rolled = slice(heel[0] + BLEND, heel[1])
    foot, wanted = (x[rolled, 0] - x[rolled, 1] for x in (after, free))
    assert off(foot, wanted).max() < 0.005


def test_contacts_of_a_file_moved_by_ten_frames(tmp):
    walk, free = locked_and_free(tmp)
    before, contacts = feet(walk), contacts_of(walk)
    shift_keys(walk, 10)
    now = contacts_of(walk)
    assert not lock_feet_again(bpy.context, walk, blend=0.05).warnings
    after = feet(walk)
    for a, b in flat(now, 0):
        assert moved(after, (a, b)) < 0.005
    stance = next(r for r in whole(contacts, 0) if r[0] > 15)
    assert off(after, free)[stance[0] : stance[0] + 8, :2].max() < 0.005  # the ten that became free
    for a, b in whole(contacts, 1):
        assert off(after, before)[a:b, 2:].max() < 0.005


def test_times_of_the_import_are_kept(tmp):
    walk, free = locked_and_free(tmp, start=31)
    a, b = next(r for r in whole(contacts_of(walk), 0) if r[0] > 50)
    take_away(walk, (a, b))
    assert not lock_feet_again(bpy.context, walk).warnings
    assert off(feet(walk), free)[a:b, :2].max() < 0.005


def test_what_the_animator_changed_is_not_freed(tmp):
    walk, free = locked_and_free(tmp)
    stances = [r for r in whole(contacts_of(walk), 0) if r[0] > 15][:2]
    bag = channelbag(walk.animation_data.action, walk.animation_data.action_slot)
    curve = bag.fcurves.find('pose.bones["hips"].location', index=0)
    curve.keyframe_points[stances[0][0] + 3].co_ui.y += 0.02
    arm = bag.fcurves.find('pose.bones["forearm.L"].rotation_quaternion', index=1)
    for key in arm.keyframe_points:  # of no concern to the feet
        key.co_ui.y += 0.3
    before = feet(walk)
    for stance in stances:
        take_away(walk, stance)
    done = lock_feet_again(bpy.context, walk)
    (warning,) = done.warnings
    assert "changed since the import" in warning, warning
    (a, b), (c, d) = stances
    after = feet(walk)
    assert off(after, before)[a:b, :2].max() < 0.005  # stays
    assert off(after, free)[c:d, :2].max() < 0.005  # is freed all the same


def test_without_a_free_motion_it_says_why(tmp):
    walk, _ = locked_and_free(tmp)
    before = feet(walk)
    take_away(walk, next(r for r in whole(contacts_of(walk), 0) if r[0] > 15))
    path = Path(walk["gentg_capture"])
    capture = replace(striding(), local_rotation_free=None, root_free=None)
    save_capture(path, capture)
    for why in ("before the foot lock", "does not exist", "does not tell which capture"):
        if why == "does not exist":
            path.unlink()
        elif why.endswith("which capture"):
            del walk["gentg_capture"]
        done = lock_feet_again(bpy.context, walk)
        assert any(why in w for w in done.warnings), (why, done.warnings)
        assert off(feet(walk), before).max() < 0.005


MIXAMO = ("LeftFoot", "LeftToeBase", "RightFoot", "RightToeBase")


def retargeted(source, target, **choices):
    return retarget_to_rig(bpy.context, source, target, settings=RetargetSettings(**choices))


def test_a_foot_freed_on_the_retargeted_rig_moves_as_before_the_lock(tmp):
    for mirror in (False, True):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        walk, other = armatures(tmp)
        action = walk.animation_data.action
        target, twin = (build(make_rig("mixamo", 1.5, 0.5, 3)[0], name) for name in ("target", "twin"))
        retargeted(other, twin, feet=False, mirror=mirror)
        free = feet(twin, MIXAMO)
        retargeted(walk, target, mirror=mirror)
        before, contacts = feet(target, MIXAMO), contacts_of(target)
        side = int(mirror)  # the left leg is the one that was changed
        parts = (["l_heel", "l_foot_index"], ["r_heel", "r_foot_index"])[side]
        a, b = next(r for r in whole(contacts, side) if r[0] > 15)
        mine = [2 * side, 2 * side + 1]
        assert off(before, free)[a:b, mine].max() > 0.02  # the lock did something there
        take_away(target, (a, b), parts)
        done = lock_feet_again(bpy.context, target)
        after = feet(target, MIXAMO)
        assert not done.warnings and walk.animation_data.action == action
        assert off(after, free)[a:b][:, mine].max() < 0.005, (mirror, off(after, free)[a:b][:, mine].max())
        away = np.r_[: a - BLEND - 1, b + BLEND + 1 : len(FRAMES)]
        assert off(after, before)[away].max() < 0.005
        for first, last in whole(contacts, 1 - side):  # the other foot stands as it stood
            assert off(after, before)[first:last][:, [2 - 2 * side, 3 - 2 * side]].max() < 0.005


def test_a_capture_that_is_gone_leaves_the_retargeted_foot_and_says_why(tmp):
    walk, _ = armatures(tmp)
    target = build(make_rig("mixamo", 1.5, 0.5, 3)[0])
    retargeted(walk, target)
    take_away(target, next(r for r in whole(contacts_of(target), 0) if r[0] > 15))
    Path(walk["gentg_capture"]).unlink()
    done = lock_feet_again(bpy.context, target)
    assert any("does not exist" in w for w in done.warnings), done.warnings
    walk.pose.bones["head"].constraints.new("LIMIT_ROTATION")
    walk.pose.bones["hips"].constraints.new("LIMIT_LOCATION").use_min_x = True
    done = lock_feet_again(bpy.context, target)
    assert any("more than its keys" in w for w in done.warnings), done.warnings


def hands_stand(ob, name, first, last):
    hand = read_back(ob, [name], list(range(first, last + 1)))[:, 0]
    return float(np.linalg.norm(hand - hand.mean(0), axis=-1).max())


def hanging(ob, hand, arm, begin, end):
    """First and last of five frames in which the hand passes below its shoulder: it can stay there a while."""
    points = read_back(ob, [hand, arm], list(range(begin, end)))
    middle = begin + int(np.argmin(np.linalg.norm(points[:, 0, :2] - points[:, 1, :2], axis=-1)))
    return middle - 2, middle + 2


def test_a_hand_that_is_pinned_stands_still():
    walk, _ = source()
    names = ["hand.L", "hand.R", "foot.L", "foot.R", "hips", "forearm.L"]
    lock_feet_again(bpy.context, walk)
    before = read_back(walk, names, FRAMES)
    pin = hanging(walk, "hand.L", "upper_arm.L", 30, 60)
    mark_contact(walk, "l_hand", *pin, True)
    assert hands_stand(walk, "hand.L", *pin) > 0.03
    notes = lock_feet_again(bpy.context, walk).warnings
    assert not any("hand" in w for w in notes), notes
    after = read_back(walk, names, FRAMES)
    assert hands_stand(walk, "hand.L", *pin) < 0.001
    assert off(after, before)[:, 1:5].max() < 1e-4  # nothing but that arm
    away = np.r_[: pin[0] - 1 - BLEND - 1, pin[1] + BLEND + 1 : len(FRAMES)]
    assert off(after, before)[away].max() < 1e-4
    lengths = [off(x[:, 0], x[:, 5]) for x in (before, after)]
    assert np.abs(lengths[1] - lengths[0]).max() < 1e-5  # the forearm keeps its length
    # taken back, the arm moves as it did
    mark_contact(walk, "l_hand", 1, 120, False)
    lock_feet_again(bpy.context, walk)
    assert off(read_back(walk, names, FRAMES), before).max() < 1e-4
    mark_contact(walk, "l_hand", 1, 120, True)
    assert any("beyond what the arm reaches" in w for w in lock_feet_again(bpy.context, walk).warnings)


def test_hands_are_pinned_on_retargeted_rigs_and_from_the_capture():
    for kind in ("mixamo", "rigify"):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        walk, _ = source(2.6)
        if kind == "mixamo":
            target, names = build(make_rig("mixamo", 1.5, 0.5, 3)[0]), ("RightHand", "RightArm", "LeftHand")
        else:
            target, names = rigify()[1], ("ORG-hand.R", "ORG-upper_arm.R", "ORG-hand.L")
        right, arm, left = names
        retargeted(walk, target, controls="IK")
        pin = hanging(target, right, arm, 30, 60)
        mark_contact(target, "r_hand", *pin, True)
        assert hands_stand(target, right, *pin) > 0.015
        notes = lock_feet_again(bpy.context, target).warnings
        assert not notes, notes
        assert hands_stand(target, right, *pin) < 0.001 < hands_stand(target, left, *pin)
        # again after a clean-up, from what is keyed then
        smooth_action(bpy.context, target, {"arms": 0.3, "hands": 0.3, "other": 0.3})
        assert hands_stand(target, right, *pin) > 0.002
        lock_feet_again(bpy.context, target)
        assert hands_stand(target, right, *pin) < 0.001
        # pins of the capture go along, to the other side in a mirror
        pin = hanging(walk, "hand.R", "upper_arm.R", 10, 30)
        mark_contact(walk, "r_hand", *pin, True)
        retargeted(walk, target)
        assert hands_stand(target, right, *pin) < 0.001
        retargeted(walk, target, mirror=True)
        assert hands_stand(target, left, *pin) < 0.001 < hands_stand(target, right, *pin)
