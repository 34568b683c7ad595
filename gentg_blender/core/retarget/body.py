"""The common ground of two rigs: parts of the body with rest geometry and posed motion.

Solver space is the target object's world, rigid: armature space turned by the rotation and scaled
by the mean scale of the object's matrix. For rigid and evenly scaled objects it is the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..contract import GentgError
from ..rotations import (
    basis_from,
    matrix_to_quat,
    normalize,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
)
from .mapping import NEXT, Mapping
from .rig import RigBone, parents_first

Z = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Space:
    """Similarity of armature space into solver space, and the world's shear against it."""

    rotation: np.ndarray  # (4,) wxyz
    scale: float
    origin: np.ndarray  # (3,) the object's origin in the world
    from_world: np.ndarray  # (3, 3) offsets from an object's origin in the world -> solver space

    @classmethod
    def of(cls, matrix: np.ndarray, name: str = "the rig") -> Space:
        """From an object's `matrix_world` (4, 4). Raises GentgError for mirrored or flat objects."""
        matrix = np.asarray(matrix, float)
        linear = matrix[:3, :3]
        determinant = np.linalg.det(linear)
        if determinant <= 1e-12:
            raise GentgError(
                "bad_request",
                f"The object {name} is mirrored or scaled to nothing.",
                hint="Apply its scale (Object > Apply > Scale) and try again.",
            )
        u, _, vt = np.linalg.svd(linear)
        polar = u @ vt
        scale = float(np.cbrt(determinant))
        return cls(matrix_to_quat(polar), scale, matrix[:3, 3].copy(), scale * polar @ np.linalg.inv(linear))

    def points(self, local: np.ndarray) -> np.ndarray:
        return self.origin + self.scale * quat_rotate(self.rotation, np.asarray(local, float))

    def rotations(self, local: np.ndarray) -> np.ndarray:
        return quat_multiply(self.rotation, np.asarray(local, float))


class Body:
    """Rest geometry of the mapped parts of a rig, in one space.

    chains: role -> indices into head, tail (N, 3) and rotation (N, 4).
    """

    def __init__(self, chains: dict[str, tuple[int, ...]], head: np.ndarray, tail: np.ndarray,
                 rotation: np.ndarray, origin: np.ndarray):  # fmt: skip
        self.chains, self.origin = chains, np.asarray(origin, float)
        self.head, self.tail, self.rotation = (
            np.asarray(head, float),
            np.asarray(tail, float),
            np.asarray(rotation, float),
        )
        self.up = self._up()
        self.frame = self._frame()  # (4,) turns x = left, y = up, z = forward into this rig's own

    def start(self, role: str) -> np.ndarray:
        return self.head[self.chains[role][0]]

    def end(self, role: str) -> np.ndarray:
        """The joint at the end of a part: the next part's head, else the last bone's tail."""
        follower = NEXT.get(role)
        if follower in self.chains:
            return self.start(follower)
        return self.tail[self.chains[role][-1]]

    def direction(self, role: str) -> np.ndarray:
        return normalize(self.end(role) - self.start(role))

    def middle(self, role: str) -> np.ndarray | None:
        """Midpoint between the heads of the left and the right part."""
        if f"{role}.L" in self.chains and f"{role}.R" in self.chains:
            return 0.5 * (self.start(f"{role}.L") + self.start(f"{role}.R"))
        return None

    @property
    def hip_centre(self) -> np.ndarray:
        """Between the hip joints: unlike the hips bone's head it means the same in every rig."""
        middle = self.middle("thigh")
        return self.start("hips") if middle is None else middle

    def _up(self) -> np.ndarray:
        """Z, unless the rest pose lies down or stands on its head: then the axis nearest its trunk."""
        top = next((self.start(r) for r in ("head", "neck", "chest", "spine") if r in self.chains), None)
        bottom = self.middle("foot")
        if top is None and bottom is None:
            return Z
        trunk = (self.hip_centre if top is None else top) - (self.hip_centre if bottom is None else bottom)
        trunk = normalize(trunk)
        if trunk @ Z > np.cos(np.radians(40.0)):
            return Z
        axis = np.eye(3)[int(np.argmax(np.abs(trunk)))]
        return axis * np.sign(trunk @ axis)

    def _frame(self) -> np.ndarray:
        for role in ("thigh", "upper_arm", "shoulder"):
            if f"{role}.L" in self.chains and f"{role}.R" in self.chains:
                left = self.start(f"{role}.L") - self.start(f"{role}.R")
                left = left - (left @ self.up) * self.up
                if np.linalg.norm(left) > 1e-6:
                    return matrix_to_quat(basis_from(self.up, np.cross(left, self.up)))
        forward = np.array([0.0, -1.0, 0.0])
        return matrix_to_quat(basis_from(self.up, forward - (forward @ self.up) * self.up))

    def height(self, points: np.ndarray) -> np.ndarray:
        """Height over the object's origin, along the rest pose's own up."""
        return (points - self.origin) @ self.up

    @property
    def floor(self) -> float:
        """Height of the floor: the origin's, unless the feet stand clearly elsewhere."""
        low = [self.height(p) for r in ("foot.L", "foot.R", "toe.L", "toe.R") if r in self.chains
               for p in (self.start(r), self.end(r))]  # fmt: skip
        if not low:
            return 0.0
        lowest = float(min(low))
        return 0.0 if abs(lowest) < 0.1 * max(self.limb_length("thigh", "shin"), 1e-9) else lowest

    def sole(self, side: str) -> np.ndarray:
        """(2, 3) from the ankle of the rest foot to its heel and its ball, both on the floor. Rigs
        seldom have a heel bone: it is taken to lie behind the ankle by 0.3 of the way to the ball."""
        ankle = self.start("foot" + side)
        along = self.end("foot" + side) - ankle
        along = along - (along @ self.up) * self.up
        down = (float(self.height(ankle)) - self.floor) * self.up
        return np.stack([-0.3 * along - down, along - down])

    def tip_of_sole(self, side: str) -> np.ndarray | None:
        """(3,) from the head of the rest foot's toes to their tip, on the floor. None where the bone's
        tail shows no forward: after FBX it can point anywhere."""
        head = self.start("toe" + side)
        along = self.end("toe" + side) - head
        along = along - (along @ self.up) * self.up
        foot = self.sole(side)[1]
        if along @ foot < 0.7 * np.linalg.norm(along) * np.linalg.norm(foot - (foot @ self.up) * self.up):
            return None
        return along - (float(self.height(head)) - self.floor) * self.up

    def limb_length(self, *roles: str) -> float:
        """Summed length of parts, mean of both sides; 0 where they are missing."""
        sums = [sum(float(np.linalg.norm(self.end(r + s) - self.start(r + s))) for r in roles)
                for s in (".L", ".R") if all(r + s in self.chains for r in roles)]  # fmt: skip
        return float(np.mean(sums)) if sums else 0.0

    @property
    def leg_length(self) -> float:
        """Height of the hip joints above the floor when standing with straight legs."""
        ankle = self.middle("foot")
        legs = self.limb_length("thigh", "shin")
        return legs + (float(self.height(ankle)) - self.floor if ankle is not None and legs else 0.0)


@dataclass
class SourceMotion:
    """A motion with the rig that made it, in the world, metres."""

    body: Body
    head: np.ndarray  # (T, N, 3)
    rotation: np.ndarray  # (T, N, 4) wxyz
    times: np.ndarray  # (T,) seconds
    contacts: np.ndarray | None = None  # (T, 4) bool in skeleton.FEET's order, None where unknown

    def __len__(self) -> int:
        return len(self.times)


@dataclass
class ControlRig:
    """The controls that will be keyed, in solver space, parents first.

    A control's head rides on `parents`, its rotation starts from `rotation_parents` (-1: from the
    armature): the two differ in rigs whose limbs don't turn with the trunk.
    """

    names: list[str]
    parents: np.ndarray  # (N,)
    rotation_parents: np.ndarray  # (N,)
    head: np.ndarray  # (N, 3) rest
    tail: np.ndarray  # (N, 3) rest, where the part that it moves ends
    rotation: np.ndarray  # (N, 4) rest
    local_location: np.ndarray  # (N,) bool
    connected: np.ndarray  # (N,) bool
    space: Space

    def index(self, name: str) -> int:
        return self.names.index(name)

    def body(self, mapping: Mapping) -> Body:
        chains = {
            role: tuple(self.index(n) for n in chain if n in self.names)
            for role, chain in mapping.bones.items()
        }
        chains = {role: chain for role, chain in chains.items() if chain}
        return Body(chains, self.head, self.tail, self.rotation, self.space.origin)

    def forward(self, rotation: np.ndarray, root: dict[int, np.ndarray]) -> np.ndarray:
        """Posed heads (T, N, 3) from posed rotations (T, N, 4); `root` places controls (T, 3)
        that move away from their parent."""
        head = np.empty(rotation.shape[:2] + (3,))
        for i, p in enumerate(self.parents):
            if i in root:
                head[:, i] = root[i]
            elif p < 0:
                head[:, i] = self.head[i]
            else:
                offset = quat_rotate(quat_conjugate(self.rotation[p]), self.head[i] - self.head[p])
                head[:, i] = head[:, p] + quat_rotate(rotation[:, p], offset)
        return head

    def posed(
        self, local: dict[int, np.ndarray], location: dict[int, np.ndarray], frames: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (T, N, 4) and heads (T, N, 3) from `matrix_basis` rotations (T, 4) and
        locations (T, 3) of the controls that have any."""
        rotation = np.empty((frames, len(self.names), 4))
        head = np.empty((frames, len(self.names), 3))
        for i in range(len(self.names)):
            rest = self.unposed(rotation, i)
            rotation[:, i] = quat_multiply(rest, local[i]) if i in local else rest
            unmoved, axes = self._unmoved(rotation, head, i)
            moved = self.space.scale * location[i] if i in location else np.zeros(3)
            head[:, i] = unmoved + quat_rotate(axes, moved)
        return rotation, head

    def local_rotation(self, rotation: np.ndarray, i: int) -> np.ndarray:
        """`matrix_basis` rotation (T, 4) of one control from the posed rotations (T, N, 4)."""
        return normalize(quat_multiply(quat_conjugate(self.unposed(rotation, i)), rotation[:, i]))

    def location(self, rotation: np.ndarray, head: np.ndarray, i: int) -> np.ndarray:
        """`PoseBone.location` (T, 3) that brings one control's head to its place in `head` (T, N, 3)."""
        unmoved, axes = self._unmoved(rotation, head, i)
        return quat_rotate(quat_conjugate(axes), head[:, i] - unmoved) / self.space.scale

    def _unmoved(self, rotation: np.ndarray, head: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Head (T, 3) of a control without location of its own, and the axes (T, 4) of that location."""
        p = self.parents[i]
        if p < 0:
            unmoved = np.broadcast_to(self.head[i], (len(rotation), 3))
            axes = np.broadcast_to(self.space.rotation, (len(rotation), 4))
        else:
            offset = quat_rotate(quat_conjugate(self.rotation[p]), self.head[i] - self.head[p])
            unmoved, axes = head[:, p] + quat_rotate(rotation[:, p], offset), rotation[:, p]
        return unmoved, self.unposed(rotation, i) if self.local_location[i] else axes

    def unposed(self, rotation: np.ndarray, i: int) -> np.ndarray:
        """Rotation (T, 4) that one control has while its own channels are at rest."""
        p = self.rotation_parents[i]
        if p < 0:
            return np.broadcast_to(self.rotation[i], rotation[:, i].shape)
        rest = quat_multiply(quat_conjugate(self.rotation[p]), self.rotation[i])
        return quat_multiply(rotation[:, p], rest)


def control_rig(
    bones: Sequence[RigBone], wanted: Sequence[str], matrix: np.ndarray,
    parents: dict[str, tuple[str | None, str | None]] | None = None, name: str = "the rig",
) -> ControlRig:  # fmt: skip
    """Reduce a rig to the bones that will be keyed.

    matrix (4, 4) is the object's `matrix_world`. `parents` gives (location parent, rotation
    parent) of controls where constraints decide instead of the hierarchy; otherwise a bone follows
    its nearest wanted ancestor, which is exact as long as nothing in between is posed.
    """
    space = Space.of(matrix, name)
    by_name = {b.name: b for b in bones}
    wanted_set = set(wanted)
    if lost := wanted_set - set(by_name):
        raise GentgError(
            "bad_request",
            f"The rig has no bone named {', '.join(sorted(lost))}.",
            hint="Choose the bone map of this rig, or correct it.",
        )

    def follows(bone: RigBone) -> tuple[str | None, str | None]:
        if parents is not None and bone.name in parents:
            return parents[bone.name]
        turns, parent = bone.inherit_rotation, bone.parent
        while parent is not None and parent not in wanted_set:
            turns = turns and by_name[parent].inherit_rotation
            parent = by_name[parent].parent
        return parent, parent if turns else None

    links = {b.name: follows(b) for b in bones if b.name in wanted_set}
    order = parents_first([
        RigBone(n, links[n][0], by_name[n].head, by_name[n].tail, by_name[n].rotation) for n in links
    ])  # fmt: skip
    names = [b.name for b in order]
    chosen = [by_name[n] for n in names]
    at = {n: i for i, n in enumerate(names)}
    kids: dict[str, list[RigBone]] = {}
    for b in bones:
        if b.parent in wanted_set:
            kids.setdefault(b.parent, []).append(b)
    return ControlRig(
        names,
        np.array([at.get(links[n][0], -1) for n in names], np.int64),
        np.array([at.get(links[n][1], -1) for n in names], np.int64),
        space.points(np.array([b.head for b in chosen])),
        space.points(np.array([_tip(b, kids.get(b.name, [])) for b in chosen])),
        space.rotations(np.array([b.rotation for b in chosen])),
        np.array([b.local_location for b in chosen], bool),
        np.array([b.connected for b in chosen], bool),
        space,
    )


def _tip(bone: RigBone, children: Sequence[RigBone]) -> np.ndarray:
    """Where a part ends. A bone that fans out into three or more (a hand) ends among their heads,
    thumb and helpers aside: the tails of bones that came through FBX can point anywhere."""
    head, tail = np.array(bone.head), np.array(bone.tail)
    fan = np.array([c.head for c in children if "thumb" not in c.name.lower()])
    if len(fan) >= 3:
        reach = np.linalg.norm(fan - head, axis=1)
        fan = fan[reach > 0.5 * reach.max()]
        if len(fan) >= 3:
            return fan.mean(axis=0)
    return tail
