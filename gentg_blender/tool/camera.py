"""The camera that filmed the clip, with the clip behind the scene."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..core.contract import Capture, GentgError
from ..core.rotations import matrix_to_quat, quat_continuous
from ..core.strip import sequence_range
from ..core.timing import KeyPlan, TimeMap
from .action import write_curve
from .compat import new_channels, use_action
from .transaction import Transaction

_SENSOR = 36.0  # millimetres: full frame, so that focal lengths read as photographers know them


@dataclass(frozen=True)
class Lens:
    """Blender's words for an intrinsic matrix."""

    fit: str  # HORIZONTAL | VERTICAL
    lens: float  # millimetres on a 36 mm sensor
    shift_x: float
    shift_y: float


def lens_from_intrinsics(K: np.ndarray, image_size: tuple[int, int], scene_aspect: float) -> Lens:
    """Lens and shift for a camera whose frame shows the whole clip, whatever shape the frame has.

    K (3, 3) in pixels with (0, 0) at the outer corner of the first pixel; image_size (width,
    height); scene_aspect is the rendered frame's width / height as displayed. When the frame is
    wider than the clip, their heights coincide, else their widths. Blender shifts in units of
    that side, up and to the right, and moves the image the other way. Blender has one focal
    length: `pixel_aspect` tells what the scene's pixels must be when K has two.
    """
    width, height = image_size
    fx, fy, cx, cy = (float(v) for v in (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    if min(fx, fy) <= 0 or abs(K[0, 1]) > 1e-6 * fx or abs(K[2, 2] - 1) > 1e-9:
        raise GentgError(
            "bad_request", "The capture's camera matrix K is none that Blender's camera can show."
        )
    squash = fx / fy  # a pixel's height in units of its width
    if scene_aspect <= width / (height * squash) * (1 + 1e-6):
        return Lens(
            "HORIZONTAL", fx * _SENSOR / width, (width / 2 - cx) / width, squash * (cy - height / 2) / width
        )
    tall = height * squash  # the frame's side in units of a pixel's width
    return Lens("VERTICAL", fx * _SENSOR / tall, (width / 2 - cx) / tall, (cy - height / 2) / height)


def pixel_aspect(K: np.ndarray) -> tuple[float, float]:
    """Blender's pixel_aspect_x and _y (each at least 1) for the focal lengths of K."""
    ratio = float(K[0, 0] / K[1, 1])
    if abs(ratio - 1.0) < 1e-4:
        return 1.0, 1.0
    return (1.0, ratio) if ratio > 1.0 else (1.0 / ratio, 1.0)


def camera_matrix(R: np.ndarray, t: np.ndarray) -> Matrix:
    """World matrix of a Blender camera (looks along -Z, Y up) for x_cam = R x + t (y down, z forward)."""
    m = np.eye(4)
    m[:3, :3] = R.T @ np.diag([1.0, -1.0, -1.0])
    m[:3, 3] = -R.T @ t
    return Matrix(m.tolist())


def match_resolution(scene: bpy.types.Scene, capture: Capture, made: Transaction) -> None:
    """Give the scene the clip's size and pixel shape."""
    width, height = (int(v) for v in capture.image_size)
    aspect_x, aspect_y = pixel_aspect(capture.K)
    render = scene.render
    made.set(render, "resolution_x", width, "width")
    made.set(render, "resolution_y", height, "height")
    made.set(render, "resolution_percentage", 100, "resolution scale")
    made.set(render, "pixel_aspect_x", aspect_x, "pixel aspect x")
    made.set(render, "pixel_aspect_y", aspect_y, "pixel aspect y")


def scene_aspect(scene: bpy.types.Scene) -> float:
    """Width / height of the rendered frame as displayed."""
    r = scene.render
    return r.resolution_x * r.pixel_aspect_x / (r.resolution_y * r.pixel_aspect_y)


def build_camera(
    scene: bpy.types.Scene, capture: Capture, name: str, collection: bpy.types.Collection, made: Transaction
) -> bpy.types.Object:
    """A camera through which the armature covers the person in the clip.

    It fits the scene's present resolution; run `match_resolution` first when the scene is to
    take the clip's.
    """
    size = (int(capture.image_size[0]), int(capture.image_size[1]))
    lens = lens_from_intrinsics(np.asarray(capture.K, float), size, scene_aspect(scene))
    data = made.own(bpy.data.cameras.new(name))
    data.sensor_fit = lens.fit
    data.sensor_width = data.sensor_height = _SENSOR
    data.lens = lens.lens
    data.shift_x, data.shift_y = lens.shift_x, lens.shift_y
    depth = float(np.max(np.asarray(capture.xyz_camera)[..., 2][np.asarray(capture.seen, bool)], initial=1.0))
    data.clip_end = max(100.0, 2.0 * depth)
    data.show_passepartout = True
    ob = made.own(bpy.data.objects.new(name, data))
    ob.matrix_world = camera_matrix(np.asarray(capture.R, float), np.asarray(capture.t, float))
    ob.lock_location = ob.lock_rotation = ob.lock_scale = (True, True, True)
    collection.objects.link(ob)
    return ob


def turn_camera(ob: bpy.types.Object, capture: Capture, plan: KeyPlan, made: Transaction) -> None:
    """Key the rotation of a camera that was followed, on the frames that the person has keys on."""
    blender = np.diag([1.0, -1.0, -1.0])  # looks along -Z, Y up
    world = (
        np.swapaxes(np.asarray(capture.camera_rotation, float) @ np.asarray(capture.R, float), -1, -2)
        @ blender
    )
    q = quat_continuous(plan.rotations(matrix_to_quat(world)))
    ob.rotation_mode = "QUATERNION"
    action = made.own(bpy.data.actions.new(f"{ob.name} turn"))
    bag = new_channels(action, ob)
    for k in range(4):
        write_curve(bag, "rotation_quaternion", k, "Camera", plan.frames, q[:, k])
    use_action(ob, action)


def add_background(
    camera: bpy.types.Object, clip: Path, sequence: bool, fps: float, time_map: TimeMap, first: int, last: int,
    made: Transaction,
) -> None:  # fmt: skip
    """Put the clip behind the scene, in step with the keys, for scene frames `first` to `last`.

    `clip` is a video or, for a `sequence`, one of its numbered images; `fps` is its own rate.
    Blender shows one image per scene frame; at any other rate, speed or retiming the image's frame
    offset is animated, so that scene frame f shows the image nearest to `time_map.to_time(f)`.
    Raises GentgError("no_such_file" or "not_a_video").
    """
    image, new = load_clip(clip, sequence)
    if new:
        made.own(image)
    # Blender counts a video's frames from 1, and a sequence's by the numbers in the files' names
    lowest, count = (
        sequence_range(clip.name, os.listdir(clip.parent)) if sequence else (1, max(1, image.frame_duration))
    )
    frames = np.arange(first, last + 1)
    shown = np.floor(time_map.to_time(frames) * fps + 0.5) + lowest
    offset = (np.clip(shown, lowest, lowest + count - 1) - (frames - first + 1)).astype(int)

    background = camera.data.background_images.new()
    background.image = image
    background.frame_method = "FIT"
    background.display_depth = "BACK"
    background.alpha = 1.0
    camera.data.show_background_images = True
    user = background.image_user
    user.frame_start = first
    user.frame_duration = len(frames)
    user.frame_offset = int(offset[0])
    user.use_auto_refresh = True
    change = np.flatnonzero(np.diff(offset)) + 1
    if len(change):
        keys = np.concatenate([[0], change])
        action = made.own(bpy.data.actions.new(f"{camera.name} clip"))
        bag = new_channels(action, camera.data)
        write_curve(
            bag, "background_images[0].image_user.frame_offset", 0, "Clip", frames[keys], offset[keys], 0
        )
        use_action(camera.data, action)


def clip_size(clip: Path) -> tuple[int, int]:
    """Width and height of a video or image in pixels, as it is shown. Raises GentgError("not_a_video")."""
    image = None
    try:
        image = bpy.data.images.load(str(clip))
        if 0 not in image.size:
            return image.size[0], image.size[1]
    except RuntimeError:
        pass
    finally:
        if image is not None:
            bpy.data.images.remove(image)
    raise GentgError(
        "not_a_video",
        "Blender cannot read the clip's size, which a focal length needs.",
        file=clip,
        hint="Give the field of view instead.",
    )


def focal_in_pixels(millimetres: float, size: tuple[int, int]) -> float:
    """A lens on a 36 mm sensor across the longer side, for images of `size` (width, height)."""
    return millimetres / _SENSOR * max(size)


def load_clip(video: Path, sequence: bool) -> tuple[bpy.types.Image, bool]:
    """The clip as Blender's image, and whether it had to be loaded, which reads its first frame.

    Raises GentgError("no_such_file" or "not_a_video").
    """
    video, source = Path(video), "SEQUENCE" if sequence else "MOVIE"
    if not video.is_file():
        raise GentgError(
            "no_such_file",
            "The clip is not there any more.",
            file=video,
            hint="Import without the clip behind the camera, or move the clip back.",
        )
    resolved = video.resolve()
    for image in bpy.data.images:
        if (
            image.source == source
            and Path(bpy.path.abspath(image.filepath, library=image.library)).resolve() == resolved
        ):
            return image, False
    try:
        image = bpy.data.images.load(str(resolved), check_existing=False)
    except RuntimeError as error:
        raise GentgError(
            "not_a_video",
            "Blender cannot read the clip.",
            file=video,
            hint="Import without the clip behind the camera.",
        ) from error
    # a size of 0 is how it says that it could not read
    if 0 in image.size or image.source != ("FILE" if sequence else "MOVIE"):
        bpy.data.images.remove(image)
        raise GentgError(
            "not_a_video",
            "Blender cannot read the clip as a video.",
            file=video,
            hint="Import without the clip behind the camera.",
        )
    image.source = source  # not before its size was asked for: Blender would look for image 1
    return image, True
