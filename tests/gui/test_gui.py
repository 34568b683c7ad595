"""The installed extension in the real GUI of Blender, under Xvfb, driven by simulated clicks.

Needs GENTG_BLENDER (a Blender 5.x executable), xvfb-run and ImageMagick's import; skips loudly without them.
Runs against a scripted backend by default, so that every state can be produced at will; one test runs the
whole path with the real backend of this checkout's environment. GENTG_SHOTS=FOLDER keeps screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CLIP = ROOT / "samples" / "beam_walk.mp4"
SCREEN = 1600, 1180  # room for the longest panel in an image
BLENDER = os.environ.get("GENTG_BLENDER", "")

pytestmark = [
    pytest.mark.skipif(not BLENDER or not Path(BLENDER).is_file(), reason="GENTG_BLENDER names no Blender"),
    pytest.mark.skipif(
        shutil.which("xvfb-run") is None or shutil.which("import") is None, reason="no xvfb-run or import"
    ),
]


def blender_command(profile: Path) -> dict[str, str]:
    """The environment in which Blender keeps everything of the person's in `profile`."""
    return {**os.environ, "BLENDER_USER_RESOURCES": str(profile), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The zip that people get."""
    folder = tmp_path_factory.mktemp("zip")
    build = ["--command", "extension", "build", "--source-dir", str(ROOT), "--output-dir", str(folder)]
    subprocess.run(
        [BLENDER, "--factory-startup", *build], check=True, env=blender_command(folder), timeout=300
    )
    (package,) = folder.glob("*.zip")
    return package


@pytest.fixture(scope="module")
def profile(package, tmp_path_factory) -> dict[str, str]:
    """A fresh profile with the built zip installed the way a person installs it."""
    folder = tmp_path_factory.mktemp("profile")
    install = ["--command", "extension", "install-file", "--repo", "user_default", "--enable", str(package)]
    subprocess.run([BLENDER, *install], check=True, env=blender_command(folder), timeout=300)
    assert list(folder.rglob("gentg_blender/ui/panels.py")), "the extension was not installed"
    return blender_command(folder)


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """An "environment" whose Python is the scripted backend, and a capture for it to hand out."""
    sys.path.insert(0, str(ROOT / "tests" / "blender"))
    from walking import walking

    from gentg_blender.core.contract import save_capture

    folder = tmp_path_factory.mktemp("fake")
    save_capture(folder / "walk.npz", walking(2.0))
    save_capture(folder / "long.npz", walking(600.0))
    spoiled = walking(2.0, meta={"footage": {"blur": 0.7, "others": 0.4}})
    spoiled.seen[20:32] = False
    save_capture(folder / "spoiled.npz", spoiled)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/job/fake_server.py"\n')
    python.chmod(0o755)
    return python, folder / "walk.npz"


def play(profile: dict, tmp_path: Path, scenario: str, timeout: float = 240.0, *, script: str = "scenarios.py",
         **environment: str) -> dict:  # fmt: skip
    report = tmp_path / "report.json"
    command = ["xvfb-run", "-a", "-s", f"-screen 0 {SCREEN[0]}x{SCREEN[1]}x24", BLENDER, "--enable-event-simulate", "--window-geometry",
               "0", "0", *map(str, SCREEN), "--no-window-focus", "--python", str(HERE / script), "--", scenario, str(report), str(CLIP)]  # fmt: skip
    # Mesa maps its cache's file: another Blender that shrinks it meanwhile ends this one with SIGBUS.
    # HOME is short for paths in images, which are shown with ~.
    home = {"HOME": str(Path(profile["BLENDER_USER_RESOURCES"]).parent)}
    env = {**profile, "MESA_SHADER_CACHE_DISABLE": "true", **home, **environment}
    with open(tmp_path / "blender.log", "w") as log:
        done = subprocess.run(
            command, env=env, stdout=log, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )
    text = (tmp_path / "blender.log").read_text(errors="replace")
    assert report.is_file(), f"Blender ended with {done.returncode} before the scenario did:\n{text[-3000:]}"
    result = json.loads(report.read_text(encoding="utf-8"))
    assert result["ok"], result.get("error", text[-3000:])
    assert "Traceback" not in text and "DeprecationWarning" not in text, text[-3000:]
    return result


def in_slices(ticks: dict) -> bool:
    """Whether the work was spread over many calls. A share, since seconds depend on the machine and its load."""
    return ticks["importing"] >= 5 and ticks["longest_cpu"] < 0.1 * ticks["cpu"]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 3
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


def test_press_the_button_and_get_animation(profile, fake, tmp_path):
    python, capture = fake
    result = play(
        profile,
        tmp_path,
        "estimate",
        GENTG_BACKEND_PYTHON=str(python),
        GENTG_FAKE=f"frames=100,pause=0.03,capture={capture}",
    )
    assert gone(result["backend"]), "closing Blender ends the backend"


def test_ten_minutes_come_in_while_blender_goes_on(profile, fake, tmp_path):
    python, capture = fake
    result = play(
        profile,
        tmp_path,
        "long",
        timeout=500,
        GENTG_BACKEND_PYTHON=str(python),
        GENTG_FAKE=f"frames=3,capture={capture.with_name('long.npz')}",
    )
    ticks = result["ticks"]
    print(f"{ticks['importing']} slices; the longest of {ticks['count']} calls: {ticks['longest_cpu']:.4f} s of processor time, "
          f"{ticks['longest']:.4f} s by the clock; Blender's undo step: {ticks['undo']:.2f} s; longest pause of Blender: {result['longest_pause']:.2f} s")  # fmt: skip
    assert in_slices(ticks), result
    assert result["frames"] == [1, 18000]


def test_a_saved_capture_comes_in_while_blender_goes_on(profile, fake, tmp_path):
    python, capture = fake
    saved = capture.with_name("long.npz")
    content = saved.read_bytes()
    result = play(
        profile, tmp_path, "saved", timeout=400, GENTG_BACKEND_PYTHON=str(python), GENTG_SAVED=str(saved)
    )
    assert in_slices(result["ticks"]), result
    assert result["returned"] < result["ticks"]["cpu"], result  # long before the import is done
    assert result["frames"] == [1, 18000] and saved.read_bytes() == content


def test_cancel_crash_and_again(profile, fake, tmp_path):
    python, capture = fake
    result = play(profile, tmp_path, "cancel", GENTG_BACKEND_PYTHON=str(python), GENTG_FAKE=f"frames=30000,pause=0.02,child,capture={capture}",
                  GENTG_FAKE_AFTER=f"frames=10,capture={capture}")  # fmt: skip
    assert result["cancel_button"] < 1.0 and result["cancel_esc"] < 1.0, result
    assert gone(result["backend"])


def test_find_people_and_pick_one(profile, fake, tmp_path):
    python, capture = fake
    result = play(
        profile,
        tmp_path,
        "people",
        GENTG_BACKEND_PYTHON=str(python),
        GENTG_FAKE=f"frames=20,pause=0.03,capture={capture}",
    )
    assert result["names"] == ["beam_walk person 2"] and all(result["icons"]), result
    assert not Path(result["folder"]).exists(), "the thumbnails go with Blender"


def test_set_up_by_clicks_offline_cancelled_and_gone_on_with(profile, fake, tmp_path):
    _, capture = fake
    own = shutil.copytree(
        profile["BLENDER_USER_RESOURCES"], tmp_path / "profile"
    )  # what is set up stays out of the others
    python = tmp_path / "python3.11"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fake_python.py"}" "$0" "$@"\n')
    python.chmod(0o755)
    profile = {k: v for k, v in profile.items() if k != "GENTG_BACKEND_PYTHON"} | {
        "BLENDER_USER_RESOURCES": str(own)
    }
    result = play(profile, tmp_path, "set_up", script="scenarios_setup.py", GENTG_FAKE_PYTHON=str(python), GENTG_FAKE_PAUSE="0.05",
                  GENTG_FAKE_PIP=str(tmp_path / "pip.log"), GENTG_FAKE=f"frames=10,capture={capture}")  # fmt: skip
    assert 0 < result["before_cancel"] < result["packages"], result
    assert gone(result["backend"])


def test_states_without_a_backend(profile, tmp_path):
    own = shutil.copytree(profile["BLENDER_USER_RESOURCES"], tmp_path / "profile")
    profile = {k: v for k, v in profile.items() if k != "GENTG_BACKEND_PYTHON"} | {
        "BLENDER_USER_RESOURCES": str(own)
    }
    play(profile, tmp_path, "without", script="scenarios_states.py")


def test_messages_of_the_panels(profile, fake, tmp_path):
    python, capture = fake
    play(profile, tmp_path, "messages", script="scenarios_states.py", HOME=str(tmp_path), GENTG_BACKEND_PYTHON=str(python),
         GENTG_FAKE=f"frames=3,capture={capture.with_name('spoiled.npz')}")  # fmt: skip


def test_quitting_blender_ends_a_running_estimate(profile, fake, tmp_path):
    python, capture = fake
    result = play(profile, tmp_path, "quit", GENTG_BACKEND_PYTHON=str(python),
                  GENTG_FAKE=f"frames=30000,pause=0.02,child,capture={capture}")  # fmt: skip
    assert gone(result["backend"]) and gone(result["child"]), "a process outlived Blender"
    assert not Path(result["scratch"]).exists(), "temporary files are left"


def test_the_dropped_zip_is_installed(package, tmp_path):
    """What Blender calls when a zip is dragged into its window, then Enter in the dialog that it opens."""
    profile = blender_command(tmp_path / "profile")
    result = play(profile, tmp_path, "drop", script="scenario_drop.py", GENTG_ZIP=str(package))
    assert result["enabled"] and list((tmp_path / "profile").rglob("gentg_blender/ui/panels.py"))


@pytest.mark.skipif(
    not os.environ.get("GENTG_BACKEND_PYTHON"),
    reason="GENTG_BACKEND_PYTHON names no environment with the real backend",
)
def test_the_whole_path_with_the_real_backend(profile, tmp_path):
    result = play(profile, tmp_path, "estimate", timeout=600)
    assert gone(result["backend"])


@pytest.mark.skipif(
    not os.environ.get("GENTG_BACKEND_PYTHON") or not os.environ.get("GENTG_SHOTS"),
    reason="makes docs/images: needs GENTG_BACKEND_PYTHON and GENTG_SHOTS",
)
def test_two_strips_and_images_for_the_documentation(profile, tmp_path):
    play(profile, tmp_path, "gallery", timeout=600)
    play(profile, tmp_path, "people", timeout=600)
