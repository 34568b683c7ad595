"""One person's track as the images come: the same gates as tracking.py, without a look ahead."""

from __future__ import annotations

import numpy as np

from .detector import Detection
from .tracking import TrackingConfig, _distance, _extend, _Person, _Track


class Following:
    """Starts with the most prominent person and stays with him or her.

    Only after `config.max_gap` seconds without that person anybody else is taken: live, nobody knows who comes back.
    """

    def __init__(self, layout: str, config: TrackingConfig = TrackingConfig()):
        self.layout, self.config = layout, config
        self._track: _Track | None = None

    def choose(self, time: float, detections: list[Detection]) -> Detection | None:
        """The followed person among the `detections` at `time` seconds, or None."""
        people = [(d, _Person.of(d, self.layout)) for d in detections if d.score >= self.config.min_score]
        if self._track is not None and time - self._track.time > self.config.max_gap:
            self._track = None
        if not people:
            return None
        if self._track is None:
            self._track = _Track()
            best = int(np.argmax([p.size * p.score for _, p in people]))
        else:
            costs = [_distance(self._track, p, time, self.config) for _, p in people]
            best = int(np.argmin(costs))
            if not np.isfinite(costs[best]):
                return None
        detection, person = people[best]
        _extend(self._track, 0, best, time, person)
        self._track.rows, self._track.picks = [0], [best]  # an endless stream must not gather its past
        return detection
