"""Which moment of its clip a sequencer strip shows at a scene frame: trim, offset, speed, retiming, speed effects.

Plain numbers in, a `timing.TimeMap` out; `tool.strips` reads the numbers from Blender. Follows what
Blender does (SEQ_give_frame_index): content frame = retiming((scene frame - content start) * playback
factor) * length, to which the frames cut off hard at the beginning are added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .contract import GentgError
from .images import NUMBER
from .timing import TimeMap

_EPS = 1e-4  # frames
TRANSITION = 1  # flag of a key that begins a gradual change of speed


@dataclass(frozen=True)
class RetimingKey:
    """A key of a retimed strip: at `frame` of the content, `factor` of the clip has been played."""

    frame: float  # content frames from the strip's content start, at playback factor 1
    factor: float  # 0..1 of the clip's length
    transition: bool = False  # the segment that begins here changes speed gradually


@dataclass(frozen=True)
class StripTiming:
    """All that decides which video frame a strip shows. Scene frames; clip frames where said."""

    content_start: float  # scene frame at which the clip's first (untrimmed) frame stands
    left_handle: int  # first scene frame shown
    right_handle: int  # first scene frame no longer shown
    length: int  # frames of the clip that the strip can show, after hard trims
    source_rate: float  # frames a second of the clip as Blender counts them
    playback_factor: float = 1.0  # clip frames per scene frame before retiming
    trim_start: int = 0  # frames of the clip cut off hard at its beginning
    reverse: bool = False
    keys: tuple[RetimingKey, ...] = ()
    keys_to_last: bool = False  # factor 1 is the start of the last clip frame (4.5), not its end (5.x)

    def content_end(self) -> float:
        """The scene frame after the last one with content of its own."""
        frames = self.keys[-1].frame + self.keys_to_last if self.keys else self.length
        return self.content_start + frames / self.playback_factor


@dataclass(frozen=True)
class SpeedEffect:
    """A Speed Control effect: at each of its frames it shows its input as that looks at another frame.

    Follows strip_speed_effect_target_frame_get of Blender: target frames are counted from `start`.
    """

    name: str
    control: Literal["STRETCH", "MULTIPLY", "LENGTH", "FRAME_NUMBER"]
    start: float  # scene frame from which the effect counts, on both sides
    left_handle: int  # first scene frame of the effect
    right_handle: int  # first scene frame after it
    input_length: int  # scene frames that the whole content of its input fills, trimmed or not
    input_trim: float  # scene frames of it before the input's left handle
    # MULTIPLY: factor; LENGTH: percent of `input_length`; FRAME_NUMBER: that number. One value, or one for each
    # scene frame of the effect where it is animated; STRETCH has none.
    values: tuple[float, ...] = ()
    reverse: bool = False
    negative_from_end: bool = (
        True  # a negative factor counts from the end (5.2), or stays at the start (before)
    )

    def shown(self, frames: np.ndarray) -> np.ndarray:
        """Scene frames (N,) within the handles -> the scene frames (N,) at which the input is shown."""
        frames = np.asarray(frames, float)
        count = self.right_handle - self.left_handle
        # Blender rounds this to whole frames; motion is smoother without.
        index = self.right_handle - frames if self.reverse else frames - self.start
        index = np.clip(index, 0, self.right_handle - self.start)
        values = np.asarray(self.values, float)
        if len(values) > 1:
            values = values[np.clip(frames.astype(int) - self.left_handle, 0, count - 1)]
        if self.control == "STRETCH":
            target = index * (self.input_length - self.input_trim) / count
        elif self.control == "MULTIPLY" and len(self.values) > 1:
            target = np.interp(index, np.arange(count), self._summed())
        elif self.control == "MULTIPLY":
            backwards = self.negative_from_end and values[0] < 0
            target = index * values[0] + (self.input_length if backwards else 0.0)
        elif self.control == "LENGTH":
            target = self.input_length * values / 100.0
        else:
            target = values
        return np.clip(np.broadcast_to(target, frames.shape), 0, self.input_length) + self.start

    def _summed(self) -> np.ndarray:
        """What an animated factor adds up to, frame by frame, never beyond the input's ends."""
        at, out = 0.0, [0.0]
        for factor in self.values[1:]:
            at = min(max(at + factor, 0.0), float(self.input_length))
            out.append(at)
        return np.array(out)


@dataclass(frozen=True)
class StripSpan:
    """What to estimate and where its keys belong."""

    time_map: TimeMap  # scene frame -> seconds in the clip, with the strip's handles as limits
    start: float  # seconds: the part of the clip that the strip shows
    end: float


def strip_span(strip: StripTiming, effects: Sequence[SpeedEffect] = ()) -> StripSpan:
    """The strip's map from scene frames to seconds of its clip, and the part of the clip it shows.

    `effects` are the Speed Control effects over the strip, the nearest first. Frames that Blender holds beyond
    the clip's ends get no keys. Raises GentgError("bad_request") when the strip shows nothing of the clip, or a
    single image of it.
    """
    if strip.length < 1 or not strip.source_rate > 0 or not strip.playback_factor > 0:
        raise GentgError(
            "bad_request", "The strip holds no frame of a clip.", hint="Reload or replace the strip's file."
        )
    frames, times = _nodes(strip)
    begin, end = strip.content_start, strip.content_end()
    if effects:
        shown, at = _through(effects)
        shows = (at > begin - _EPS) & (at < end - _EPS)
        first, last = (int(f) for f in shown[shows][[0, -1]]) if shows.any() else (1, 0)
        frames, times = shown, np.interp(at, frames, times)
        if last > first and np.ptp(times[shows]) < 0.5 / strip.source_rate:
            raise GentgError(
                "bad_request",
                f"The Speed Control effect {effects[-1].name} holds a single image of the clip, so nothing moves.",
                hint="Set it to Stretch or Multiply, animate its value, or mute it.",
            )
        frames, times = _corners(frames, times)
    else:
        first = max(strip.left_handle, math.ceil(begin - _EPS))
        last = min(strip.right_handle, math.ceil(end - _EPS)) - 1
    if last < first:
        raise GentgError(
            "bad_request", "The strip's handles leave nothing of the clip.", hint="Extend the strip."
        )
    time_map = TimeMap(frames, times, first, last)
    inner = np.concatenate([[first, last], frames[(frames > first) & (frames < last)]])
    seconds = time_map.to_time(inner)
    # Half a clip frame on both sides, so that rounding never loses the first or the last one.
    half = 0.5 / strip.source_rate
    return StripSpan(time_map, max(0.0, float(seconds.min()) - half), float(seconds.max()) + half)


def sequence_start(names: Sequence[str], on_disk: Iterable[str]) -> int:
    """Frames of a numbered image sequence that come before the strip's first image.

    The backend plays all images on disk whose names differ from the strip's in their last number only,
    from the lowest number on. Raises GentgError("bad_request") when the strip's images are not numbered
    one after another.
    """
    parts = [_split(name) for name in names]
    group = parts[0][0] if parts[0] else None
    if group is None or any(
        p is None or p[0] != group or p[1] != parts[0][1] + i for i, p in enumerate(parts)
    ):
        raise GentgError(
            "bad_request",
            "The strip's images are not numbered one after another.",
            hint="Use a sequence named like shot_0001.png, shot_0002.png, without gaps.",
        )
    present = [p[1] for p in map(_split, on_disk) if p is not None and p[0] == group]
    return parts[0][1] - min(present, default=parts[0][1])


def sequence_range(name: str, on_disk: Iterable[str]) -> tuple[int, int]:
    """Lowest number and how many numbers there are of the sequence that the image `name` belongs to."""
    own = _split(name)
    if own is None:
        raise GentgError(
            "bad_request",
            "The image's name has no number.",
            file=name,
            hint="Use a sequence named like shot_0001.png, shot_0002.png.",
        )
    present = [own[1], *(p[1] for p in map(_split, on_disk) if p is not None and p[0] == own[0])]
    return min(present), max(present) - min(present) + 1


def _split(name: str) -> tuple[tuple[str, str], int] | None:
    """'shot_0012.png' -> (('shot_', '.png'), 12); None without a number before the suffix."""
    stem, dot, suffix = name.rpartition(".")
    match = NUMBER.search(stem)
    return ((stem[: match.start()], stem[match.end() :] + dot + suffix), int(match[1])) if match else None


def _nodes(strip: StripTiming) -> tuple[np.ndarray, np.ndarray]:
    """Scene frames (N,) and the seconds (N,) of the clip shown there, between which the map is straight."""
    if strip.keys:
        index, content = _retimed(strip.keys, strip.length - strip.keys_to_last)
    else:
        index = content = np.array([0.0, float(strip.length)])
    frames = strip.content_start + index / strip.playback_factor
    times = (np.clip(content, 0, strip.length) + strip.trim_start) / strip.source_rate
    if strip.reverse:
        # Blender counts from the last frame that has content of its own.
        mirrored = strip.content_start + (strip.content_end() - 1) - frames
        return mirrored[::-1].copy(), times[::-1].copy()
    return frames, times


def _through(effects: Sequence[SpeedEffect]) -> tuple[np.ndarray, np.ndarray]:
    """Every scene frame (N,) of the uppermost effect, and the frames (N,) at which it shows the strip itself."""
    top = effects[-1]
    frames = np.arange(top.left_handle, max(top.right_handle, top.left_handle + 2), dtype=float)
    at = frames
    for effect in reversed(effects):
        at = effect.shown(at)
    return frames, at


def _corners(frames: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of a map without those that lie on a straight line between their neighbours."""
    bend = np.abs(np.diff(times, 2)) > 1e-9
    keep = np.concatenate([[True], bend, [True]])
    return frames[keep], times[keep]


def _retimed(keys: tuple[RetimingKey, ...], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of a retimed strip; a gradual change of speed becomes one node a frame."""
    index, content = [keys[0].frame], [keys[0].factor]
    for i, (a, b) in enumerate(zip(keys[:-1], keys[1:])):
        if b.frame <= a.frame:
            continue
        if a.transition and 0 < i < len(keys) - 2:
            inner = np.arange(math.floor(a.frame) + 1, math.ceil(b.frame))
            index += list(inner)
            content += list(_arc(keys[i - 1], a, b, keys[i + 2], inner))
        index.append(b.frame)
        content.append(b.factor)
    return np.array(index, float), np.array(content, float) * length


def _arc(
    before: RetimingKey, a: RetimingKey, b: RetimingKey, after: RetimingKey, x: np.ndarray
) -> np.ndarray:
    """Factors at content frames `x` between `a` and `b` on the circle that leaves the segment before `a`
    and meets the one after `b` without a corner (Blender's speed transition)."""
    slope_in = (a.factor - before.factor) / (a.frame - before.frame)
    slope_out = (after.factor - b.factor) / (after.frame - b.frame)
    if abs(slope_in - slope_out) < 1e-9:
        return a.factor + (x - a.frame) * (b.factor - a.factor) / (b.frame - a.frame)
    # The centre lies where the normals at a and b meet: x_c = x + slope * (y - y_c) for both.
    centre_y = (b.frame - a.frame + slope_out * b.factor - slope_in * a.factor) / (slope_out - slope_in)
    centre_x = a.frame - slope_in * (centre_y - a.factor)
    radius = math.hypot(a.frame - centre_x, a.factor - centre_y)
    side = -1.0 if centre_y > a.factor else 1.0
    # y - y_c = side * sqrt(r^2 - dx^2), written against a so that no digits are lost: the radius is huge.
    dx, da = x - centre_x, a.frame - centre_x
    root_a, root_x = math.sqrt(radius**2 - da**2), np.sqrt(np.maximum(radius**2 - dx**2, 0.0))
    return a.factor + side * (da**2 - dx**2) / (root_x + root_a)
