"""In Blender without a window: finding people, picking one, and what the estimate is told, over the scripted backend."""

from __future__ import annotations

import os
import shutil

import bpy
from case_ui import CLIP, add_strip, armatures, fails, fake_backend


def test_find_pick_estimate(tmp):
    with fake_backend(tmp):
        from gentg_blender.ui.people import listed
        from gentg_blender.ui.properties import estimate_settings

        s = bpy.context.scene.gentg
        s.person = "PICK"
        assert "No person is picked" in fails(bpy.ops.gentg.estimate_pose, filepath=str(CLIP))
        assert "Find People first" in fails(bpy.ops.gentg.pick_person, number=2)
        assert bpy.ops.gentg.find_people(filepath=str(CLIP)) == {"FINISHED"}
        assert [(p.number, p.share) for p in listed.people] == [(1, 1.0), (2, 0.5)]
        folder = listed.folder
        assert sorted(f.name for f in folder.iterdir()) == ["person1.png", "person2.png"] and not armatures()
        assert bpy.ops.gentg.pick_person(number=2) == {"FINISHED"}
        told = estimate_settings(bpy.context)["person"]
        assert told["time"] == 0.5 and [round(v, 3) for v in told["box"]] == [200.0, 20.0, 280.0, 320.0]
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        (ob,) = armatures()
        assert ob.name == ob.users_collection[0].name == f"{CLIP.stem} person 2"
        s.person = "PROMINENT"
        assert estimate_settings(bpy.context)["person"] == "prominent"
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        assert sorted(o.name for o in armatures()) == [
            CLIP.stem,
            f"{CLIP.stem} person 2",
        ]  # neither replaced the other
        # a second search replaces the list, its images and their files
        bpy.ops.gentg.find_people(filepath=str(CLIP))
        assert not folder.exists() and listed.folder.is_dir() and len(listed.people) == 2
        last = listed.folder
    assert not last.exists() and listed.previews is None  # freed at unregistering


def test_a_strip_is_searched_where_it_is_shown(tmp):
    with fake_backend(tmp) as session:
        strip = add_strip("walk", 11)
        jobs = []
        submit, session.submit = session.submit, lambda job: (jobs.append(job), submit(job))
        try:
            bpy.context.scene.gentg.person = "PICK"
            assert bpy.ops.gentg.find_people() == {"FINISHED"}
            bpy.ops.gentg.pick_person(number=1)
            assert bpy.ops.gentg.estimate_pose() == {"FINISHED"}
        finally:
            session.submit = submit
        search, estimate = (j.params for j in jobs)
        assert search["clip"] == estimate["clip"] == os.fspath(CLIP)
        assert [search["settings"][k] for k in ("start", "end")] == [
            estimate["settings"][k] for k in ("start", "end")
        ]
        assert estimate["settings"]["person"]["time"] == 0.5 and armatures()[0].name == "walk person 1"
        assert strip.name == "walk"


def test_a_person_of_another_clip_is_refused(tmp):
    other = tmp / "other.mp4"
    shutil.copy(CLIP, other)
    with fake_backend(tmp):
        bpy.context.scene.gentg.person = "PICK"
        bpy.ops.gentg.find_people(filepath=str(CLIP))
        bpy.ops.gentg.pick_person(number=1)
        assert "another clip" in fails(bpy.ops.gentg.estimate_pose, filepath=str(other)) and not armatures()


def test_nobody_found_is_said(tmp):
    with fake_backend(tmp, "frames=2,error=no_person") as session:
        assert "told to fail" in fails(bpy.ops.gentg.find_people, filepath=str(CLIP))
        assert session.notices[0].level == "ERROR" and "no people to pick from" in session.notices[0].title
        assert not session.busy
