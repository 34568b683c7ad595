"""A path that would sink below the floor is brought up along the line of sight, not across it."""

import numpy as np

from inference_backend.solve.root_path import smooth_path

FRAMES = 90
TIMES = np.arange(FRAMES) / 30.0
SEEN = np.ones(FRAMES, bool)
PELVIS = 0.9  # metres above the soles
CAMERA = np.array([0.0, -8.0, 2.5])


def measured(depth_error):
    """Root (T, 3) of somebody who walks 3 m past a camera above head height, with the distance wrong by a factor, and
    its information (T, 3, 3): sure across the line of sight, uncertain along it."""
    truth = np.stack([np.linspace(-1.5, 1.5, FRAMES), np.zeros(FRAMES), np.full(FRAMES, PELVIS)], -1)
    sight = truth - CAMERA
    ray = sight / np.linalg.norm(sight, axis=-1, keepdims=True)
    along = ray[:, :, None] * ray[:, None]
    information = along / 0.3**2 + (np.eye(3) - along) / 0.01**2
    return truth, ray, CAMERA + sight * depth_error[:, None], information


def path(root, information, **floor):
    still = np.zeros((FRAMES, 4, 3))
    return smooth_path(root, information, still, np.zeros((FRAMES, 4)), TIMES, SEEN, np.zeros(4), **floor)


def off_sight(x, ray):
    d = x - CAMERA
    return np.linalg.norm(d - np.sum(d * ray, -1, keepdims=True) * ray, axis=-1)


def test_nobody_sinks_and_the_image_still_fits():
    too_far = 1.0 + 0.08 * np.sin(np.linspace(0, np.pi, FRAMES))  # up to 0.16 m below the floor in the middle
    truth, ray, root, information = measured(too_far)
    lowest = np.full(FRAMES, -PELVIS)
    sunk = path(root, information)
    assert (sunk[:, 2] - PELVIS).min() < -0.1
    got = path(root, information, lowest=lowest)
    assert (got[:, 2] - PELVIS).min() > -0.035
    assert off_sight(got, ray).max() < 0.02
    assert np.linalg.norm(got - truth, axis=-1).mean() < 0.5 * np.linalg.norm(sunk - truth, axis=-1).mean()


def test_who_jumps_is_left_in_the_air():
    _, _, root, information = measured(np.ones(FRAMES))
    root[30:60, 2] += 0.4
    lowest = np.full(FRAMES, -PELVIS)
    np.testing.assert_allclose(path(root, information, lowest=lowest), path(root, information), atol=1e-9)
