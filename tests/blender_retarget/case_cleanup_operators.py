"""In Blender: the clean-up operators as scripts call them and as the panel's buttons do."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from case_contacts import contacts_of, feet, flat, moved, shift_keys  # noqa: E402
from case_retarget import build, make_rig, read_back, source  # noqa: E402

import gentg_blender  # noqa: E402

FRAMES = list(range(1, 61, 3))


@contextmanager
def registered():
    gentg_blender.register()
    try:
        yield bpy.ops.gentg
    finally:
        gentg_blender.unregister()


def fails(call, **keywords) -> str:
    try:
        call(**keywords)
    except RuntimeError as error:
        return str(error)
    raise AssertionError("no error was reported")


def test_every_step_by_keywords_and_back():
    walk, _ = source(2.0)
    with registered() as ops:
        bpy.context.view_layer.objects.active = walk
        first = walk.animation_data.action
        names = ["hips", "hand.L", "foot.R"]
        before = read_back(walk, names, FRAMES)
        for call, keywords, word in (
            (ops.smooth, {"arms": 0.4}, "smoothed"), (ops.reduce_keys, {"degrees": 2.0, "millimetres": 10.0}, "reduced"),
            (ops.in_place, {"sway": False}, "in place"), (ops.align_floor, {}, "on the floor"),
            (ops.make_loop, {"loop_seconds": 0.3, "keep_travel": False}, "looped"), (ops.mirror, {}, "mirrored"),
            (ops.relock_feet, {"blend": 0.2}, "feet locked"),
        ):  # fmt: skip
            assert call(**keywords) == {"FINISHED"}
            new = walk.animation_data.action
            assert new != first and new.name == f"{first.name} {word}" and first.use_fake_user, new.name
            assert np.abs(read_back(walk, names, FRAMES) - before).max() > 1e-4 or word == "on the floor", (
                word
            )
            assert ops.revert_cleanup() == {"FINISHED"} and walk.animation_data.action == first
        assert np.abs(read_back(walk, names, FRAMES) - before).max() < 1e-6
        assert ops.to_nla(name="take 1") == {"FINISHED"}
        assert walk.animation_data.nla_tracks["take 1"].strips[0].action == first


def test_the_panel_s_values_are_taken_when_pressed():
    walk, _ = source(2.0)
    with registered() as ops:
        bpy.context.view_layer.objects.active = walk
        assert "No part of the body" in fails(ops.smooth)
        # a background Blender calls no `invoke`, so that it is called here
        from gentg_blender.ui import operators_cleanup

        steps = [c for c in operators_cleanup.CLASSES if getattr(c, "taken", ())]
        assert len(steps) == 5
        for n, cls in enumerate(steps):
            settings, pressed = bpy.context.scene.gentg_cleanup, SimpleNamespace(taken=cls.taken)
            pressed.execute = lambda context, p=pressed: vars(p)
            for name in cls.taken:
                setattr(settings, name, n % 2 if isinstance(getattr(settings, name), bool) else 0.25 + n)
            got = cls.invoke(pressed, bpy.context, None)
            assert all(got[name] == getattr(settings, name) for name in cls.taken)
        assert ops.smooth(hands=0.5) == {"FINISHED"}
        assert walk.animation_data.action.name.endswith("smoothed")
        assert ops.in_place() == {"FINISHED"} and ops.in_place() == {"FINISHED"}  # there and back
        assert walk.animation_data.action.name.endswith("smoothed")


def test_poll_says_what_to_select():
    with registered() as ops:
        assert not ops.smooth.poll() and "Select the armature" in fails(ops.smooth)
        target = build(make_rig("mixamo")[0])
        bpy.context.view_layer.objects.active = target
        assert not ops.make_loop.poll() and "has no animation" in fails(ops.make_loop)
        walk, _ = source(1.0)
        bpy.context.view_layer.objects.active = walk
        assert ops.smooth.poll() and "not made by a clean-up" in fails(ops.revert_cleanup)
        ops.to_nla()
        assert "plays NLA strips" in fails(ops.mirror)


def test_contacts_are_marked_and_locked():
    walk, _ = source()
    with registered() as ops:
        bpy.context.view_layer.objects.active = walk
        contacts, before = contacts_of(walk), feet(walk)
        a, b = flat(contacts, 0)[1]
        for part in ("L_HEEL", "L_FOOT_INDEX"):
            assert ops.mark_contact(part=part, first=b - 3, last=b + 8, planted=True) == {"FINISHED"}
        stance = (a, b + 8)
        assert stance in flat(contacts_of(walk), 0) and moved(before, stance) > 0.05
        assert ops.relock_feet() == {"FINISHED"}
        assert moved(feet(walk), stance) < 0.005
        shift_keys(walk, 2)
        assert ops.relock_feet() == {"FINISHED"}


def test_retarget_matches_directions_or_reach():
    walk, _ = source()
    with registered() as ops:
        target = build(make_rig("mixamo", 1.3, 0.5, 3)[0])
        settings = bpy.context.scene.gentg_retarget
        settings.target, settings.feet = target, False
        bpy.context.view_layer.objects.active = walk

        def wrist(**keywords):
            ops.retarget(source=walk.name, **keywords)
            return read_back(target, ["LeftHand"], FRAMES)

        plain, half, full = (wrist(**k) for k in ({}, {"match": "REACH", "reach": 0.5}, {"match": "REACH"}))
        assert np.linalg.norm(full - plain, axis=-1).max() > 0.005
        assert np.abs(half - 0.5 * (plain + full)).max() < 0.003
        settings.match, settings.reach = "REACH", 0.5  # the panel's choice, where no keyword says otherwise
        assert np.abs(wrist() - half).max() < 1e-4
        settings.reach_hands = False
        assert np.abs(wrist() - plain).max() < 1e-4
        ops.retarget(source=walk.name)
        right = read_back(target, ["RightHand"], FRAMES)
        settings.mirror = True
        assert np.abs(wrist() - right * [-1, 1, 1]).max() < 1e-4 < np.abs(plain - right * [-1, 1, 1]).max()
