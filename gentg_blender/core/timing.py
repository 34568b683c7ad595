"""From the seconds of a video to the frames of a scene, and the samples that become keys.

Blender counts frames, a video counts seconds, and the two rates seldom agree: a 29.97 fps clip may
play in a 24 fps scene, start late, be trimmed, sped up or retimed. `TimeMap` is that relation and
`plan_keys` turns a capture's timestamps into the frames to key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .contract import GentgError
from .rotations import normalize, quat_slerp

Keys = Literal["frames", "source"]
_EPS = 1e-4  # frames; times and rates carry rounding of about 1e-6


def scene_rate(fps: float, fps_base: float) -> float:
    """Frames a second of a scene. `fps` alone is wrong: 29.97 is 30 / 1.001 there."""
    rate = fps / fps_base
    if not rate > 0:
        raise GentgError("bad_request", f"The scene's frame rate is {rate}.")
    return rate


def fps_and_base(rate: float) -> tuple[int, float]:
    """Blender's integer `fps` and its `fps_base` for a rate: 29.97003 -> (30, 1.001)."""
    if not 0.01 <= rate <= 32767:
        raise GentgError("bad_request", f"A scene cannot run at {rate} frames a second.")
    fps = max(1, round(rate))
    base = fps / rate
    for exact in (1.0, 1.001):
        if abs(base - exact) < 2e-5:
            base = exact
    return fps, base


@dataclass(frozen=True)
class TimeMap:
    """Scene frame -> seconds in the video, piecewise linear, going on straight beyond its ends.

    `frames` (N,) increase; `times` (N,) may do anything: fall (a reversed strip), stay (a held
    frame). No key is set before scene frame `first` or after `last` (a strip's handles).
    """

    frames: np.ndarray
    times: np.ndarray
    first: float = -np.inf
    last: float = np.inf

    def __post_init__(self) -> None:
        f, t = np.asarray(self.frames, float), np.asarray(self.times, float)
        if f.ndim != 1 or len(f) < 2 or f.shape != t.shape or np.any(np.diff(f) <= 0):
            raise ValueError("a time map needs two or more nodes with increasing frames")
        object.__setattr__(self, "frames", f)
        object.__setattr__(self, "times", t)

    @classmethod
    def linear(
        cls, rate: float, frame: float = 1.0, time: float = 0.0, speed: float = 1.0, **limits
    ) -> TimeMap:
        """`frame` shows the video at `time`; the scene runs at `rate`, the video at `speed` times its own."""
        return cls(np.array([frame, frame + rate]), np.array([time, time + speed]), **limits)

    def to_json(self) -> str:
        limits = [float(f) if np.isfinite(f) else None for f in (self.first, self.last)]
        return json.dumps({"frames": self.frames.tolist(), "times": self.times.tolist(), "limits": limits})

    @classmethod
    def from_json(cls, text: str) -> TimeMap:
        """What `to_json` wrote. Raises GentgError("bad_request") for anything else."""
        try:
            values = json.loads(text)
            first, last = values["limits"]
            return cls(
                np.array(values["frames"], float), np.array(values["times"], float),
                -np.inf if first is None else float(first), np.inf if last is None else float(last),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise GentgError(
                "bad_request",
                "The note of when the capture plays is damaged.",
                hint="Import the capture again.",
            ) from error

    def to_time(self, frame: np.ndarray | float) -> np.ndarray:
        """Scene frames (...) -> seconds (...)."""
        return _interpolate(np.asarray(frame, float), self.frames, self.times)

    @property
    def increasing(self) -> bool:
        return bool(np.all(np.diff(self.times) > 0))

    def to_frame(self, time: np.ndarray | float) -> np.ndarray:
        """Seconds (...) -> scene frames (...). Raises GentgError for reversed or held strips."""
        if not self.increasing:
            raise GentgError(
                "bad_request",
                "The strip runs backwards or holds a frame, so that a moment of the video has no single frame.",
                hint="Choose keys on whole frames.",
            )
        return _interpolate(np.asarray(time, float), self.times, self.frames)

    def slope(self, frame: np.ndarray) -> np.ndarray:
        """Seconds of video per scene frame (...), signed."""
        i = np.clip(np.searchsorted(self.frames, frame, side="right") - 1, 0, len(self.frames) - 2)
        return (np.diff(self.times) / np.diff(self.frames))[i]


def _interpolate(x: np.ndarray, xp: np.ndarray, fp: np.ndarray) -> np.ndarray:
    """np.interp that continues its first and last segment."""
    i = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, len(xp) - 2)
    return fp[i] + (x - xp[i]) * (fp[i + 1] - fp[i]) / (xp[i + 1] - xp[i])


@dataclass(frozen=True)
class KeyPlan:
    """The keys of one capture, F of them: key k stands at scene frame `frames[k]` and lies
    `weight[k]` of the way from source sample `lower[k]` to `upper[k]`."""

    frames: np.ndarray  # (F,) float, increasing; whole numbers unless keys == "source"
    lower: np.ndarray  # (F,) int
    upper: np.ndarray  # (F,) int
    weight: np.ndarray  # (F,) 0..1
    hold: np.ndarray  # (F,) bool: the person is lost after this key, the pose is held
    gaps: np.ndarray  # (G, 2) scene frames: last key before and first key after each gap

    def __len__(self) -> int:
        return len(self.frames)

    def vectors(self, values: np.ndarray) -> np.ndarray:
        """(T, ...) -> (F, ...), linear in time."""
        w = self.weight.reshape((-1,) + (1,) * (values.ndim - 1))
        return (1.0 - w) * values[self.lower] + w * values[self.upper]

    def rotations(self, quaternions: np.ndarray) -> np.ndarray:
        """(T, ..., 4) wxyz -> (F, ..., 4) unit quaternions, along the shorter arc."""
        out = normalize(self.nearest(quaternions))
        i = np.flatnonzero((self.weight > 0.0) & (self.weight < 1.0))  # the others are samples themselves
        w = np.broadcast_to(
            self.weight[i].reshape((-1,) + (1,) * (quaternions.ndim - 2)), (len(i),) + quaternions.shape[1:-1]
        )
        out[i] = quat_slerp(quaternions[self.lower[i]], quaternions[self.upper[i]], w)
        return out

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """(T, ...) -> (F, ...) of the nearest sample, for flags."""
        return values[np.where(self.weight > 0.5, self.upper, self.lower)]


def seen_runs(seen: np.ndarray) -> np.ndarray:
    """(T,) bool -> (N, 2) first and last index of every unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], seen.astype(np.int8), [0]])))
    return edges.reshape(-1, 2) - [0, 1]


def plan_keys(timestamps: np.ndarray, seen: np.ndarray, time_map: TimeMap, keys: Keys = "frames") -> KeyPlan:
    """Which scene frames to key, and from which samples.

    timestamps (T,) seconds, increasing; seen (T,) bool. With keys="frames" every whole scene
    frame that lies within half a frame of a seen stretch gets a key; nothing is interpolated
    across frames where the person was not seen. With keys="source" every seen sample gets one
    at its own sub-frame time.

    Raises GentgError("no_person") when nothing was seen, GentgError("bad_request") when nothing
    falls between the map's `first` and `last`, or for keys="source" on a reversed strip.
    """
    timestamps, seen = np.asarray(timestamps, float), np.asarray(seen, bool)
    runs = seen_runs(seen)
    if len(runs) == 0:
        raise GentgError(
            "no_person",
            "No person was seen in any frame, so there is nothing to key.",
            hint="Choose a part of the clip where the whole person is visible.",
        )
    if keys == "source":
        plan = _plan_source(timestamps, seen, time_map)
    elif keys == "frames":
        plan = _plan_frames(timestamps, runs, time_map)
    else:
        raise ValueError(f"keys must be 'frames' or 'source', not {keys!r}")
    if len(plan) == 0:
        raise GentgError(
            "bad_request",
            "The person is not seen in the part of the clip that the strip shows.",
            hint="Extend the strip's handles or estimate the part that it shows.",
        )
    return plan


def _with_gaps(frames, lower, upper, weight, broken) -> KeyPlan:
    """`broken` (F-1,) says whether the person is lost between key k and k + 1."""
    hold = np.zeros(len(frames), bool)
    hold[:-1] = broken
    at = np.flatnonzero(broken)
    return KeyPlan(frames, lower, upper, weight, hold, np.stack([frames[at], frames[at + 1]], axis=-1))


def _plan_source(timestamps: np.ndarray, seen: np.ndarray, time_map: TimeMap) -> KeyPlan:
    frames = time_map.to_frame(timestamps)
    i = np.flatnonzero(seen & (frames >= time_map.first - _EPS) & (frames <= time_map.last + _EPS))
    return _with_gaps(frames[i], i, i, np.zeros(len(i)), np.diff(i) > 1)


def _plan_frames(timestamps: np.ndarray, runs: np.ndarray, time_map: TimeMap) -> KeyPlan:
    begin, end = timestamps[runs[:, 0]], timestamps[runs[:, 1]]
    frames = _candidates(begin[0], end[-1], time_map)
    times = time_map.to_time(frames)
    tolerance = (0.5 + _EPS) * np.abs(time_map.slope(frames))  # half a scene frame, in seconds

    after = np.clip(np.searchsorted(begin, times, side="right"), 1, len(runs)) - 1
    run, distance = after, np.maximum(0.0, np.maximum(begin[after] - times, times - end[after]))
    following = np.minimum(after + 1, len(runs) - 1)
    nearer = np.maximum(0.0, begin[following] - times) < distance
    run = np.where(nearer, following, run)
    distance = np.where(nearer, np.maximum(0.0, begin[following] - times), distance)

    keep = distance <= tolerance
    frames, run = frames[keep], run[keep]
    times = np.clip(times[keep], begin[run], end[run])
    upper = np.clip(np.searchsorted(timestamps, times, side="left"), runs[run, 0], runs[run, 1])
    lower = np.maximum(upper - 1, runs[run, 0])
    span = timestamps[upper] - timestamps[lower]
    weight = np.where(span > 0, (times - timestamps[lower]) / np.where(span > 0, span, 1.0), 0.0)
    snapped = np.where(weight < 1e-3, 0.0, np.where(weight > 1.0 - 1e-3, 1.0, weight))
    return _with_gaps(frames, lower, upper, snapped, np.diff(frames) > 1.5)


def _candidates(begin: float, end: float, time_map: TimeMap) -> np.ndarray:
    """Whole frames, as floats, at which the map may show a time of [begin, end]."""
    spans = []
    knots = np.concatenate([[-np.inf], time_map.frames[1:-1], [np.inf]])
    slopes = np.diff(time_map.times) / np.diff(time_map.frames)
    for a, b, frame, time, slope in zip(knots[:-1], knots[1:], time_map.frames, time_map.times, slopes):
        if slope == 0:
            if (
                not (np.isfinite(a) and np.isfinite(b))
                and not np.isfinite([time_map.first, time_map.last]).all()
            ):
                raise ValueError("a map that holds a frame at its end needs `first` and `last`")
            low, high = (a, b) if begin <= time <= end else (np.inf, -np.inf)
        else:
            x, y = frame + (begin - time) / slope, frame + (end - time) / slope
            low, high = max(a, min(x, y) - 0.5), min(b, max(x, y) + 0.5)
        low, high = max(low, time_map.first), min(high, time_map.last)
        if low - _EPS <= high + _EPS:
            spans.append(np.arange(np.ceil(low - _EPS), np.floor(high + _EPS) + 1))
    return np.unique(np.concatenate(spans)) if spans else np.zeros(0)
