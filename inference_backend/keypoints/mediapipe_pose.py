"""MediaPipe Pose (BlazePose, full model), the offline default: its models lie in its wheel."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np

from gentg_blender.core.contract import GentgError

from .detector import Detection, box_of

# What MediaPipe's C++ side writes to stderr at every start although nothing is wrong.
_NOISE = re.compile(
    rb"Created TensorFlow Lite XNNPACK delegate|inference_feedback_manager\.cc|landmark_projection_calculator\.cc"
    rb"|before absl::InitializeLog\(\) is called|gl_context|OpenGL error|no GPU"
)
_MODELS = ("modules/pose_detection/pose_detection.tflite", "modules/pose_landmark/pose_landmark_full.tflite")
_HINT = "Run 'gentg doctor' to see what is installed, or set up the backend again."


class MediapipePose:
    """Detector of one person with 33 points and its own 3D. Per-frame mode: no smoothing that lags."""

    name, layout, max_size, follows = "mediapipe", "blazepose33", 720, True

    def __init__(self) -> None:
        """Raises GentgError("missing_dependency") if MediaPipe or one of its models is absent."""
        solution, root = _load()
        self.version = metadata.version("mediapipe")
        self.hashes = _hashes(root)
        with _quiet():
            self._pose = solution.Pose(
                model_complexity=1, smooth_landmarks=False, min_detection_confidence=0.5, min_tracking_confidence=0.5
            )
            # The graph starts in threads of its own; an empty picture waits for them and their messages.
            self._pose.process(np.zeros((64, 64, 3), np.uint8))

    def detect(self, image: np.ndarray) -> list[Detection]:
        """At most one person in an (H, W, 3) uint8 RGB picture."""
        if self._pose is None:
            raise RuntimeError("the detector is closed")
        if _first_person.is_set():
            result = self._pose.process(image)
        else:  # a warning comes with the first person of the process
            with _quiet():
                result = self._pose.process(image)
        if result.pose_landmarks is None:
            return []
        _first_person.set()
        height, width = image.shape[:2]
        points = np.array([(p.x * width, p.y * height, p.visibility) for p in result.pose_landmarks.landmark])
        points[:, 2] = np.clip(points[:, 2], 1e-3, 1.0)  # 0 would mean that the point is absent
        world = np.array([(p.x, p.y, p.z) for p in result.pose_world_landmarks.landmark])
        return [Detection(points, float(points[:, 2].mean()), box_of(points), world)]

    def spawn(self) -> MediapipePose:
        return MediapipePose()

    def close(self) -> None:
        if self._pose is not None:
            self._pose.close()
            self._pose = None


_first_person = threading.Event()
_stderr_lock = threading.Lock()
_load_lock = threading.Lock()


def _load():
    """The `pose` module of MediaPipe and its package folder."""
    with _load_lock, _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # protobuf's notice about a method of MediaPipe's
        try:
            import mediapipe
            from mediapipe.python.solutions import pose
        except ImportError as error:
            raise GentgError("missing_dependency", f"MediaPipe cannot be loaded: {error}", hint=_HINT) from error
    root = Path(mediapipe.__file__).parent
    for model in _MODELS:  # MediaPipe would download a missing one without asking
        if not (root / model).is_file():
            raise GentgError("missing_dependency", "A model of MediaPipe is missing.", file=root / model, hint=_HINT)
    return pose, root


def _hashes(root: Path) -> dict[str, str]:
    return {Path(m).name: hashlib.sha256((root / m).read_bytes()).hexdigest() for m in _MODELS}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what native code writes to stderr; afterwards pass on all lines but the known noise.

    Affects the whole process for that short time, so other threads' lines arrive late, not never.
    """
    with _stderr_lock:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, AttributeError, ValueError):  # started without a stderr, as desktop programs are
            yield
            return
        with tempfile.TemporaryFile() as buffer:
            os.dup2(buffer.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                buffer.seek(0)
                rest = b"".join(line for line in buffer if not _NOISE.search(line))
                if rest:
                    os.write(kept, rest)
                os.close(kept)
