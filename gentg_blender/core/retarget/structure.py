"""Map a rig without knowing any name: chains, symmetry and rest geometry.

The mirror plane is where most bones have a twin. What hangs off the middle in pairs are limbs:
legs start lower on the trunk and end at the floor, arms start higher. Along a limb the knee or
elbow is the joint nearest its middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rig import RigBone, children_of, parents_first

Chains = dict[str, tuple[str, ...]]


def map_by_structure(bones: Sequence[RigBone]) -> tuple[Chains, dict[str, str]]:
    """Role -> bones, and role -> doubt. Both empty where no body with two legs is found."""
    bones = parents_first(bones)
    deforming = [b for b in bones if b.deform]
    if len(deforming) >= 10 and all(b.parent is None or _has(deforming, b.parent) for b in deforming):
        bones = deforming  # helpers without weight only confuse
    if len(bones) < 8:
        return {}, {}
    rig = _Rig(bones)
    pairs = rig.limb_pairs()
    if len(pairs) < 1:
        return {}, {}
    legs = min(pairs, key=lambda p: (rig.depth[p.anchor], -p.length))
    arms = [p for p in pairs if p is not legs and rig.is_under(p.anchor, legs.anchor)]
    # two pairs from the same bone: arms are those that lie further from the legs' ends
    arm = max(arms, key=lambda p: p.length, default=None)
    up = rig.up_axis(legs, arm)
    if arm is not None and arm.anchor == legs.anchor and np.dot(arm.tip - legs.tip, up) < 0:
        legs, arm, up = arm, legs, -up
    forward = rig.forward(legs, up)
    left = np.cross(up, forward)
    chains: Chains = {}
    doubtful: dict[str, str] = {}
    _map_trunk(rig, legs, arm, up, chains, doubtful)
    for pair, mapper in ((legs, _map_leg), (arm, _map_arm)):
        if pair is None:
            continue
        for path in (pair.first, pair.second):
            side = ".L" if np.dot(rig.points(path)[-1] - rig.middle, left) > 0 else ".R"
            mapper(rig, path, side, up, chains, doubtful)
    if "thigh.L" not in chains or "thigh.R" not in chains:
        return {}, {}
    if rig.forward_is_a_guess:
        doubtful["hips"] = "the feet do not show which way the rig faces: left and right may be swapped"
    return chains, doubtful


def _has(bones: Sequence[RigBone], name: str) -> bool:
    return any(b.name == name for b in bones)


class _Pair:
    """Two mirrored paths of bones that leave the trunk at the same bone."""

    def __init__(self, anchor: str, first: list[str], second: list[str], length: float, tip: np.ndarray):
        self.anchor, self.first, self.second = anchor, first, second
        self.length, self.tip = length, tip


class _Rig:
    def __init__(self, bones: list[RigBone]):
        self.bones = {b.name: b for b in bones}
        self.children = {k: [c.name for c in v] for k, v in children_of(bones).items()}
        self.head = {b.name: np.array(b.head, float) for b in bones}
        self.tail = {b.name: np.array(b.tail, float) for b in bones}
        self.depth: dict[str, int] = {}
        for b in bones:
            self.depth[b.name] = self.depth.get(b.parent, -1) + 1 if b.parent else 0
        points = np.array([*self.head.values()])
        self.size = float(np.ptp(points, axis=0).max())
        self.lateral, self.middle = self._mirror(points)
        self.forward_is_a_guess = False

    def _mirror(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normal of the mirror plane, one of the axes, and a point on it."""
        best, axis, centre = -1.0, 0, np.zeros(3)
        for a in range(3):
            for c in (0.0, float(np.median(points[:, a]))):
                mirrored = points.copy()
                mirrored[:, a] = 2 * c - mirrored[:, a]
                gaps = np.linalg.norm(points[:, None] - mirrored[None], axis=-1)
                off = np.abs(points[:, a] - c) > 0.02 * self.size
                # bones off the plane that have a twin speak for it, those without against it
                score = float(
                    np.sum((gaps.min(axis=1) < 0.01 * self.size) & off)
                    - np.sum((gaps.min(axis=1) >= 0.01 * self.size) & off)
                )
                if score > best:
                    best, axis, centre = score, a, np.eye(3)[a] * c
        return np.eye(3)[axis], centre

    def off(self, name: str) -> float:
        """Signed distance of a bone's far end from the mirror plane."""
        d = [float(np.dot(p - self.middle, self.lateral)) for p in (self.head[name], self.tail[name])]
        return max(d, key=abs)

    def is_middle(self, name: str) -> bool:
        return abs(self.off(name)) < 0.02 * self.size

    def is_under(self, name: str, ancestor: str) -> bool:
        while name is not None:
            if name == ancestor:
                return True
            name = self.bones[name].parent if self.bones[name].parent in self.bones else None
        return False

    def longest_path(self, name: str) -> list[str]:
        paths = [self.longest_path(c) for c in self.children.get(name, [])]
        paths = [p for p in paths if p]
        best = max(paths, key=lambda p: self.path_length([name, *p]), default=[])
        return [name, *best]

    def points(self, path: list[str]) -> np.ndarray:
        return np.array([self.head[n] for n in path] + [self.tail[path[-1]]])

    def path_length(self, path: list[str]) -> float:
        return float(np.linalg.norm(np.diff(self.points(path), axis=0), axis=1).sum())

    def limb_pairs(self) -> list[_Pair]:
        pairs = []
        for name in self.bones:
            if not self.is_middle(name):
                continue
            sides = [c for c in self.children.get(name, []) if not self.is_middle(c)]
            plus = [c for c in sides if self.off(c) > 0]
            for a in plus:
                mirror = self.head[a] - 2 * np.dot(self.head[a] - self.middle, self.lateral) * self.lateral
                tip = self.tail[a] - 2 * np.dot(self.tail[a] - self.middle, self.lateral) * self.lateral
                twins = [b for b in sides if self.off(b) < 0 and np.linalg.norm(self.head[b] - mirror)
                         + np.linalg.norm(self.tail[b] - tip) < 0.05 * self.size]  # fmt: skip
                if not twins:
                    continue
                first, second = self.longest_path(a), self.longest_path(twins[0])
                length = self.path_length(first)
                if length > 0.25 * self.size and len(first) >= 3 and len(second) >= 3:
                    pairs.append(_Pair(name, first, second, length, self.points(first)[-1]))
        return pairs

    def up_axis(self, legs: _Pair, arm: _Pair | None) -> np.ndarray:
        """The axis, other than the lateral one, along which the legs point down."""
        down = self.points(legs.first)
        along = down[-1] - down[0]
        if arm is not None and arm.anchor != legs.anchor:
            along = along - (self.head[arm.anchor] - self.head[legs.anchor])
        along = along - np.dot(along, self.lateral) * self.lateral
        axis = np.eye(3)[int(np.argmax(np.abs(along)))]
        return -np.sign(np.dot(along, axis)) * axis

    def forward(self, legs: _Pair, up: np.ndarray) -> np.ndarray:
        """Where the toes point. Without feet Blender's front is taken and doubt is told."""
        candidate = np.cross(self.lateral, up)
        points = self.points(legs.first)
        height = (points - points[-1]) @ up
        low = points[height < 0.2 * max(height.max(), 1e-9)]
        reach = float(np.dot(low[-1] - low[0], candidate)) if len(low) > 1 else 0.0
        if abs(reach) < 0.01 * self.size:
            self.forward_is_a_guess = True
            front = np.array([0.0, -1.0, 0.0]) if abs(up[2]) > 0.5 else np.array([0.0, 0.0, 1.0])
            return candidate if np.dot(candidate, front) >= 0 else -candidate
        return candidate if reach > 0 else -candidate


def _map_trunk(
    rig: _Rig, legs: _Pair, arm: _Pair | None, up: np.ndarray, chains: Chains, doubtful: dict
) -> None:
    chains["hips"] = (legs.anchor,)
    if rig.bones[legs.anchor].parent in rig.bones:
        top = legs.anchor
        while rig.bones[top].parent in rig.bones:
            top = rig.bones[top].parent
        chains["root"] = (top,)
    if arm is None:
        doubtful["chest"] = "no arms were found"
        return
    line = []
    name = arm.anchor
    while name is not None and name != legs.anchor:
        line.append(name)
        name = rig.bones[name].parent
    line.reverse()
    if line:
        chains["chest"] = (line[-1],)
        if line[:-1]:
            chains["spine"] = tuple(line[:-1])
    rises = [c for c in rig.children.get(arm.anchor, []) if rig.is_middle(c)
             and np.dot(rig.tail[c] - rig.head[arm.anchor], up) > 0]  # fmt: skip
    if not rises:
        return
    # the neck's path is followed through middle bones that go on rising
    path = [max(rises, key=lambda c: rig.path_length(_rising(rig, c, up)))]
    path = _rising(rig, path[0], up)
    if len(path) >= 2:
        # a short last bone is an end marker; the head is the last bone that others hang on, or the last
        crowd = [n for n in path if len(rig.children.get(n, [])) >= 2]
        head = (
            crowd[0]
            if crowd and crowd[0] != path[0]
            else path[1]
            if len(path) == 2
            else path[min(len(path) - 1, 2)]
        )
        if not crowd and len(path) >= 3:
            lengths = [np.linalg.norm(rig.tail[n] - rig.head[n]) for n in path]
            head = path[int(np.argmax(lengths[1:])) + 1]
        at = path.index(head)
        chains["neck"], chains["head"] = tuple(path[:at]), (head,)
        if len(path) > 2 and not crowd:
            doubtful["head"] = "one of several bones above the chest"
    else:
        chains["head"] = (path[0],)


def _rising(rig: _Rig, name: str, up: np.ndarray) -> list[str]:
    path = [name]
    while True:
        nexts = [c for c in rig.children.get(path[-1], []) if rig.is_middle(c)
                 and np.dot(rig.head[c] - rig.head[path[-1]], up) > 0.01 * rig.size]  # fmt: skip
        if not nexts:
            return path
        path.append(max(nexts, key=lambda c: float(np.dot(rig.tail[c], up))))


def _middle_joint(points: np.ndarray, first: int, last: int) -> int:
    """Index of the joint nearest the middle of the path between two others."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    half = 0.5 * (along[first] + along[last])
    return min(range(first + 1, last), key=lambda i: abs(along[i] - half))


def _map_leg(rig: _Rig, path: list[str], side: str, up: np.ndarray, chains: Chains, doubtful: dict) -> None:
    points = rig.points(path)
    height = (points - points[-1]) @ up
    total = height.max() - height.min()
    # the ankle is the last joint above the bend from down to forward, at a tenth of the leg or so
    steps = np.diff(points, axis=0)
    downward = -(steps @ up) / np.maximum(np.linalg.norm(steps, axis=1), 1e-9)
    start = next(
        (i for i, d in enumerate(downward) if d > 0.7 and np.linalg.norm(steps[i]) > 0.05 * total), 0
    )
    ankle = next((i for i in range(start + 2, len(path)) if height[i] - height.min() < 0.25 * total
                  and downward[i] < 0.9), None)  # fmt: skip
    if ankle is None:
        ankle = len(path) - 1
        doubtful["foot" + side] = "the leg does not show where the ankle is"
    if ankle - start < 2:
        return
    knee = _middle_joint(points, start, ankle)
    chains["thigh" + side], chains["shin" + side] = tuple(path[start:knee]), tuple(path[knee:ankle])
    chains["foot" + side] = (path[ankle],)
    if ankle + 1 < len(path) and np.linalg.norm(points[ankle + 2] - points[ankle + 1]) > 0.01 * total:
        chains["toe" + side] = (path[ankle + 1],)


def _unlike_an_arm(points: np.ndarray, start: int, elbow: int, wrist: int) -> float:
    """0 for an upper arm and a forearm that are straight and of one length."""
    lengths, straight = [], []
    for a, b in ((start, elbow), (elbow, wrist)):
        path = float(np.linalg.norm(np.diff(points[a : b + 1], axis=0), axis=1).sum())
        lengths.append(max(path, 1e-9))
        straight.append(float(np.linalg.norm(points[b] - points[a])) / lengths[-1])
    return abs(lengths[0] - lengths[1]) / sum(lengths) + 2.0 - sum(straight)


def _map_arm(rig: _Rig, path: list[str], side: str, up: np.ndarray, chains: Chains, doubtful: dict) -> None:
    points = rig.points(path)
    # the hand is where the fingers fan out, or else the last bone
    fans = [i for i, n in enumerate(path) if i >= 2 and len(rig.children.get(n, [])) >= 3]
    wrist = fans[0] if fans else len(path) - 1
    if not fans:
        doubtful["hand" + side] = "no fingers show where the hand begins"
    splits = [(start, elbow) for start in range(min(3, wrist - 1)) for elbow in range(start + 1, wrist)]
    if not splits:
        return
    start, elbow = min(splits, key=lambda split: _unlike_an_arm(points, *split, wrist))
    if start:
        chains["shoulder" + side] = tuple(path[:start])
    chains["upper_arm" + side], chains["forearm" + side] = tuple(path[start:elbow]), tuple(path[elbow:wrist])
    chains["hand" + side] = (path[wrist],)
