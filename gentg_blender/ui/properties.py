"""What a person chooses, kept with the scene. No job state: that is in `session`."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty, StringProperty

from ..core.contract import EstimateSettings, GentgError
from ..tool.camera import clip_size, focal_in_pixels
from ..tool.colors import show_confidence, shows_confidence
from .people import person_setting

_DEFAULTS = EstimateSettings()


class GentgSettings(bpy.types.PropertyGroup):
    """Choices for estimating and importing."""

    clip: StringProperty(
        name="Clip", subtype="FILE_PATH",
        description="Video of a person. In the sequencer the active strip is used instead",
    )  # fmt: skip
    start_frame: bpy.props.IntProperty(
        name="First Frame", default=1, description="Scene frame on which the clip begins",
    )  # fmt: skip
    person: EnumProperty(
        name="Person", default="PROMINENT",
        items=(
            ("PROMINENT", "Most Prominent", "Whoever is large and well seen for longest"),
            ("PICK", "Pick", "One of the people found in the clip"),
        ),
        description="Who is animated when several people are in the clip",
    )  # fmt: skip
    # Who was picked: a place and a time, see ui/people.py.
    picked_number: bpy.props.IntProperty(options={"HIDDEN"})
    picked_clip: StringProperty(options={"HIDDEN"})
    picked_time: FloatProperty(options={"HIDDEN"})
    picked_box: bpy.props.FloatVectorProperty(size=4, options={"HIDDEN"})
    quality: EnumProperty(
        name="Quality", default=_DEFAULTS.quality.upper(),
        items=(
            ("FAST", "Fast", "A draft: the lightest detector. Good to see whether a take works"),
            ("BALANCED", "Balanced", "The best detail for the time"),
            ("BEST", "Best", "The heaviest detector. Takes longest, steadiest hands and feet"),
        ),
        description="How carefully the person is tracked",
    )  # fmt: skip
    use_height: BoolProperty(
        name="Actor's Height", description="Scale the skeleton to a known height. Without it the height is estimated from the clip",
    )  # fmt: skip
    height: FloatProperty(
        name="Height", default=1.75, min=0.4, max=3.0, step=1, precision=2, unit="LENGTH",
        description="The actor's standing height, in shoes",
    )  # fmt: skip
    camera: EnumProperty(
        name="Camera Lens", default="AUTO",
        items=(
            ("AUTO", "Automatic", "Read from the clip where it says so, else a usual lens is assumed"),
            ("SCENE", "Scene Camera", "Take the field of view of the scene's active camera"),
            ("FOCAL", "Focal Length", "Type the lens in millimetres, as a full-frame camera has it. Phones say 35 mm equivalent"),
            ("TYPED", "Field of View", "Type the angle that the image spans from left to right"),
        ),
        description="The lens the clip was filmed with. It decides how far the person is from the camera",
    )  # fmt: skip
    focal: FloatProperty(
        name="Focal Length", default=26.0, min=4.0, max=2000.0, step=100, precision=1, unit="CAMERA",
        description="The lens for a sensor 36 mm wide: 24 to 28 mm is a phone's main camera. Phones and cameras with a "
                    "smaller sensor name it as 35 mm equivalent",
    )  # fmt: skip
    fov: FloatProperty(
        name="Field of View", default=math.radians(60), min=0.05, max=2.9, subtype="ANGLE",
        description="Angle that the image spans from its left to its right edge",
    )  # fmt: skip
    detector: EnumProperty(
        name="Detector", default="MEDIAPIPE",
        items=(
            ("MEDIAPIPE", "MediaPipe", "Comes with the backend and works offline"),
            ("FOLDER", "From Folder", "An RTMPose model that you downloaded yourself"),
        ),
        description="What finds the person in each frame",
    )  # fmt: skip
    detector_folder: StringProperty(
        name="Model Folder", subtype="DIR_PATH", description="Folder with the RTMPose model's .onnx file",
    )  # fmt: skip
    correction: FloatProperty(
        name="Correction", default=_DEFAULTS.correction, min=0.0, max=1.0, subtype="FACTOR",
        description="How far the generative corrector may change limbs that were hidden or uncertain. 0 leaves it out",
    )  # fmt: skip
    smoothing: FloatProperty(
        name="Smoothing", default=_DEFAULTS.smoothing, min=0.0, max=2.0, step=1, precision=2, unit="TIME_ABSOLUTE",
        description="Jitter shorter than this many seconds is removed, without lag. 0 keeps every twitch",
    )  # fmt: skip
    foot_lock: BoolProperty(
        name="Lock Feet", default=_DEFAULTS.foot_lock, description="Keep planted heels and toes from sliding",
    )  # fmt: skip
    device: EnumProperty(
        name="Device", default="AUTO",
        items=(
            ("AUTO", "Automatic", "The fastest that works"),
            ("CPU", "Processor", "Works everywhere"),
            ("CUDA", "NVIDIA GPU", "Needs a backend that was set up with a CUDA build"),
            ("MPS", "Apple GPU", "On Macs with Apple silicon"),
        ),
        description="What the networks run on",
    )  # fmt: skip
    seed: bpy.props.IntProperty(
        name="Seed", default=0, min=0, description="Another seed gives the corrector another guess for hidden limbs",
    )  # fmt: skip
    existing: EnumProperty(
        name="Run Again", default="REPLACE",
        items=(
            ("REPLACE", "Replace", "Put the new animation in the place of this clip's earlier one"),
            ("ADD", "Keep Both", "Add another armature beside the earlier one"),
        ),
        description="What happens to an earlier result of the same clip",
    )  # fmt: skip
    add_camera: BoolProperty(
        name="Matching Camera", default=True, description="Add a camera from which the skeleton lies on the person",
    )  # fmt: skip
    show_clip: BoolProperty(
        name="Clip Behind", default=True, description="Show the clip behind the scene in the matching camera",
    )  # fmt: skip
    before: BoolProperty(
        name="Keep Uncorrected", default=True,
        description="Keep the motion from before the correction as a layer, to compare and to mix",
    )  # fmt: skip
    markers: BoolProperty(
        name="Mark Gaps", default=True, description="Put timeline markers where the person is not seen; there are no keys there",
    )  # fmt: skip


def estimate_settings(context: bpy.types.Context) -> dict:
    """The scene's choices as the backend's settings. Raises GentgError for what cannot be meant."""
    s = context.scene.gentg
    values = {
        "quality": s.quality.lower(), "device": s.device.lower(), "correction": s.correction,
        "smoothing": s.smoothing, "foot_lock": s.foot_lock, "seed": s.seed,
        "height": s.height if s.use_height else None,
        "detector": detector_setting(s), "person": person_setting(s),
    }  # fmt: skip
    if s.camera == "TYPED":
        values["fov"] = s.fov
    elif s.camera == "SCENE":
        values["fov"] = _scene_camera_fov(context.scene)
    return EstimateSettings.from_dict(values).to_dict()


def lens_setting(s: GentgSettings, clip: str) -> dict[str, float]:
    """What a typed focal length adds to the settings for this clip, whose size it reads. Raises GentgError."""
    if s.camera != "FOCAL":
        return {}
    return {"focal_px": focal_in_pixels(s.focal, clip_size(Path(clip)))}


def detector_setting(s: GentgSettings) -> str:
    """`EstimateSettings.detector` for the scene's choice. Raises GentgError when no folder is chosen."""
    if s.detector != "FOLDER":
        return "mediapipe"
    if not s.detector_folder:
        raise GentgError(
            "bad_request",
            "No folder is chosen for the detector.",
            hint="Choose one under Advanced, or take MediaPipe.",
        )
    return bpy.path.abspath(s.detector_folder)


def _scene_camera_fov(scene: bpy.types.Scene) -> float:
    """Horizontal angle in radians that the active camera's frame spans."""
    camera = scene.camera
    if camera is None or camera.type != "CAMERA":
        raise GentgError(
            "bad_request",
            "The scene has no camera to take the lens from.",
            hint="Add a camera, or set Camera Lens to Automatic.",
        )
    if camera.data.type != "PERSP":
        raise GentgError(
            "bad_request", f"{camera.name} is not a perspective camera.", hint="Set Camera Lens to Automatic."
        )
    corners = camera.data.view_frame(scene=scene)
    width = max(c.x for c in corners) - min(c.x for c in corners)
    return 2.0 * math.atan(0.5 * width / abs(corners[0].z))


def _get_show_confidence(ob: bpy.types.Object) -> bool:
    return shows_confidence(ob)


def _set_show_confidence(ob: bpy.types.Object, show: bool) -> None:
    show_confidence(ob, show)


def _get_mix(ob: bpy.types.Object) -> float:
    from ..tool.before_after_layers import get_mix

    amount = get_mix(ob)
    return 1.0 if amount is None else amount


def _set_mix(ob: bpy.types.Object, amount: float) -> None:
    from ..tool.before_after_layers import has_before, set_mix

    if has_before(ob):
        set_mix(ob, amount)


CLASSES = (GentgSettings,)


def attach() -> None:
    bpy.types.Scene.gentg = PointerProperty(type=GentgSettings)
    bpy.types.Object.gentg_show_confidence = BoolProperty(
        name="Color Bones by Certainty", get=_get_show_confidence, set=_set_show_confidence, options=set(),
        description="Bones are green where the capture is sure and red where it is in doubt, frame by frame. Seen in Pose Mode",
    )  # fmt: skip
    bpy.types.Object.gentg_mix = FloatProperty(
        name="Corrected", min=0.0, max=1.0, subtype="FACTOR", get=_get_mix, set=_set_mix, options=set(),
        description="0 plays the motion from before the generative correction, 1 the corrected one",
    )  # fmt: skip


def detach() -> None:
    del bpy.types.Scene.gentg
    del bpy.types.Object.gentg_show_confidence
    del bpy.types.Object.gentg_mix
