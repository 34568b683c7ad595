"""From people found frame by frame to one person's track that never jumps to somebody else.

Sightings are linked while motion alone makes it certain that they are one person. Where it does not
(out of sight for long, a cut), a further piece is joined only to clothes that match: see `_rejoin`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from gentg_blender.core.contract import GentgError, PersonSeed
from gentg_blender.core.skeleton import JOINT_INDEX, JOINT_MIRROR

from .appearance import average, distance
from .detector import Detection
from .layouts import to_canonical

_TORSO = [JOINT_INDEX[n] for n in ("l_shoulder", "r_shoulder", "l_hip", "r_hip")]


@dataclass(frozen=True)
class TrackingConfig:
    """Gates of the tracker. Lengths are in body sizes: about the standing height in the image."""

    reach: float = 0.18  # how far a person's middle may lie from where it is expected
    speed: float = 2.5  # further per second since the person was last seen
    widest: float = 0.6  # but never further than this
    growth: float = 1.5  # factor of the body size between neighbouring sightings
    max_gap: float = 1.0  # seconds unseen after which a track ends
    shape: float = 0.16  # mean displacement of the points about the middle that needs `shape_time` to happen
    shape_time: float = 0.25  # seconds
    min_score: float = 0.3
    least: float = 0.4  # seconds that a person must be seen for, or a third of a clip shorter than that
    shaky: float = 0.02  # second difference of a false find's points, body sizes; people's is far lower ...
    shaky_motion: float = 3.5  # ... apart from this acceleration, body sizes per second squared
    # Differences in appearance, L*a*b* units. Measured: pieces of a second of one person differ by 2.7 (median),
    # two women in grey cardigans by 8.6, other pairs in one scene by more than 11, two in one uniform by 4.8.
    alike: float = 4.5  # at most, to join a person who was out of sight longer than `max_gap`
    certain: float = 3.0  # at most, after a shorter time, when it takes a cut to explain the jump
    ahead: float = 1.5  # by which the chosen person must match better than anybody else
    near: float = 0.35  # distance of two people's middles from which on one may be taken for the other ...
    near_gap: float = 0.5  # ... and seconds without it that still are the same encounter
    memory: float = 3.0  # seconds before and after an encounter whose looks are compared
    seed_time: float = 0.5  # seconds around a person's seed in which he or she must be found ...
    seed_overlap: float = 0.3  # ... with a box that shares this much with the seed's, intersection over union


@dataclass
class _Track:
    rows: list[int] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    time: float = 0.0
    middle: np.ndarray = field(default_factory=lambda: np.zeros(2))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    size: float = 1.0
    form: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def sightings(self) -> list[tuple[int, int]]:
        """(frame's row, detection's index) of each."""
        return list(zip(self.rows, self.picks))

    def part(self, begin: int, end: int) -> _Track:
        """Some of its sightings, by their positions; without the motion state, which only linking needs."""
        return _Track(self.rows[begin:end], self.picks[begin:end])

    def overlaps(self, other: _Track) -> bool:
        return self.rows[0] <= other.rows[-1] and other.rows[0] <= self.rows[-1]


@dataclass(frozen=True, slots=True)
class _Person:
    """What of a detection matters here, from its torso: hidden legs wander and must not end a track."""

    points: np.ndarray  # (35, 3)
    middle: np.ndarray  # (2,) pixels
    size: float  # pixels, about the standing height
    score: float
    appearance: np.ndarray | None

    @classmethod
    def of(cls, detection: Detection, layout: str) -> _Person:
        points = to_canonical(detection.keypoints, layout)
        torso = points[_TORSO]
        if not (torso[:, 2] > 0).all():  # a detector that left some out: all it has
            torso = points[points[:, 2] > 0]
            extent = np.hypot(*np.ptp(torso[:, :2], axis=0)) if len(torso) else 1.0
            middle = torso[:, :2].mean(axis=0) if len(torso) else np.zeros(2)
            return cls(points, middle, max(extent, 1.0), detection.score, detection.appearance)
        left, right, left_hip, right_hip = torso[:, :2]
        length = np.linalg.norm((left + right - left_hip - right_hip) / 2)
        # Shoulders are about 0.21, shoulders to hips 0.29 of the height; the longer is the less foreshortened.
        size = max(length / 0.29, np.linalg.norm(left - right) / 0.21, 1.0)
        return cls(points, torso[:, :2].mean(axis=0), float(size), detection.score, detection.appearance)


def follow_person(
    times: np.ndarray,
    detections: list[list[Detection]],
    layout: str,
    config: TrackingConfig = TrackingConfig(),
    person: PersonSeed | None = None,
) -> np.ndarray:
    """Choose one person and every stretch in which that person is certainly seen.

    `times` (T,) seconds, `detections` those of each frame; `person` says who (boxes in the detections' pixels), by
    default the most prominent one. Returns (T,) the index of the chosen detection in each frame, -1 where the person
    was not seen. All -1 if nobody was found. Raises GentgError("no_person") if `person` was not found.
    Prominence is the sum over time of body size times confidence; finds whose points tremble like
    no body can (furniture taken for a person) do not count, nor do finds that last a moment only.
    Detections without `appearance` are never joined over a long absence or a jump.
    """
    found = [[_Person.of(d, layout) for d in frame] for frame in detections]
    steps = np.diff(times)
    frame_time = float(np.median(steps)) if len(steps) else 1.0
    duration = np.minimum(np.append(steps, frame_time), 2 * frame_time)
    least = min(config.least, duration.sum() / 3) - 1e-9
    tracks = _cut_where_exchanged(_link(times, found, config), times, found, config)
    people = [t for t in tracks if sum(duration[t.rows]) >= least and not _is_false(t, times, found, config)]
    chosen = np.full(len(times), -1)
    if person is not None or people:
        if person is not None:
            best = _named(person, tracks, times, detections, config)
            people = people if any(t is best for t in people) else [*people, best]
        else:
            best = max(
                people,
                key=lambda t: sum(
                    duration[r] * found[r][p].size * found[r][p].score for r, p in t.sightings()
                ),
            )
        for track in _rejoin(best, people, times, found, config):
            chosen[track.rows] = track.picks
    return chosen


@dataclass(frozen=True)
class _Encounter:
    """Rows of a track between which somebody else was so near that the two may have been exchanged."""

    first: int
    last: int
    others: tuple[int, ...]  # indices of the tracks that came near


def _cut_where_exchanged(
    tracks: list[_Track], times: np.ndarray, found: list[list[_Person]], config: TrackingConfig
) -> list[_Track]:
    """Cut tracks that wear somebody else's clothes after an encounter; what lies inside it is left out.

    Motion alone cannot tell two people apart who pass in front of each other. `_rejoin` puts the pieces together
    again by their clothes. Where those do not tell, the tracks stay as motion linked them.
    """
    out: list[_Track] = []
    for index, track in enumerate(tracks):
        begin = 0
        for meeting in _encounters(index, tracks, times, found, config):
            before = _looks(track, times, found, times[meeting.first], -config.memory)
            after = _looks(track, times, found, times[meeting.last], config.memory)
            changed = distance(before, after)
            if not config.certain < changed < np.inf:
                continue
            others = [tracks[i] for i in meeting.others]
            alike = [
                distance(after, _looks(o, times, found, times[meeting.first], -config.memory)) for o in others
            ]
            alike += [
                distance(before, _looks(o, times, found, times[meeting.last], config.memory)) for o in others
            ]
            if min(alike) + config.ahead < changed:
                rows = np.array(track.rows)
                out.append(track.part(begin, int(np.searchsorted(rows, meeting.first))))
                begin = int(np.searchsorted(rows, meeting.last, side="right"))
        out.append(track.part(begin, len(track.rows)) if begin else track)
    return [t for t in out if t.rows]


def _encounters(
    index: int, tracks: list[_Track], times: np.ndarray, found: list[list[_Person]], config: TrackingConfig
) -> list[_Encounter]:
    """When other tracks came near the one of this index, in order."""
    mine = {r: found[r][p] for r, p in tracks[index].sightings()}
    near: list[tuple[int, int]] = []  # row, other track
    for i, other in enumerate(tracks):
        if i == index or not tracks[index].overlaps(other):
            continue
        for row, pick in other.sightings():
            if row in mine:
                apart = np.linalg.norm(found[row][pick].middle - mine[row].middle)
                if apart < config.near * max(found[row][pick].size, mine[row].size):
                    near.append((row, i))
    meetings: list[_Encounter] = []
    for row, i in sorted(near):
        if meetings and times[row] - times[meetings[-1].last] <= config.near_gap:
            last = meetings[-1]
            meetings[-1] = _Encounter(last.first, row, tuple(sorted({*last.others, i})))
        else:
            meetings.append(_Encounter(row, row, (i,)))
    return [_Encounter(m.first, _found_again(m, tracks, times, config), m.others) for m in meetings]


def _found_again(meeting: _Encounter, tracks: list[_Track], times: np.ndarray, config: TrackingConfig) -> int:
    """The row up to which an encounter lasts: until everybody is seen again who was hidden by somebody in it."""
    last = meeting.last
    for i in meeting.others:
        later = [r for r in tracks[i].rows if r > meeting.last]
        if later and times[later[0]] - times[meeting.last] <= config.max_gap:
            last = max(last, later[0])
    return last


def _looks(
    track: _Track, times: np.ndarray, found: list[list[_Person]], time: float, span: float
) -> np.ndarray:
    """What the track's person wears in `span` seconds after `time`, or before it where `span` is negative."""
    low, high = (time + span, time) if span < 0 else (time, time + span)
    return average(found[r][p].appearance for r, p in track.sightings() if low < times[r] < high)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    size = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    if (size <= 0).any():
        return 0.0
    shared = float(size.prod())
    return shared / float((a[2:4] - a[:2]).prod() + (b[2:4] - b[:2]).prod() - shared)


def _named(
    person: PersonSeed,
    tracks: list[_Track],
    times: np.ndarray,
    detections: list[list[Detection]],
    config: TrackingConfig,
) -> _Track:
    """The track of the person who is nearest to the seed's place and time. Raises GentgError("no_person")."""
    box, best, most = np.array(person.box), None, -np.inf
    for track in tracks:
        for row, pick in track.sightings():
            away = abs(float(times[row]) - person.time)
            shared = overlap(box, detections[row][pick].box) if away <= config.seed_time else 0.0
            if shared >= config.seed_overlap and shared - away > most:
                best, most = track, shared - away
    if best is None:
        raise GentgError("no_person", f"The chosen person was not found {person.time:.2f} s into the clip.",
                         hint="FootageSample for people in this clip again and choose one, or take the most prominent one.")  # fmt: skip
    return best


def _rejoin(
    best: _Track, people: list[_Track], times: np.ndarray, found: list[list[_Person]], config: TrackingConfig
) -> list[_Track]:
    """`best` and all other tracks that certainly show the same person, told by what he or she wears.

    A track is joined if it looks like `best`, lies wholly before, after or between what is joined already,
    has a plausible size there, and if nobody else who is certainly not the chosen one (seen at the same
    time, or dressed otherwise) looks about as much like it. Two people who look alike and are both
    candidates at the same time rule each other out.
    """
    looks = [average(found[r][p].appearance for r, p in t.sightings()) for t in people]
    reference = looks[next(i for i, t in enumerate(people) if t is best)]
    apart = [distance(reference, look) for look in looks]
    joined = [best]
    for i in np.argsort(apart, kind="stable"):
        track = people[i]
        if track is best or len(track.rows) < 3 or apart[i] > config.alike:
            continue
        if any(track.overlaps(other) for other in joined):
            continue
        others = [j for j, t in enumerate(people) if t is not best and t is not track]
        rivals = [
            distance(looks[i], looks[j])
            for j in others
            if apart[j] > config.alike or people[j].overlaps(best)
        ]
        rivals += [apart[j] for j in others if people[j].overlaps(track)]
        if min(rivals, default=np.inf) < apart[i] + config.ahead:
            continue
        if all(_plausible(a, b, times, found, apart[i], config) for a, b in _neighbours(track, joined)):
            joined.append(track)
    return joined


def _neighbours(track: _Track, joined: list[_Track]) -> list[tuple[_Track, _Track]]:
    """Pairs (earlier, later) of the track with what is joined right before and right behind it."""
    before = [t for t in joined if t.rows[-1] < track.rows[0]]
    behind = [t for t in joined if t.rows[0] > track.rows[-1]]
    pairs = []
    if before:
        pairs.append((max(before, key=lambda t: t.rows[-1]), track))
    if behind:
        pairs.append((track, min(behind, key=lambda t: t.rows[0])))
    return pairs


def _plausible(
    first: _Track,
    then: _Track,
    times: np.ndarray,
    found: list[list[_Person]],
    apart: float,
    config: TrackingConfig,
) -> bool:
    """Whether size and likeness allow that the person of one track is next seen in the other."""
    gap = times[then.rows[0]] - times[first.rows[-1]]
    # A few sightings beside the gap: single ones are often cut off by what hides the person.
    ends = [
        np.median([found[r][p].size for r, p in part])
        for part in (first.sightings()[-5:], then.sightings()[:5])
    ]
    if abs(np.log(ends[1] / ends[0])) > np.log(config.growth) * min(1.0 + gap, 3.0):
        return False
    if gap > config.max_gap or apart <= config.certain:
        return True
    # Somebody who passed in front: no jump has to be explained.
    last, next_ = (found[r][p] for r, p in (first.sightings()[-1], then.sightings()[0]))
    moved = np.linalg.norm(next_.middle - last.middle) / max(last.size, next_.size)
    return bool(moved <= min(config.reach + config.speed * gap, config.widest))


def _link(times: np.ndarray, found: list[list[_Person]], config: TrackingConfig) -> list[_Track]:
    active: list[_Track] = []
    done: list[_Track] = []
    for row, time in enumerate(times):
        ended = [t for t in active if time - t.time > config.max_gap]
        done += ended
        active = [t for t in active if time - t.time <= config.max_gap]
        candidates = [i for i, d in enumerate(found[row]) if d.score >= config.min_score]
        pairs: list[tuple[int, int]] = []
        if active and candidates:
            cost = np.array([[_distance(t, found[row][i], time, config) for i in candidates] for t in active])
            rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, 1e6))
            pairs = [(a, b) for a, b in zip(rows, columns) if np.isfinite(cost[a, b])]
        for a, b in pairs:
            _extend(active[a], row, candidates[b], time, found[row][candidates[b]])
        taken = {b for _, b in pairs}
        for b, i in enumerate(candidates):
            if b not in taken:
                track = _Track()
                _extend(track, row, i, time, found[row][i])
                active.append(track)
    return done + active


def _distance(track: _Track, person: _Person, time: float, config: TrackingConfig) -> float:
    """Cost of continuing a track with a person, infinite where it cannot be the same one."""
    gap = time - track.time
    if abs(np.log(person.size / track.size)) > np.log(config.growth) * min(1.0 + gap, 2.0):
        return np.inf
    expected = track.middle + track.velocity * min(gap, 0.2)  # nobody keeps a velocity for long
    scale = max(person.size, track.size)
    offset = np.linalg.norm(person.middle - expected) / scale
    if offset > min(config.reach + config.speed * gap, config.widest):
        return np.inf
    form = np.inf
    for points in (
        person.points,
        person.points[JOINT_MIRROR],
    ):  # a detector's left-right swap is no new person
        weight = np.minimum(track.form[:, 2], points[:, 2])
        moved = np.linalg.norm(points[:, :2] - person.middle - track.form[:, :2], axis=1)
        form = min(form, (weight * moved).sum() / (weight.sum() + 1e-9) / scale)
    if form > config.shape * max(1.0, gap / config.shape_time):
        return np.inf
    return float(offset + 0.5 * form)


def _extend(track: _Track, row: int, pick: int, time: float, person: _Person) -> None:
    if track.rows:
        gap = max(time - track.time, 1e-3)
        weight = min(1.0, gap / 0.15)  # velocity over about 0.15 s, whatever the frame rate
        track.velocity = track.velocity * (1 - weight) + (person.middle - track.middle) / gap * weight
    track.rows.append(row)
    track.picks.append(pick)
    track.time, track.middle, track.size = time, person.middle, person.size
    track.form = np.column_stack([person.points[:, :2] - person.middle, person.points[:, 2]])


def _is_false(track: _Track, times: np.ndarray, found: list[list[_Person]], config: TrackingConfig) -> bool:
    rows = np.array(track.rows)
    if len(rows) < 3:
        return False  # too short to judge
    points = np.stack([found[r][p].points for r, p in zip(track.rows, track.picks)])
    points = points[:, (points[..., 2] > 0).all(axis=0), :2]
    size = np.median([found[r][p].size for r, p in zip(track.rows, track.picks)])
    step = float(np.median(np.diff(times[rows])))
    tremble = np.median(np.linalg.norm(np.diff(points, 2, axis=0), axis=-1)) / size
    return bool(tremble > config.shaky + config.shaky_motion * step**2)
