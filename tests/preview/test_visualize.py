"""Side by side images: the eye's geometry, panels, formats and timing."""

import cv2
import numpy as np
import pytest
from PIL import Image

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINTS
from inference_backend.preview.draw import LEFT, RIGHT, sigma_colours
from inference_backend.preview.orbit import Eye
from inference_backend.preview.visualize import Other, View, visualize
from inference_backend.video.decode import decode
from tests.preview.preview_case import SIZE, capture, clip

TIMES = np.array([0, 0.04, 0.08, 0.12, 0.2, 0.24])
SMALL = View(height=240, turn=0.0, count=3)


def test_the_eye_is_a_pinhole_that_looks_at_its_target():
    eye = Eye(np.array([1.0, 2.0, 0.9]), 0.7, 0.3, 5.0, 2.0, (400, 300))
    points = eye.target + np.array([[0, 0, 0], [0, 0, 0.5], [-np.sin(0.7), np.cos(0.7), 0]])
    pixels, depth = eye.project(points)
    np.testing.assert_allclose(pixels[0], [200, 150])
    assert depth[0] == pytest.approx(5.0)
    assert pixels[1, 0] == pytest.approx(200) and pixels[1, 1] < 150, "up is up"
    np.testing.assert_allclose(pixels[2], [200 - 600 / 5, 150])  # one metre to the left at 5 m, focal 600 px
    position = eye.target - 5.0 * np.array(
        [np.cos(0.3) * np.cos(0.7), np.cos(0.3) * np.sin(0.7), -np.sin(0.3)]
    )
    assert np.isnan(eye.project(position[None])[0]).all()
    assert np.unique(eye.canvas().reshape(-1, 3), axis=0).shape[0] > 3, "the floor has a grid"


def has(image, colour, at_least=30) -> bool:
    return (np.abs(image.astype(int) - colour).max(-1) < 30).sum() >= at_least


def test_strip_has_three_panels_and_a_row_a_moment(tmp_path):
    out = tmp_path / "strip.png"
    visualize(capture(TIMES, step=0.0), out, view=SMALL)
    image = cv2.cvtColor(cv2.imread(str(out)), cv2.COLOR_BGR2RGB)
    width = round(SIZE[0] * 240 / SIZE[1])
    assert image.shape == (3 * 240, width + 2 * 240, 3)
    for left, right in ((0, width), (width, width + 240), (width + 240, width + 480)):
        panel = image[30:240, left:right]
        assert has(panel, LEFT) and has(panel, RIGHT)
    # The person faces the camera and the eye starts behind the camera: left is on the right side.
    panel = image[30:240, width : width + 240]
    x = [np.argwhere(np.abs(panel.astype(int) - c).max(-1) < 30)[:, 1].mean() for c in (LEFT, RIGHT)]
    assert x[0] > x[1] + 20


def test_video_and_gif_keep_time(tmp_path):
    source, c = clip(tmp_path / "in.mp4", TIMES), capture(TIMES)
    visualize(c, tmp_path / "out.mp4", video=source, view=SMALL)
    np.testing.assert_allclose([f.time for f in decode(tmp_path / "out.mp4")], TIMES, atol=1e-3)
    visualize(c, tmp_path / "out.gif", view=SMALL)
    with Image.open(tmp_path / "out.gif") as gif:
        lengths = []
        for k in range(gif.n_frames):
            gif.seek(k)
            lengths.append(gif.info["duration"])
    assert lengths == [80, 120, 120]  # frames at 0, 0.08, 0.20 s; the last one as long as the one before


def test_reference_stands_where_the_capture_stands(tmp_path):
    c = capture(TIMES, step=0.0)
    far = {i: c.xyz_camera[i] + [3.0, 0.0, 9.0] for i in range(6)}
    visualize(c, tmp_path / "a.png", other=Other("reference", JOINTS, far), view=SMALL)
    visualize(c, tmp_path / "b.png", view=SMALL)
    a, b = cv2.imread(str(tmp_path / "a.png")), cv2.imread(str(tmp_path / "b.png"))
    body = np.s_[40:200, -240:]
    assert np.abs(a[body].astype(int) - b[body]).mean() < 3
    gone = {k: v for k, v in far.items() if k > 0}
    visualize(c, tmp_path / "c.png", other=Other("reference", JOINTS, gone), view=SMALL)
    d = cv2.cvtColor(cv2.imread(str(tmp_path / "c.png")), cv2.COLOR_BGR2RGB)
    assert not has(d[40:200, -240:], LEFT) and has(d[280:440, -240:], LEFT)


def test_faults(tmp_path):
    with pytest.raises(GentgError, match="ends with"):
        visualize(capture(TIMES), tmp_path / "a.avi")
    source = clip(tmp_path / "in.mp4", TIMES[:3])
    with pytest.raises(GentgError, match="3 frames of the capture are not in the video"):
        visualize(capture(TIMES), tmp_path / "a.mp4", video=source, view=SMALL)
    assert not (tmp_path / "a.mp4").exists()


def test_uncertainty_as_colour(tmp_path):
    """Sure limbs are violet, those that may be off by 20 cm yellow, on both sides; a scale says so."""
    names = list(JOINTS)
    sigma = np.full((6, len(names)), 0.0)
    sigma[:, [i for i, n in enumerate(names) if n.startswith("l_")]] = 0.3
    visualize(capture(TIMES, step=0.0, sigma=sigma), tmp_path / "a.png", view=View(240, 0.0, 1, "sigma"))
    image = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB)
    sure, uncertain = sigma_colours(np.array([0.0, 0.3]))
    assert sure[2] > sure[1] + 80 and min(uncertain[:2]) > 200 > uncertain[2] + 100
    body = image[40:215, round(SIZE[0] * 240 / SIZE[1]) :][:, 10:230]
    at = {
        k: np.argwhere(np.abs(body.astype(int) - c).max(-1) < 40)[:, 1]
        for k, c in (("l", uncertain), ("r", sure))
    }
    assert len(at["l"]) > 30 and len(at["r"]) > 30 and at["l"].mean() > at["r"].mean() + 20
    assert not has(body, LEFT) and not has(body, RIGHT)
    scale = image[:30, -120:]
    assert has(scale, sure, 3) and has(scale, uncertain, 3)
    assert (np.diff(sigma_colours(np.linspace(0, 0.2, 9)).sum(1)) > 0).all(), "brighter, the less sure"
