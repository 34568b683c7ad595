"""A real capture on several rigs beside the clip, one image a rig, to be looked at.

    .venv/bin/python tests/blender_retarget/make_images.py samples/beam_walk.mp4 -o docs/images \
        --rigs rigify mixamo --blender PATH

Estimates the clip unless --capture names a result file, lets Blender retarget and render
(render_on_rigs.py), and puts the clip's frames (top), the rig from the clip's camera (middle) and
from the camera's right (bottom) into DIR/retarget-RIG.jpg.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from gentg_blender.core.contract import Capture, GentgError, atomic_file, load_capture
from inference_backend.preview.draw import draw_label
from inference_backend.video.decode import decode

RIGS = ("rigify", "mixamo", "unreal_5", "mixamo_child", "capture")
GAP = 6
CELL = 340  # pixels high


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rigs", nargs="+", choices=RIGS, default=list(RIGS[:2]))
    parser.add_argument(
        "--capture", type=Path, metavar="NPZ", help="take this capture instead of estimating the clip"
    )
    parser.add_argument(
        "--times", nargs="+", type=float, metavar="S", help="moments to show (default: five over the clip)"
    )
    parser.add_argument(
        "--blender", default=os.environ.get("GENTG_BLENDER") or shutil.which("blender"), metavar="PATH"
    )
    args = parser.parse_args()
    if not args.blender:
        parser.error("no Blender: give --blender or set GENTG_BLENDER")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        try:
            capture_file = args.capture or estimate(args.clip, work)
            make(args.clip, capture_file, args.rigs, args.times, args.blender, work, args.out)
        except GentgError as error:
            sys.exit(f"GentgError: {error}")


def estimate(clip: Path, work: Path) -> Path:
    """Run `gentg estimate` with its defaults; the capture's path."""
    run = [sys.executable, "-m", "inference_backend", "estimate", str(clip), "-o", str(work)]
    if subprocess.run(run).returncode:
        sys.exit("The clip could not be estimated.")
    return work / f"{clip.stem}.npz"


def make(clip: Path, capture_file: Path, rigs: list[str], times, blender: str, work: Path, out: Path) -> None:
    capture = load_capture(capture_file)
    rows = chosen_rows(capture, times)
    crop = common_crop(capture, rows)
    scale = CELL / crop[0][3]
    width = round(crop[0][2] * scale)
    job = {"capture": str(capture_file.resolve()), "rigs": rigs, "out": str(work), "scale": scale,
           "times": [float(capture.timestamps[r]) for r in rows], "side_size": [width, CELL]}  # fmt: skip
    (work / "job.json").write_text(json.dumps(job))
    script = Path(__file__).with_name("render_on_rigs.py")
    run = [
        blender,
        "-b",
        "--factory-startup",
        "--python-exit-code",
        "1",
        "--python",
        str(script),
        "--",
        str(work / "job.json"),
    ]
    done = subprocess.run(run, capture_output=True, text=True)
    if done.returncode or not (work / "measured.json").exists():
        sys.exit(done.stdout[-4000:] + done.stderr[-4000:])
    top = []
    for k, image in enumerate(clip_frames(clip, [int(capture.frames[r]) for r in rows])):
        image = cut(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), crop[k], scale)
        draw_label(image, f"{job['times'][k]:.2f} s")
        top.append(image)
    for rig in rigs:
        middle = [cut(read(work / f"{rig}_camera_{k}.png"), crop[k], scale) for k in range(len(rows))]
        bottom = [read(work / f"{rig}_side_{k}.png") for k in range(len(rows))]
        save_jpg(out / f"retarget-{rig.replace('_', '-')}.jpg", sheet([top, middle, bottom]))
    for rig, figures in json.loads((work / "measured.json").read_text()).items():
        print(rig, json.dumps(figures))


def chosen_rows(capture: Capture, times: list[float] | None) -> list[int]:
    """Rows of the capture at the moments asked for, or at five that are spread over the seen frames."""
    seen = np.flatnonzero(capture.seen)
    if times is None:
        return [int(seen[round(x * (len(seen) - 1))]) for x in (0.04, 0.27, 0.5, 0.73, 0.96)]
    return [int(np.argmin(np.abs(capture.timestamps - t))) for t in times]


def common_crop(capture: Capture, rows: list[int]) -> list[tuple[float, float, float, float]]:
    """x, y, width, height around the person in pixels of the clip, of one size for all rows."""
    boxes = []
    for row in rows:
        points = capture.keypoints[row]
        points = points[points[:, 2] > 0, :2]
        boxes.append((points.min(0), points.max(0)))
    width, height = (1.2 * max(float((b - a)[axis]) for a, b in boxes) for axis in (0, 1))
    height *= 1.1  # keypoints end at the eyes
    width = float(np.clip(width, 0.5 * height, 1.4 * height))
    return [(*(0.5 * (a + b) - [width / 2, 0.54 * height]).tolist(), width, height) for a, b in boxes]


def clip_frames(clip: Path, frames: list[int]) -> list[np.ndarray]:
    wanted = {f: None for f in frames}
    for frame in decode(clip):
        if frame.index in wanted:
            wanted[frame.index] = frame.image.copy()
        if frame.index >= max(frames):
            break
    return [wanted[f] for f in frames]


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def save_jpg(path: Path, image: np.ndarray) -> None:
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not ok:
        raise GentgError("internal", "The image could not be encoded.", file=path)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def cut(image: np.ndarray, box, scale: float) -> np.ndarray:
    """The box (in the clip's pixels) out of an image at `scale`, grey where it reaches beyond."""
    x, y, w, h = (round(v * scale) for v in box)
    out = np.full((h, w, 3), 60, np.uint8)
    x0, y0, x1, y1 = max(0, x), max(0, y), min(image.shape[1], x + w), min(image.shape[0], y + h)
    out[y0 - y : y1 - y, x0 - x : x1 - x] = image[y0:y1, x0:x1]
    return out


def sheet(rows: list[list[np.ndarray]]) -> np.ndarray:
    h, w = rows[0][0].shape[:2]
    out = np.full((len(rows) * (h + GAP) - GAP, len(rows[0]) * (w + GAP) - GAP, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            out[r * (h + GAP) : r * (h + GAP) + h, c * (w + GAP) : c * (w + GAP) + w] = image[:h, :w]
    return out


if __name__ == "__main__":
    main()
