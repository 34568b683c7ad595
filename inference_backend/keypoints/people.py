"""Who is in a clip: a few images over its length, everybody in each, the same people recognised over time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from gentg_blender.core.contract import GentgError, PersonSeed
from inference_backend.video.decode import Frame, decode
from inference_backend.video.index import PacketIndex, scan
from inference_backend.video.probe import VideoInfo, probe
from inference_backend.video.sequence import ImageSequence

from .appearance import average, describe, distance
from .detector import Detection, Detector
from .layouts import to_canonical
from .tracking import overlap

Report = Callable[[str, int, int | None], None]
MOST_SAMPLES = 24
_EVERY, _FEWEST = 1.5, 6  # seconds between samples, where that needs fewer than the most; at least this many
_SEEK = 20.0  # seconds of clip above which it is quicker to jump from sample to sample
_MAX_SIZE = 1080  # shorter side in pixels: small people in the background need more than the detectors do
_THUMBNAIL = 256  # pixels, longer side
_HINT = "Film the whole person, lit, at least a fifth of the image's height."

# Costs of calling two sightings one person; a cost of 1 is "hardly". Appearance distances as in tracking.py: seconds of
# one person differ by 2.7, single images more.
_LOOK = 8.0  # L*a*b* units
_REACH, _SPEED = 0.5, 0.4  # body sizes, and per second: how far people are from where they were last seen
_GROWTH = 1.6  # factor of the size, between neighbouring samples
_BLIND = 4.0  # seconds over which place alone may tell, when clothes are not seen
_LEAST_SCORE = 0.35
_ONCE_SCORE = 0.75  # least of somebody seen in one image of several only, unless large ...
_ONCE_SIZE = 0.25  # ... and least diagonal, of the image's height
_ALIKE = 4.5  # L*a*b* units below which two people who are never seen together are one


@dataclass(frozen=True)
class Person:
    """Somebody in the clip. Boxes are pixels of the upright, unscaled image."""

    share: float  # of the sampled images that show this person, 0..1
    box: tuple[float, float, float, float]  # x0, y0, x1, y1: the typical one
    seed: PersonSeed  # where this person is seen best: names him or her in `EstimateSettings.person`
    thumbnail: bytes  # JPEG

    def to_dict(self) -> dict[str, Any]:
        """All but the thumbnail, as JSON values."""
        return {
            "share": round(self.share, 4),
            "box": [round(v, 1) for v in self.box],
            "seed": self.seed.to_dict(),
        }


@dataclass(frozen=True)
class PeopleFound:
    """The people of a clip, the most prominent first (size times confidence over the samples)."""

    people: list[Person]
    sampled: int  # images looked at
    image_size: tuple[int, int]  # width, height in pixels


@dataclass(frozen=True)
class _Sighting:
    sample: int
    time: float
    detection: Detection  # unscaled pixels, with appearance
    middle: np.ndarray  # (2,) of the box
    size: float  # diagonal of the box
    clear: float  # 0..1: not covered by others, not cut off by the image's edge
    thumbnail: bytes

    @property
    def weight(self) -> float:
        return self.size * self.detection.score


def find_people(
    source: str | os.PathLike | ImageSequence,
    detector: Detector,
    start: float | None = None,
    end: float | None = None,
    report: Report = lambda stage, done, total: None,
    samples: int = MOST_SAMPLES,
) -> PeopleFound:
    """Everybody seen in the clip at start <= time < end (seconds), in at most `samples` images spread over it.

    `detector` must find all people; between images that do not follow each other its `reset` is called, if it has
    one. `report` gets ("people", samples done, of how many) and may raise to stop.
    Raises GentgError: what video.decode raises, no_person, cancelled (through `report`).
    """
    info = probe(source)
    begin, last = start or 0.0, info.duration if end is None else min(end, info.duration)
    length = max(last - begin, 0.0)
    count = max(1, min(samples, max(_FEWEST, math.ceil(length / _EVERY)), math.floor(length * info.fps) or 1))
    times = begin + (np.arange(count) + 0.5) * length / count
    reset = getattr(detector, "reset", lambda: None)
    identities: list[list[_Sighting]] = []
    looked = 0
    for frame in _images(source, info, times, begin, last):
        report("people", looked, count)
        reset()
        _assign(identities, _sightings(looked, frame, detector, info.size))
        looked += 1
    report("people", count, count)
    people = _merge([i for i in identities if _is_somebody(i, looked, info.size[1])])
    people = [p for p in people if not _is_passing_view(p, people)]
    if not people:
        raise GentgError(
            "no_person", f"Nobody was found in {looked} images of the clip.", file=info.path, hint=_HINT
        )
    people.sort(key=lambda sightings: -sum(s.weight for s in sightings))
    return PeopleFound([_person(p, looked) for p in people], looked, info.size)


# --------------------------------------------------------------------------- images


def _images(
    source: str | os.PathLike | ImageSequence, info: VideoInfo, times: np.ndarray, begin: float, end: float
) -> Iterator[Frame]:
    """The images shown at about these times, without decoding more of the clip than necessary."""
    if isinstance(source, ImageSequence):
        numbers = np.array(source.numbers)
        chosen = sorted({int(np.abs(numbers / source.fps - t).argmin()) for t in times})
        some = replace(
            source,
            files=tuple(source.files[i] for i in chosen),
            numbers=tuple(int(numbers[i]) for i in chosen),
        )
        yield from decode(some, max_size=_MAX_SIZE, warn=lambda text: None)
        return
    index = scan(source) if end - begin > _SEEK else None
    if index is not None and index.countable:
        yield from _jumping(source, times, index)
        return
    wanted = list(times)
    frames = decode(
        source, begin or None, end if end < info.duration else None, _MAX_SIZE, warn=lambda text: None
    )
    try:
        for frame in frames:
            if not wanted:
                break
            if frame.time >= wanted[0] - 0.5 / info.fps:
                wanted.pop(0)
                yield frame
    finally:
        frames.close()


def _jumping(source: str | os.PathLike, times: np.ndarray, index: PacketIndex) -> Iterator[Frame]:
    apart = float(np.diff(times).min()) if len(times) > 1 else 0.0
    keys = index.keyframe_times
    for time in times:
        near = keys[np.abs(keys - time) < 0.4 * apart]  # decoding begins there: nothing is decoded in vain
        time = float(near[np.abs(near - time).argmin()]) if len(near) else float(time)
        frames = decode(source, time, None, _MAX_SIZE, warn=lambda text: None, index=index)
        try:
            yield next(frames)
        except GentgError as error:
            if error.code != "bad_request":  # else the file ends before its own duration
                raise
        finally:
            frames.close()


def _sightings(sample: int, frame: Frame, detector: Detector, size: tuple[int, int]) -> list[_Sighting]:
    image = frame.image
    scale = np.array([size[0] / image.shape[1], size[1] / image.shape[0]])
    found = detector.detect(image)
    out = []
    for i, detection in enumerate(found):
        box = detection.box
        covered = max((overlap(box, other.box) for j, other in enumerate(found) if j != i), default=0.0)
        inside = (np.minimum(box[2:4], image.shape[1::-1]) - np.maximum(box[:2], 0)).clip(0).prod()
        whole = inside / max(float((box[2:4] - box[:2]).prod()), 1.0)
        points = detection.keypoints.copy()
        points[:, :2] *= scale
        look = describe(image, to_canonical(detection.keypoints, detector.layout))
        wide = box[:4] * np.tile(scale, 2)
        out.append(_Sighting(
            sample, frame.time, replace(detection, keypoints=points, box=wide, appearance=look), (wide[:2] + wide[2:]) / 2,
            max(float(np.hypot(*(wide[2:] - wide[:2]))), 1.0), float(whole) * (1.0 - covered), _jpeg(image, box),
        ))  # fmt: skip
    return out


def _jpeg(image: np.ndarray, box: np.ndarray) -> bytes:
    """The person with a margin, as square as the image allows, 256 pixels at most."""
    height, width = image.shape[:2]
    side = 1.15 * float((box[2:4] - box[:2]).max())
    extent = np.minimum(max(side, 16.0), (width, height))
    low = np.clip((box[:2] + box[2:4] - extent) / 2, 0, (width, height) - extent)
    x0, y0 = low.astype(int)
    x1, y1 = np.ceil(low + extent).astype(int)
    crop = image[y0:y1, x0:x1]
    scale = min(1.0, _THUMBNAIL / max(crop.shape[:2]))
    if scale < 1.0:
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


# --------------------------------------------------------------------------- who is who


def _assign(identities: list[list[_Sighting]], seen: list[_Sighting]) -> None:
    """Give each sighting of one image to the identity that it continues, or start one with it."""
    if identities and seen:
        cost = np.array([[_cost(i, s) for s in seen] for i in identities])
        # Leaving a person out costs 1, so that nobody is forced upon a stranger.
        rows, columns = linear_sum_assignment(np.minimum(cost, 2.0))
        pairs = {int(b): identities[a] for a, b in zip(rows, columns) if cost[a, b] <= 1.0}
    else:
        pairs = {}
    for i, sighting in enumerate(seen):
        if i in pairs:
            pairs[i].append(sighting)
        else:
            identities.append([sighting])


def _cost(identity: list[_Sighting], sighting: _Sighting) -> float:
    """0 for surely the same person, 1 for hardly, infinite for certainly not."""
    last = identity[-1]
    gap = sighting.time - last.time
    away = (
        float(np.hypot(*(sighting.middle - last.middle)))
        / max(last.size, sighting.size)
        / (_REACH + _SPEED * gap)
    )
    grown = abs(math.log(sighting.size / last.size)) / math.log(_GROWTH) / max(1.0, gap)
    place = max(away, grown)
    look = distance(
        average(s.detection.appearance for s in identity), average([sighting.detection.appearance])
    )
    if math.isfinite(look):
        return 0.8 * look / _LOOK + 0.2 * min(place, 2.0)
    return 0.3 + 0.7 * place if gap <= _BLIND else math.inf


def _is_somebody(identity: list[_Sighting], samples: int, height: int) -> bool:
    """Furniture is taken for a person now and then: with little confidence, or once only and small."""
    score = float(np.mean([s.detection.score for s in identity]))
    if score < _LEAST_SCORE:
        return False
    share = identity[0].size / height
    sure = share > 2 * _ONCE_SIZE or (share > _ONCE_SIZE and score >= _ONCE_SCORE)
    return len(identity) > 1 or samples < 3 or sure


def _is_passing_view(identity: list[_Sighting], people: list[list[_Sighting]]) -> bool:
    """Whether somebody seen once is a known person, half covered: one who is seen before and after, but not then."""
    if len(identity) > 1:
        return False
    once = identity[0]
    for other in people:
        samples = {s.sample for s in other}
        if once.sample not in samples and min(samples) < once.sample < max(samples):
            return True
    return False


def _merge(identities: list[list[_Sighting]]) -> list[list[_Sighting]]:
    """Join identities of the same clothes that never appear together, the likest first."""
    people = list(identities)
    while True:
        looks = [average(s.detection.appearance for s in p) for p in people]
        pairs = [
            (distance(looks[a], looks[b]), a, b)
            for a in range(len(people))
            for b in range(a)
            if not {s.sample for s in people[a]} & {s.sample for s in people[b]}
        ]
        apart, a, b = min(pairs, default=(math.inf, 0, 0))
        if apart > _ALIKE:
            return people
        people[b] = sorted(people[a] + people[b], key=lambda s: s.sample)
        del people[a]


def _person(sightings: list[_Sighting], samples: int) -> Person:
    best = max(sightings, key=lambda s: s.weight * (0.05 + s.clear))
    box = np.median([s.detection.box for s in sightings], axis=0)
    seed = PersonSeed(float(best.time), tuple(round(float(v), 1) for v in best.detection.box))
    return Person(len(sightings) / samples, tuple(float(v) for v in box), seed, best.thumbnail)
