"""What an estimate starts from: clip, detector and weights, opened, and named for the cache and for `meta`."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentg_blender.core.contract import EstimateSettings, GentgError

from .cache import key_of

if TYPE_CHECKING:  # these import torch, cv2 or av, which `hello` must not wait for
    from inference_backend.video.probe import VideoInfo
    from inference_backend.video.sequence import ImageSequence


def open_source(clip: Path, sequence_fps: float | None) -> Path | ImageSequence:
    """The clip, or the image sequence that it is an image or the pattern of. Raises GentgError."""
    from inference_backend.video.sequence import IMAGE_SUFFIXES, ImageSequence

    if sequence_fps is not None:
        return ImageSequence.find(clip, sequence_fps)
    if clip.suffix.lower() in IMAGE_SUFFIXES:
        raise GentgError(
            "bad_request",
            "This is an image, not a video.",
            file=clip,
            hint="For an image sequence give its frame rate: --sequence-fps FPS",
        )
    return clip


def open_detector(name: str, everybody: bool = False) -> Any:
    """`mediapipe`, or the folder of RTMDet and RTMPose models. Raises GentgError.

    `everybody`: it must find all people, to list them or to follow a chosen one; else one may be enough.
    """
    if name == "mediapipe" and everybody:
        from inference_backend.keypoints.mediapipe_people import MediapipePeople

        return MediapipePeople()
    if name == "mediapipe":
        from inference_backend.keypoints.mediapipe_pose import MediapipePose

        return MediapipePose()
    if not Path(name).is_dir():
        raise GentgError(
            "bad_request",
            f"There is no detector '{name}'.",
            hint="Choose mediapipe, or give the folder that holds an RTMDet and an RTMPose .onnx file.",
        )
    from inference_backend.keypoints.rtmpose import RtmPose

    return RtmPose.open(name)


def identity(detector: Any) -> dict[str, Any]:
    """What a cached detection depends on besides the clip."""
    return {"name": detector.name, "version": detector.version, "hashes": detector.hashes}


def content(source: Path | ImageSequence) -> str:
    """Key of what the clip's or the images' files hold, whatever their names are."""
    from inference_backend.video.probe import content_key
    from inference_backend.video.sequence import ImageSequence

    if isinstance(source, ImageSequence):
        return key_of(
            files=[content_key(f) for f in source.files], numbers=list(source.numbers), fps=source.fps
        )
    return content_key(source)


def weights_on_disk() -> dict[str, str]:
    """Content key of each file of weights by its name."""
    from inference_backend.video.probe import content_key

    folder = Path(__file__).resolve().parents[1] / "weights"
    return {p.name: content_key(p) for p in sorted(folder.glob("*.safetensors"))}


def expected_frames(info: VideoInfo, settings: EstimateSettings) -> int:
    """About how many frames the chosen range holds."""
    end = min(info.duration, settings.end) if settings.end is not None else info.duration
    share = (end - (settings.start or 0.0)) / info.duration if info.duration > 0 else 1.0
    return max(1, round(info.frame_count * share))


def source_facts(info: VideoInfo) -> dict[str, Any]:
    """What a capture's `meta` tells of its clip."""
    facts = {f.name: getattr(info, f.name) for f in fields(info)}
    return facts | {"path": str(info.path.absolute()), "image_size": list(facts.pop("size"))}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the result."""
    names = ("numpy", "scipy", "torch", "mediapipe", "av", "opencv-contrib-python-headless", "onnxruntime")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
