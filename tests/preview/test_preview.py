"""The preview: right place, right colours, right times, and what is uncertain looks uncertain."""

import cv2
import numpy as np
import pytest

from gentg_blender.core.contract import GentgError
from gentg_blender.core.skeleton import JOINT_INDEX as J
from inference_backend.preview import render_preview
from inference_backend.preview.draw import LEFT, PLANTED, RIGHT, Figure, draw_figure
from inference_backend.preview.preview import draw_on_frame, figure_over_video, telling_frame
from inference_backend.video.decode import decode
from tests.preview.preview_case import FOCAL, SIZE, capture, clip

TIMES = np.array([0, 0.04, 0.08, 0.12, 0.2, 0.24])  # one gap: a variable frame rate


def canvas(size=SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), 60, np.uint8)


def colour_at(image, pixel) -> np.ndarray:
    x, y = np.round(pixel).astype(int)
    return image[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))


def middle(figure: Figure, a: str, b: str) -> np.ndarray:
    return (figure.pixels[J[a]] + figure.pixels[J[b]]) / 2


def test_projection_is_the_pinhole_and_scales_with_the_image():
    c = capture(TIMES)
    x, y, z = c.xyz_camera[3, J["l_wrist"]]
    expected = [FOCAL * x / z + SIZE[0] / 2, FOCAL * y / z + SIZE[1] / 2]
    np.testing.assert_allclose(figure_over_video(c, 3, SIZE).pixels[J["l_wrist"]], expected)
    half = figure_over_video(c, 3, (SIZE[0] // 2, SIZE[1] // 2))
    np.testing.assert_allclose(half.pixels[J["l_wrist"]], np.array(expected) / 2)


def test_left_is_blue_right_is_orange_and_on_the_limbs():
    c = capture(TIMES)
    image, figure = canvas(), figure_over_video(c, 0, SIZE)
    draw_figure(image, figure)
    for side, colour in (("l", LEFT), ("r", RIGHT)):
        for a, b in (("shoulder", "elbow"), ("hip", "knee"), ("knee", "ankle")):
            found = colour_at(image, middle(figure, f"{side}_{a}", f"{side}_{b}"))
            assert np.abs(found - colour).max() < 30, (side, a, found)
    assert (image[:, :20] == 60).all(), "nothing is drawn beside the person"
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 60, "edges are anti-aliased"


def test_uncertain_limbs_fade_and_thin():
    sigma = np.full((6, 35), 0.02)
    sigma[:, [J["l_elbow"], J["l_wrist"]]] = 0.4
    sure, uncertain = canvas(), canvas()
    figure = figure_over_video(capture(TIMES), 0, SIZE)
    draw_figure(sure, figure)
    draw_figure(uncertain, figure_over_video(capture(TIMES, sigma=sigma), 0, SIZE))
    at = middle(figure, "l_elbow", "l_wrist")
    saturation = [np.ptp(colour_at(i, at)) for i in (sure, uncertain)]
    assert saturation[1] < 0.3 * saturation[0]
    x = int(at[0])
    assert (uncertain[:, x] != 60).any(1).sum() < (sure[:, x] != 60).any(1).sum()
    other = middle(figure, "r_elbow", "r_wrist")
    np.testing.assert_array_equal(colour_at(sure, other), colour_at(uncertain, other))


def test_planted_feet_are_marked_only_while_planted():
    contacts = np.ones((6, 4), bool)
    contacts[1] = False
    c = capture(TIMES, contacts=contacts)

    def green(row):
        image = canvas()
        draw_figure(image, figure_over_video(c, row, SIZE))
        return (np.abs(image.astype(int) - PLANTED).max(-1) < 25).sum()

    assert green(0) > 20 and green(1) == 0


def test_points_behind_the_camera_or_far_outside_do_no_harm():
    c = capture(TIMES)
    c.xyz_camera[0, J["l_wrist"]] = [0.1, 0.1, -2.0]
    c.xyz_camera[0, J["r_wrist"]] = [1e6, 0.0, 0.06]
    image = canvas()
    draw_figure(image, figure_over_video(c, 0, SIZE))
    assert (image != 60).any()


def test_frames_not_seen_show_no_skeleton():
    seen = np.ones(6, bool)
    seen[2] = False
    c = capture(TIMES, seen=seen)
    with_person, without = draw_on_frame(canvas(), c, 1), draw_on_frame(canvas(), c, 2)
    at = middle(figure_over_video(c, 1, SIZE), "l_hip", "l_knee")
    assert np.ptp(colour_at(with_person, at)) > 80 and np.ptp(colour_at(without, at)) == 0


def test_video_keeps_the_source_times(tmp_path):
    source, out, still = clip(tmp_path / "in.mp4", TIMES), tmp_path / "out.mp4", tmp_path / "still.png"
    calls = []
    c = capture(TIMES)
    render_preview(source, c, out, still, lambda *a: calls.append(a))
    frames = list(decode(out))
    np.testing.assert_allclose([f.time for f in frames], TIMES, atol=1e-3)
    assert calls[-1] == ("preview", 6, 6) and len(calls) == 6
    for row, frame in enumerate(frames):  # the person walks along
        at = middle(figure_over_video(c, row, SIZE), "l_hip", "l_knee")
        found = colour_at(frame.image, at)
        assert found[2] > found[0] + 50, row
    best = cv2.cvtColor(cv2.imread(str(still)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(
        best, draw_on_frame(frames_of(source)[telling_frame(c)].image.copy(), c, telling_frame(c))
    )


def frames_of(source):
    return list(decode(source))


def test_a_range_of_the_clip_and_a_still_alone(tmp_path):
    source = clip(tmp_path / "in.mp4", np.arange(20) * 0.04)
    c = capture(np.arange(5, 11) * 0.04, frames=np.arange(5, 11))
    render_preview(source, c, tmp_path / "part.mp4")
    assert len(list(decode(tmp_path / "part.mp4"))) == 6
    render_preview(source, c, None, tmp_path / "still.png")
    assert cv2.imread(str(tmp_path / "still.png")).shape == (SIZE[1], SIZE[0], 3)


def test_telling_frame_avoids_the_cut_the_uncertain_and_the_unseen():
    sigma, seen = np.full((6, 35), 0.02), np.ones(6, bool)
    sigma[1] = 0.5
    seen[2] = False
    c = capture(TIMES, sigma=sigma, seen=seen)
    c.xyz_camera[[3, 4, 5], :, 0] += 1.0  # half outside the image
    assert telling_frame(c) == 0


def test_foreign_video_and_unwritable_folder(tmp_path):
    source = clip(tmp_path / "in.mp4", TIMES)
    with pytest.raises(GentgError) as caught:
        render_preview(source, capture(TIMES, frames=np.arange(50, 56)), tmp_path / "out.mp4")
    assert caught.value.code == "bad_request" and not (tmp_path / "out.mp4").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(GentgError) as caught:
        render_preview(source, capture(TIMES), tmp_path / "file" / "out.mp4")
    assert caught.value.code == "not_writable"

    def cancel(*_):
        raise GentgError("cancelled", "stopped")

    with pytest.raises(GentgError, match="stopped"):
        render_preview(source, capture(TIMES), tmp_path / "out.mp4", None, cancel)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "in.mp4"], "nothing half-written"
