"""Loading MediaPipe offline and keeping its native messages off the terminal; shared by its detectors."""

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
from types import ModuleType

from gentg_blender.core.contract import GentgError

# What MediaPipe's C++ side writes to stderr at every start although nothing is wrong.
_NOISE = re.compile(
    rb"Created TensorFlow Lite XNNPACK delegate|inference_feedback_manager\.cc|landmark_projection_calculator\.cc"
    rb"|before absl::InitializeLog\(\) is called|gl_context|OpenGL error|no GPU"
)
_MODELS = ("modules/pose_detection/pose_detection.tflite", "modules/pose_landmark/pose_landmark_full.tflite")
_HINT = "Run 'gentg doctor' to see what is installed, or set up the backend again."

first_person = threading.Event()  # a warning of the native side comes with the first person of the process
_stderr_lock = threading.Lock()
_load_lock = threading.Lock()


def load() -> tuple[ModuleType, Path]:
    """The `pose` module of MediaPipe and its package folder. Raises GentgError("missing_dependency")."""
    with _load_lock, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # protobuf's notice about a method of MediaPipe's
        try:
            import mediapipe
            from mediapipe.python.solutions import pose
        except ImportError as error:
            raise GentgError(
                "missing_dependency", f"MediaPipe cannot be loaded: {error}", hint=_HINT
            ) from error
    root = Path(mediapipe.__file__).parent
    for model in _MODELS:  # MediaPipe would download a missing one without asking
        if not (root / model).is_file():
            raise GentgError(
                "missing_dependency", "A model of MediaPipe is missing.", file=root / model, hint=_HINT
            )
    return pose, root


def version() -> str:
    """Version of the installed wheel."""
    return metadata.version("mediapipe")


def hashes(root: Path) -> dict[str, str]:
    """Model file -> SHA-256."""
    return {Path(m).name: hashlib.sha256((root / m).read_bytes()).hexdigest() for m in _MODELS}


@contextmanager
def quiet() -> Iterator[None]:
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
