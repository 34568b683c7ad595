"""Files -> `Poses` and `Reference`: captures of ours, other systems' npz, references with cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gentg_blender.core.contract import GentgError, load_capture
from inference_backend.evaluation.poses import Camera, Poses, Reference


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise GentgError("no_such_file", "The file does not exist.", file=path)
    try:
        with np.load(path, allow_pickle=False) as z:
            return {name: z[name] for name in z.files}
    except Exception as error:  # numpy raises half a dozen kinds for a damaged file
        raise GentgError("bad_request", f"Not a readable .npz file: {error}", file=path) from error


def _need(arrays: dict[str, np.ndarray], names: tuple[str, ...], path: Path, what: str) -> None:
    missing = [n for n in names if n not in arrays]
    if missing:
        raise GentgError("bad_request", f"This is no {what}: it lacks {', '.join(missing)}.", file=path)


def read_poses(path: str | Path) -> Poses:
    """A capture of GenTG, or any npz with `xyz` (T,J,3) metres in camera axes, `names`, and `fps` or `timestamps`.

    NaN marks joints that were not found. An optional `absolute` (bool) says whether `xyz` is measured from the
    camera; without it only differences between joints are used. Raises GentgError.
    """
    path = Path(path)
    arrays = _load(path)
    if "result_version" in arrays:
        c = load_capture(path)
        hidden = ~c.seen
        xyz, world = c.xyz_camera.astype(float), c.xyz.astype(float)
        xyz[hidden], world[hidden] = np.nan, np.nan
        return Poses(tuple(c.names.tolist()), xyz, c.timestamps, c.frames.astype(int), True, c.sigma, world)
    _need(arrays, ("xyz", "names"), path, "result: neither a capture of GenTG nor an npz with xyz and names")
    xyz, names = arrays["xyz"].astype(float), tuple(arrays["names"].tolist())
    if xyz.ndim != 3 or xyz.shape[1:] != (len(names), 3):
        raise GentgError("bad_request", f"xyz has shape {xyz.shape} for {len(names)} names.", file=path)
    times = _times(arrays, len(xyz), path)
    frames = arrays.get("frames", np.arange(len(xyz))).astype(int)
    absolute = bool(arrays.get("absolute", False))
    sigma = arrays.get("sigma")
    return Poses(names, xyz, times, frames, absolute, sigma)


def _times(arrays: dict[str, np.ndarray], count: int, path: Path) -> np.ndarray:
    if "timestamps" in arrays:
        times = arrays["timestamps"].astype(float)
        if times.shape != (count,) or np.any(np.diff(times) <= 0):
            raise GentgError("bad_request", "The timestamps must increase, one a frame.", file=path)
        return times
    _need(arrays, ("fps",), path, "result with time: it needs fps or timestamps")
    if not float(arrays["fps"]) > 0:
        raise GentgError("bad_request", "fps must be positive.", file=path)
    return np.arange(count) / float(arrays["fps"])


def read_reference(path: str | Path, camera: str | None = None) -> Reference:
    """A reference with world positions and calibrated cameras (gt.npz, reference_3d.npz), or a GenTG capture.

    Keys: `xyz` (T,J,3) metres, Z up, NaN = unknown; `names`; `fps` or `timestamps`; `cam_names`, `K`, `R`, `t`
    (C,...) with x_cam = R x + t; `size` (C,2); optional `dist` (C,5), `height`, and `R_t`, `t_t` by frame for a
    single moving camera. `camera` names one of several. Raises GentgError.
    """
    path = Path(path)
    arrays = _load(path)
    if "result_version" in arrays:
        return _capture_as_reference(path)
    _need(arrays, ("xyz", "names", "cam_names", "K", "R", "t"), path, "reference")
    cameras = arrays["cam_names"].tolist()
    if camera is None and len(cameras) > 1:
        raise GentgError(
            "bad_request",
            f"The reference has the cameras {', '.join(cameras)}.",
            file=path,
            hint="Name the one the capture was made from: --camera " + cameras[0],
        )
    if camera is not None and camera not in cameras:
        raise GentgError(
            "bad_request", f"The reference has no camera {camera!r}, only {', '.join(cameras)}.", file=path
        )
    c = 0 if camera is None else cameras.index(camera)
    world = arrays["xyz"].astype(float)
    count = len(world)
    if "R_t" in arrays and "t_t" in arrays:
        rotation, shift = arrays["R_t"].astype(float), arrays["t_t"].astype(float)
    else:
        rotation = np.repeat(arrays["R"][c : c + 1].astype(float), count, 0)
        shift = np.repeat(arrays["t"][c : c + 1].astype(float), count, 0)
    size = tuple(int(v) for v in arrays["size"][c]) if "size" in arrays else None
    dist = arrays["dist"][c].astype(float) if "dist" in arrays else None
    clip = path.parent.name if camera is None else f"{path.parent.name}/{camera}"
    return Reference(
        tuple(arrays["names"].tolist()), world, _times(arrays, count, path),
        arrays.get("frames", np.arange(count)).astype(int),
        Camera(rotation, shift, arrays["K"][c].astype(float), dist, size), clip,
        float(arrays["height"]) if "height" in arrays else None,
    )  # fmt: skip


def _capture_as_reference(path: Path) -> Reference:
    """A corrected capture can be the reference for another: the same clip by another setting."""
    c = load_capture(path)
    count = len(c)
    world = np.where(c.seen[:, None, None], c.xyz.astype(float), np.nan)
    camera = Camera(
        np.repeat(c.R[None], count, 0),
        np.repeat(c.t[None], count, 0),
        c.K,
        None,
        (int(c.image_size[0]), int(c.image_size[1])),
    )
    return Reference(tuple(c.names.tolist()), world, c.timestamps, c.frames.astype(int), camera, path.stem)
