"""RTMDet finds people, RTMPose their points; both as ONNX files that the user provides.

The geometry (letterbox, 1.25 times enlarged box, SimCC bins) is that of mmdet's and mmpose's own
pre- and post-processing, which the exported models leave out.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gentg_blender.core.contract import GentgError

from .detector import Detection
from .layouts import LAYOUTS

_MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # ImageNet, RGB
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_PAD = 114  # grey of mmdet's letterbox
_ENLARGE = 1.25  # of a person's box, as in RTMPose's training
_BINS_PER_PIXEL = 2  # SimCC split ratio of all published RTMPose models


def _runtime() -> tuple[Any, Any]:
    try:
        import cv2
        import onnxruntime
    except ImportError as error:
        raise GentgError(
            "missing_dependency",
            f"RTMPose needs onnxruntime and OpenCV: {error}",
            hint="Set up the backend again, or run 'gentg doctor'.",
        ) from error
    return cv2, onnxruntime


class _Model:
    """An ONNX session with its fixed input size (width, height)."""

    def __init__(self, path: Path, threads: int):
        _, ort = _runtime()
        if not path.is_file():
            raise GentgError("bad_weights", "The model file does not exist.", file=path)
        self.path, self.threads = path, threads
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise GentgError(
                "bad_weights",
                f"The model cannot be loaded: {str(error)[:200]}",
                file=path,
                hint="Download the model again; it must be an ONNX file.",
            ) from error
        self.input = self.session.get_inputs()[0]
        self.outputs = [o.name for o in self.session.get_outputs()]

    def size(self, default: tuple[int, int]) -> tuple[int, int]:
        height, width = self.input.shape[2:4]
        return (
            width if isinstance(width, int) else default[0],
            height if isinstance(height, int) else default[1],
        )

    def run(self, tensor: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(None, {self.input.name: tensor})))

    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


class PersonDetector:
    """RTMDet (end2end export with NMS inside): image -> people's boxes."""

    def __init__(self, path: str | os.PathLike, *, least_score: float = 0.4, threads: int = 1):
        self.model = _Model(Path(path), threads)
        if not {"dets", "labels"} <= set(self.model.outputs):
            raise GentgError(
                "bad_weights",
                "This is no person detector: it has no outputs 'dets' and 'labels'.",
                file=path,
                hint="Export RTMDet with NMS (end2end.onnx).",
            )
        self.size, self.least_score = self.model.size((320, 320)), least_score

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(N, 5) x0, y0, x1, y1 pixels and score of the people in an RGB image, best first."""
        tensor, scale = self.preprocess(image)
        outputs = self.model.run(tensor)
        return self.postprocess(outputs["dets"][0], outputs["labels"][0], scale, image.shape[:2])

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Letterbox to the upper left corner; the model was trained on BGR. Returns (1,3,H,W) and the scale."""
        cv2, _ = _runtime()
        width, height = self.size
        scale = min(width / image.shape[1], height / image.shape[0])
        inner = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        canvas = np.full((height, width, 3), _PAD, np.uint8)
        canvas[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
        tensor = ((canvas - _MEAN) / _STD)[..., ::-1].transpose(2, 0, 1)
        return np.ascontiguousarray(tensor[None], np.float32), scale

    def postprocess(
        self, dets: np.ndarray, labels: np.ndarray, scale: float, shape: tuple[int, int]
    ) -> np.ndarray:
        """Keep people (class 0) above the least score, back in the image's pixels."""
        keep = (labels == 0) & (dets[:, 4] >= self.least_score)
        boxes = dets[keep].astype(float)
        boxes[:, :4] /= scale
        boxes[:, [0, 2]] = np.clip(boxes[:, [0, 2]], 0, shape[1])
        boxes[:, [1, 3]] = np.clip(boxes[:, [1, 3]], 0, shape[0])
        return boxes[np.argsort(-boxes[:, 4])]


@dataclass
class _Crop:
    matrix: np.ndarray  # (2, 3) from the crop's to the image's pixel centres


class PoseEstimator:
    """RTMPose (SimCC export): image and box -> keypoints."""

    def __init__(self, path: str | os.PathLike, *, threads: int = 1):
        self.model = _Model(Path(path), threads)
        if not {"simcc_x", "simcc_y"} <= set(self.model.outputs):
            raise GentgError(
                "bad_weights",
                "This is no RTMPose model: it has no outputs 'simcc_x' and 'simcc_y'.",
                file=path,
            )
        self.size = self.model.size((192, 256))
        shape = next(o.shape for o in self.model.session.get_outputs() if o.name == "simcc_x")
        self.points = shape[1] if isinstance(shape[1], int) else self._count()
        layouts = {len(LAYOUTS[name]): name for name in ("coco17", "halpe26", "wholebody133")}
        if self.points not in layouts:
            raise GentgError(
                "bad_weights", f"The model has {self.points} points; known are {sorted(layouts)}.", file=path
            )
        self.layout = layouts[self.points]

    def _count(self) -> int:
        blank = np.zeros((1, 3, self.size[1], self.size[0]), np.float32)
        return self.model.run(blank)["simcc_x"].shape[1]

    def __call__(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """(K, 3) x, y pixels and confidence of the person in `box` (x0, y0, x1, y1)."""
        tensor, crop = self.preprocess(image, box)
        outputs = self.model.run(tensor)
        return self.postprocess(outputs["simcc_x"][0], outputs["simcc_y"][0], crop)

    def preprocess(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, _Crop]:
        """Cut the box, enlarged and widened to the model's aspect, out of the image."""
        cv2, _ = _runtime()
        width, height = self.size
        centre = (box[:2] + box[2:4]) / 2
        extent = np.maximum(box[2:4] - box[:2], 1.0) * _ENLARGE
        scale = max(extent[0] / width, extent[1] / height)  # image pixels per crop pixel
        # Outer-corner coordinates: image = centre + scale (crop - size / 2); cv2 counts pixel centres.
        shift = centre - scale * np.array([width, height]) / 2 + 0.5 * scale - 0.5
        matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
        cut = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        tensor = ((cut - _MEAN) / _STD).transpose(2, 0, 1)
        return np.ascontiguousarray(tensor[None], np.float32), _Crop(matrix)

    def postprocess(self, simcc_x: np.ndarray, simcc_y: np.ndarray, crop: _Crop) -> np.ndarray:
        """Highest bin per axis (K, bins); its score is the lower of the two axes' (mmpose's rule)."""
        bins = np.stack([simcc_x.argmax(axis=1), simcc_y.argmax(axis=1)], axis=1)
        scores = np.minimum(simcc_x.max(axis=1), simcc_y.max(axis=1))
        centres = bins / _BINS_PER_PIXEL @ crop.matrix[:, :2].T + crop.matrix[:, 2]
        return np.column_stack([centres + 0.5, np.clip(scores, 0.0, 1.0)])


class RtmPose:
    """Detector of all people in an image, at most `most` of them, the most certain first."""

    name, max_size, follows = "rtmpose", 1080, False

    def __init__(
        self,
        person_model: str | os.PathLike,
        pose_model: str | os.PathLike,
        *,
        most: int = 4,
        threads: int = 1,
    ):
        """Raises GentgError: missing_dependency, bad_weights."""
        self._paths, self._most, self._threads = (Path(person_model), Path(pose_model)), most, threads
        self._people = PersonDetector(person_model, threads=threads)
        self._pose = PoseEstimator(pose_model, threads=threads)
        self.layout = self._pose.layout
        self.version = _runtime()[1].__version__
        self.hashes = {
            f"{p.parent.name}/{p.name}": m.model.sha256()
            for p, m in zip(self._paths, (self._people, self._pose))
        }

    @classmethod
    def open(cls, folder: str | os.PathLike) -> RtmPose:
        """Find both models among the .onnx files of a folder (and its sub-folders) by their outputs."""
        folder = Path(folder)
        if not folder.is_dir():
            raise GentgError("no_such_file", "The folder of the RTMPose models does not exist.", file=folder)
        found: dict[str, list[Path]] = {"dets": [], "simcc_x": []}
        for path in sorted([*folder.glob("*.onnx"), *folder.glob("*/*.onnx")]):
            for output in _Model(path, 1).outputs:
                if output in found:
                    found[output].append(path)
        for output, what in (("dets", "person detector (RTMDet)"), ("simcc_x", "pose model (RTMPose)")):
            if len(found[output]) != 1:
                count = "no" if not found[output] else "more than one"
                raise GentgError(
                    "bad_weights",
                    f"The folder holds {count} {what}.",
                    file=folder,
                    hint="Put one RTMDet and one RTMPose .onnx file there, each may lie in a sub-folder.",
                )
        return cls(found["dets"][0], found["simcc_x"][0])

    def detect(self, image: np.ndarray) -> list[Detection]:
        """People in an (H, W, 3) uint8 RGB image, most certain first."""
        people = self._people(image)[: self._most]
        return [Detection(self._pose(image, p[:4]), float(p[4]), p[:4].copy()) for p in people]

    def sees_several(self, image: np.ndarray, found: list[Detection]) -> bool:
        """Whether there are more people than one: `found` are all."""
        return len(found) > 1

    def reset(self) -> None:
        """Nothing to reset: every image is looked at on its own."""

    def clone(self) -> RtmPose:
        return RtmPose(*self._paths, most=self._most, threads=self._threads)

    def close(self) -> None:
        self._people = self._pose = None  # frees the sessions
