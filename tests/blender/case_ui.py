"""In Blender without a window: the operators as scripts call them, over the scripted backend."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import bpy
from walking import walking

import gentg_blender
from gentg_blender.core.contract import save_capture
from gentg_blender.core.filming_check import findings_from_json

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "samples" / "beam_walk.mp4"
CLIP_SIZE = (1080, 1920)  # pixels
PYTHON = os.environ.get("GENTG_TEST_PYTHON") or (
    sys.executable if sys.version_info[:2] == (3, 11) else str(ROOT / ".venv/bin/python")
)


class fake_backend:
    """Registers the extension over a scripted backend; `fake` as tests/job/fake_server.py explains."""

    def __init__(self, tmp: Path, fake: str = "frames=3", seconds: float = 2.0):
        self.tmp, self.fake = tmp, fake
        save_capture(tmp / "walk.npz", walking(seconds))

    def __enter__(self):
        python = self.tmp / "python"
        python.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{ROOT}/tests/job/fake_server.py"\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        os.environ["GENTG_BACKEND_PYTHON"] = str(python)
        os.environ["GENTG_FAKE"] = f"{self.fake},capture={self.tmp / 'walk.npz'}"
        gentg_blender.register()
        from gentg_blender.ui import backend
        from gentg_blender.ui.session import session

        self.user_folder, backend.user_folder = backend.user_folder, lambda: self.tmp  # not the person's own
        session.ticks = type(session.ticks)()
        session.forget()
        return session

    def __exit__(self, *_):
        gentg_blender.unregister()
        from gentg_blender.ui import backend

        backend.user_folder = self.user_folder
        del os.environ["GENTG_BACKEND_PYTHON"], os.environ["GENTG_FAKE"]


def add_strip(name: str, start: int, channel: int = 1):
    scene = bpy.context.scene
    editor = scene.sequence_editor_create()
    strip = (editor.strips if hasattr(editor, "strips") else editor.sequences).new_movie(
        name, str(CLIP), channel, start
    )
    editor.active_strip, strip.select = strip, True
    return strip


def armatures() -> list:
    return [o for o in bpy.context.scene.objects if o.type == "ARMATURE"]


def fails(call, **keywords) -> str:
    try:
        call(**keywords)
    except RuntimeError as error:
        return str(error)
    raise AssertionError("no error was reported")


def test_a_strip_becomes_keys_on_its_frames(tmp):
    bpy.context.scene.render.fps = 60
    with fake_backend(tmp) as session:
        add_strip("walk", 101)
        assert bpy.ops.gentg.estimate_pose() == {"FINISHED"}
        (ob,) = armatures()
        assert (
            ob.animation_data.action.frame_range[0] == 101 and ob.animation_data.action.frame_range[1] <= 201
        )
        assert session.notices[0].title.startswith("walk: animated")
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp / "walk.blend"))
        bpy.ops.wm.open_mainfile(filepath=str(tmp / "walk.blend"))
        findings = findings_from_json(armatures()[0]["gentg_filming_check"])
        assert findings and findings[0].what, "the filming check is kept with the file"


def test_several_strips_are_queued(tmp):
    with fake_backend(tmp):
        add_strip("one", 1)
        add_strip("two", 501, 2)
        bpy.ops.gentg.estimate_pose()
        starts = sorted(o.animation_data.action.frame_range[0] for o in armatures())
        assert len(starts) == 2 and starts[0] == 1 and starts[1] == 501


def test_a_file_and_running_again(tmp):
    with fake_backend(tmp):
        bpy.context.scene.gentg.start_frame = 40
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        assert len(armatures()) == 1 and armatures()[0].animation_data.action.frame_range[0] == 40
        bpy.context.scene.gentg.existing = "ADD"
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        assert len(armatures()) == 2
        assert len({o["gentg_capture"] for o in armatures()}) == 2


def test_every_way_to_fail_says_what_to_do(tmp):
    with fake_backend(tmp, "frames=2,error=no_person") as session:
        assert "Add a video" in fails(bpy.ops.gentg.estimate_pose)
        assert "not there" in fails(bpy.ops.gentg.estimate_pose, filepath=str(tmp / "none.mp4"))
        assert "told to fail" in fails(bpy.ops.gentg.estimate_pose, filepath=str(CLIP))
        assert session.notices[0].level == "ERROR" and not armatures() and not session.busy
        settings = bpy.context.scene.gentg
        settings.camera = "SCENE"
        assert "no camera" in fails(bpy.ops.gentg.estimate_pose, filepath=str(CLIP))
        settings.camera, settings.detector = "AUTO", "FOLDER"
        assert "folder" in fails(bpy.ops.gentg.estimate_pose, filepath=str(CLIP))
        os.environ["GENTG_BACKEND_PYTHON"] = str(tmp / "gone")
        assert "not there" in fails(bpy.ops.gentg.estimate_pose, filepath=str(CLIP))
        os.environ["GENTG_BACKEND_PYTHON"] = str(tmp / "python")


def test_a_crash_leaves_the_scene_and_the_next_run_works(tmp):
    with fake_backend(tmp, "frames=2,crash") as session:
        before = len(bpy.data.objects), len(bpy.data.actions)
        assert "fake has crashed as told" in fails(bpy.ops.gentg.estimate_pose, filepath=str(CLIP))
        notice = session.notices[0]
        assert (len(bpy.data.objects), len(bpy.data.actions)) == before and Path(notice.file).is_file()
        assert notice.lines[-1].startswith("Log: ") and notice.lines[-1].endswith(Path(notice.file).name)
        os.environ["GENTG_FAKE"] = f"frames=2,capture={tmp / 'walk.npz'}"
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        assert len(armatures()) == 1


def test_settings_reach_the_backend(tmp):
    with fake_backend(tmp):
        from gentg_blender.ui.properties import estimate_settings

        s = bpy.context.scene.gentg
        s.use_height, s.height, s.quality, s.correction, s.camera, s.fov = (
            True,
            1.82,
            "BEST",
            0.5,
            "TYPED",
            1.0,
        )
        values = estimate_settings(bpy.context)
        assert (
            abs(values["height"] - 1.82) < 1e-6
            and values["quality"] == "best"
            and abs(values["fov"] - 1.0) < 1e-6
        )
        bpy.ops.object.camera_add()
        bpy.context.scene.camera = camera = bpy.context.object
        camera.data.sensor_fit, camera.data.sensor_width, camera.data.lens = "HORIZONTAL", 36.0, 18.0
        s.camera = "SCENE"
        assert abs(estimate_settings(bpy.context)["fov"] - 1.5707963) < 1e-3


def test_a_typed_focal_length_is_meant_for_the_longer_side(tmp):
    with fake_backend(tmp) as session:
        from gentg_blender.ui import operators_estimate

        settings = bpy.context.scene.gentg
        settings.camera, settings.focal = "FOCAL", 27.0
        for job in (
            operators_estimate._file_job(
                bpy.context, CLIP, operators_estimate.estimate_settings(bpy.context)
            ),
            operators_estimate._strip_jobs(bpy.context, {})[0] if add_strip("walk", 1) else None,
        ):
            assert abs(job.params["settings"]["focal_px"] - 27.0 / 36.0 * max(CLIP_SIZE)) < 1e-6
            job.remove_scratch()
        assert not bpy.data.images, "looking at the clip's size leaves nothing"
        bad = tmp / "bad.mp4"
        bad.write_bytes(b"no video")
        assert "field of view" in fails(bpy.ops.gentg.estimate_pose, filepath=str(bad))
        assert session.notices[0].title == "The estimate was not started." and not session.busy
        settings.camera = "AUTO"
        bpy.ops.gentg.estimate_pose()
        assert all("not started" not in n.title for n in session.notices), "it is started now"


def test_bones_show_certainty_as_chosen(tmp):
    with fake_backend(tmp):
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        (ob,) = armatures()
        assert ob.gentg_show_confidence
        ob.gentg_show_confidence = False
        assert not ob.gentg_show_confidence and ob.pose.bones["hips"].color.palette == "DEFAULT"
        ob.gentg_show_confidence = True
        assert ob.gentg_show_confidence and ob.pose.bones["hips"].color.palette == "CUSTOM"


def test_retarget_and_export(tmp):
    with fake_backend(tmp) as session:
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        (source,) = armatures()
        rig = source.copy()
        rig.data = source.data.copy()
        rig.animation_data_clear()
        rig.name = "my rig"
        for key in ("gentg_clip", "gentg_capture"):
            if key in rig:
                del rig[key]
        bpy.context.scene.collection.objects.link(rig)
        bpy.context.view_layer.objects.active = source
        assert "Choose your character" in fails(bpy.ops.gentg.retarget)
        retarget = bpy.context.scene.gentg_retarget
        retarget.target = rig
        bpy.ops.gentg.recognise()
        rows = {r.name: r.bones for r in retarget.map.rows}
        assert rows["hips"] == "hips" and rows["thigh.L"] == "thigh.L"
        bpy.ops.gentg.check_map()
        assert "mapped" in session.notices[0].title
        assert bpy.ops.gentg.save_map(filepath=str(tmp / "map.json")) == {"FINISHED"}
        retarget.map.rows.clear()
        bpy.ops.gentg.load_map(filepath=str(tmp / "map.json"))
        assert {r.name: r.bones for r in retarget.map.rows} == rows
        assert bpy.ops.gentg.retarget() == {"FINISHED"}
        action = rig.animation_data.action
        assert action is not None and tuple(action.frame_range) == tuple(
            source.animation_data.action.frame_range
        )
        assert bpy.ops.gentg.retarget(feet="AGAIN") == {"FINISHED"} and rig.animation_data.action != action
        assert bpy.ops.gentg.export(filepath=str(tmp / "out.fbx")) == {"FINISHED"}
        assert (tmp / "out.fbx").stat().st_size > 10_000
        assert bpy.ops.gentg.export(filepath=str(tmp / "out"), preset="bvh") == {"FINISHED"}
        assert (tmp / "out.bvh").read_text().startswith("HIERARCHY")
        (tmp / "many").mkdir()
        source.select_set(True)
        rig.select_set(True)
        assert bpy.ops.gentg.export(filepath=str(tmp / "many" / "x"), preset="fbx_unreal", batch=True) == {
            "FINISHED"
        }
        assert len(list((tmp / "many").glob("*.fbx"))) == 2


def test_the_mix_slider(tmp):
    with fake_backend(tmp):
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        (ob,) = armatures()
        assert ob.gentg_mix == 1.0
        ob.gentg_mix = 0.25
        assert abs(ob.gentg_mix - 0.25) < 1e-6
        ob.gentg_mix = 1.0
        assert ob.gentg_mix == 1.0


def test_removing_needs_a_marker_and_cancel_without_a_job_is_harmless(tmp):
    with fake_backend(tmp):
        assert bpy.ops.gentg.cancel() == {"CANCELLED"}
        if not bpy.app.online_access:
            os.environ.pop("GENTG_BACKEND_PYTHON")
            assert "offline" in fails(bpy.ops.gentg.setup_backend)
            os.environ["GENTG_BACKEND_PYTHON"] = str(tmp / "python")


def test_the_doctor_is_asked_and_a_warm_backend_is_stopped(tmp):
    with fake_backend(tmp) as session:
        bpy.ops.gentg.estimate_pose(filepath=str(CLIP))
        backend = session.queue.backend
        assert backend is not None and backend.alive, "it stays warm"
        assert bpy.ops.gentg.stop_backend() == {"FINISHED"} and session.queue.backend is None
        backend.process.wait(3)
        python = tmp / "doctor"
        python.write_text('#!/bin/sh\necho "$@"\necho\necho "ffmpeg is missing: install it"\nexit 3\n')
        python.chmod(0o755)
        os.environ["GENTG_BACKEND_PYTHON"] = str(python)
        assert bpy.ops.gentg.doctor() == {"FINISHED"}
        assert session.doctor == ["-m inference_backend doctor", "ffmpeg is missing: install it"]
        os.environ["GENTG_BACKEND_PYTHON"] = str(tmp / "gone")
        assert "not there" in fails(bpy.ops.gentg.doctor) and "not there" in fails(
            bpy.ops.gentg.show_log, path="x"
        )


def test_every_property_and_operator_has_a_tooltip(tmp):
    with fake_backend(tmp):
        from gentg_blender.ui import registration

        untold = []
        for cls in registration._registered:
            if issubclass(cls, bpy.types.Operator):
                rna = getattr(bpy.ops.gentg, cls.bl_idname.partition(".")[2]).get_rna_type()
                if not (rna.description or "description" in vars(cls)):
                    untold.append(cls.__name__)
                if "INTERNAL" in cls.bl_options:
                    continue  # its properties are never shown
            elif issubclass(cls, (bpy.types.PropertyGroup, bpy.types.AddonPreferences)):
                rna = cls.bl_rna
            else:
                continue
            shown = [p for p in rna.properties if not p.is_hidden and p.type != "COLLECTION"]
            untold += [f"{cls.__name__}.{p.identifier}" for p in shown
                       if p.identifier not in ("rna_type", "name", "map", "filepath", "bl_idname") and not p.description]  # fmt: skip
        assert not untold, untold
