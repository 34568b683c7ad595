"""A plain body for a rig, so that an image shows what its bones do: one mesh, each part rigid on one bone.

The left side is orange, the right blue; a nose, thumbs and flat hands, feet and forearms show turns
about the bones' own axes. Soles lie at z = 0 in rest, so that they show feet that float or sink.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

COLOURS = {
    "L": (0.95, 0.42, 0.08),
    "R": (0.10, 0.38, 0.90),
    "": (0.62, 0.62, 0.64),
    "nose": (0.95, 0.80, 0.10),
}
# half width and half depth at a part's start and end, in heights of the body
SECTIONS = {
    "hips": ((0.080, 0.058), (0.075, 0.055)), "spine": ((0.072, 0.052), (0.078, 0.056)),
    "chest": ((0.085, 0.060), (0.075, 0.050)), "neck": ((0.030, 0.030), (0.028, 0.028)),
    "head": ((0.036, 0.044), (0.040, 0.050)), "shoulder": ((0.030, 0.030), (0.034, 0.034)),
    "upper_arm": ((0.030, 0.028), (0.023, 0.023)), "forearm": ((0.026, 0.020), (0.018, 0.012)),
    "hand": ((0.020, 0.008), (0.023, 0.007)), "thigh": ((0.046, 0.046), (0.032, 0.032)),
    "shin": ((0.031, 0.031), (0.020, 0.020)), "finger": ((0.0065, 0.0065), (0.005, 0.005)),
}  # fmt: skip
_AROUND = 14


def add_body(
    rig: bpy.types.Object, parts: dict[str, tuple[str, ...]], fingers: list[str]
) -> bpy.types.Object:
    """A mesh on the deforming bones `parts` (role -> bones of its chain) and `fingers` of `rig`.

    The rig stands on z = 0 in rest and faces -Y in the world.
    """
    world = np.array(rig.matrix_world)
    bones = rig.data.bones

    def at(point) -> np.ndarray:
        return world[:3, :3] @ np.array(point) + world[:3, 3]

    heads = {n: at(bones[n].head_local) for chain in parts.values() for n in chain}
    tails = {n: at(bones[n].tail_local) for chain in parts.values() for n in chain}
    height = max(p[2] for p in tails.values())
    mesh = _Mesh()
    for role, chain in parts.items():
        part, _, side = role.partition(".")
        if part in ("foot", "toe", "root"):
            continue
        first, last = (np.array(s) * height for s in SECTIONS[part])
        for i, name in enumerate(
            chain
        ):  # a part's end is where the next bone begins, whatever its tail shows
            nexts = chain[i + 1 : i + 2] or parts.get(_follower(role), ())[:1]
            end = heads[nexts[0]] if nexts else tails[name]
            start = heads[name]
            if part == "head":  # the skull begins well above the neck's joint
                start = start + 0.35 * (end - start)
            sections = [first + (last - first) * (i + k) / len(chain) for k in (0, 1)]
            front = (0.0, -1.0, 0.0) if part not in ("upper_arm", "forearm", "hand") else (0.0, 0.0, 1.0)
            mesh.tube(name, start, end, *sections, front, side)
        if part == "head":
            face = 0.5 * (heads[chain[-1]] + tails[chain[-1]]) + np.array([0, -0.045, -0.005]) * height
            mesh.tube(chain[-1], face, face + np.array([0, -0.02, -0.005]) * height,
                      *[np.full(2, r * height) for r in (0.012, 0.007)], (0, 0, 1), "nose")  # fmt: skip
        if part == "hand" and not any("thumb" in f for f in fingers):
            start = heads[chain[0]]
            along = tails[chain[0]] - start
            mesh.tube(chain[0], start + 0.2 * along, start + 0.6 * along + np.array([0, -0.025, 0]) * height,
                      *[np.full(2, r * height) for r in (0.008, 0.006)], (0, 0, 1), side)  # fmt: skip
    for name in fingers:
        sections = [np.array(s) * height for s in SECTIONS["finger"]]
        side = "L" if any(name in _below(bones[b]) for b in parts["hand.L"]) or name.endswith(".L") else "R"
        mesh.tube(name, at(bones[name].head_local), at(bones[name].tail_local), *sections, (0, 0, 1), side)
    for side in "LR":
        _foot(mesh, parts, heads, tails, height, side)
    return mesh.build(rig, world)


def _follower(role: str) -> str:
    part, dot, side = role.partition(".")
    follows = {"hips": "spine", "spine": "chest", "chest": "neck", "neck": "head", "shoulder": "upper_arm",
               "upper_arm": "forearm", "forearm": "hand", "thigh": "shin", "shin": "foot"}  # fmt: skip
    return follows.get(part, "") + dot + side


def _below(bone: bpy.types.Bone) -> set[str]:
    return {b.name for b in bone.children_recursive}


def _foot(mesh: _Mesh, parts, heads, tails, height: float, side: str) -> None:
    """Shoe with a flat sole on the floor, in two parts where there is a toe bone."""
    foot, toe = parts[f"foot.{side}"], parts.get(f"toe.{side}", ())
    ankle = heads[foot[0]]
    ball = heads[toe[0]] if toe else tails[foot[-1]]
    tip = tails[toe[-1]] if toe else ball
    forward = (ball - ankle) * [1, 1, 0]
    forward /= np.linalg.norm(forward)
    across = np.array([-forward[1], forward[0], 0.0])
    h = height

    def outline(points, half):
        return [p + s * half * across for s in (-1, 1) for p in points]

    def over(p, z):
        return np.array([p[0], p[1], z])

    back = ankle - 0.032 * h * forward
    mesh.prism(foot[0], outline([over(back, 0.0), over(ball, 0.0), over(ball, 0.022 * h),
                                 ankle + [0, 0, 0.008 * h] + 0.018 * h * forward, over(back, ankle[2])], 0.023 * h), side)  # fmt: skip
    if toe:
        end = tip if np.linalg.norm((tip - ball)[:2]) > 0.02 * h else ball + 0.035 * h * forward
        mesh.prism(toe[0], outline([over(ball, 0.0), over(end, 0.0), over(end, 0.010 * h),
                                    over(ball, 0.022 * h)], 0.023 * h), side)  # fmt: skip


class _Mesh:
    """Vertices, faces and the bone of each, gathered part by part."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.faces: list[tuple[int, ...]] = []
        self.colours: list[str] = []
        self.groups: dict[str, list[int]] = {}

    def _add(self, bone: str, points, faces, colour: str) -> None:
        base = len(self.points)
        self.points += [np.asarray(p, float) for p in points]
        self.faces += [tuple(base + i for i in f) for f in faces]
        self.colours += [colour] * len(faces)
        self.groups.setdefault(bone, []).extend(range(base, base + len(points)))

    def tube(self, bone: str, a, b, start, end, front, colour: str) -> None:
        """An elliptic tube with round ends from a to b; start and end are (half width, half depth),
        the depth being measured towards `front`."""
        along = b - a
        length = float(np.linalg.norm(along))
        along = along / length
        depth = np.asarray(front, float) - (np.asarray(front, float) @ along) * along
        if np.linalg.norm(depth) < 0.1:
            depth = np.array([0.0, -1.0, 0.0]) - (np.array([0.0, -1.0, 0.0]) @ along) * along
        depth /= np.linalg.norm(depth)
        width = np.cross(along, depth)
        turn = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
        points, cap = [], np.radians([80, 50, 20])
        rings = [(-np.sin(c), np.cos(c), start) for c in cap] + [
            (np.sin(c), np.cos(c), end) for c in cap[::-1]
        ]
        for n, (out, narrow, size) in enumerate(rings):
            centre = (a if n < len(cap) else b) + out * min(size) * along
            points += [
                centre + narrow * (size[0] * np.cos(t) * width + size[1] * np.sin(t) * depth) for t in turn
            ]
        faces = [(r * _AROUND + k, r * _AROUND + (k + 1) % _AROUND, (r + 1) * _AROUND + (k + 1) % _AROUND,
                  (r + 1) * _AROUND + k) for r in range(len(rings) - 1) for k in range(_AROUND)]  # fmt: skip
        faces += [tuple(reversed(range(_AROUND))), tuple(range(len(points) - _AROUND, len(points)))]
        self._add(bone, points, faces, colour)

    def prism(self, bone: str, points, colour: str) -> None:
        """Two equal outlines, the one after the other in `points`, joined by walls."""
        n = len(points) // 2
        faces = [tuple(range(n)), tuple(reversed(range(n, 2 * n)))]
        faces += [(k, n + k, n + (k + 1) % n, (k + 1) % n) for k in range(n)]
        self._add(bone, points, faces, colour)

    def build(self, rig: bpy.types.Object, world: np.ndarray) -> bpy.types.Object:
        back = np.linalg.inv(world)
        local = np.array(self.points) @ back[:3, :3].T + back[:3, 3]
        data = bpy.data.meshes.new("body")
        data.from_pydata([Vector(p) for p in local], [], self.faces)
        for name, colour in COLOURS.items():
            material = bpy.data.materials.new(f"body {name}")
            material.diffuse_color = (*colour, 1.0)
            data.materials.append(material)
        slots = list(COLOURS)
        for polygon, colour in zip(data.polygons, self.colours, strict=True):
            polygon.material_index = slots.index(colour)
            polygon.use_smooth = len(polygon.vertices) == 4 and colour != "nose"
        ob = bpy.data.objects.new("body", data)
        bpy.context.scene.collection.objects.link(ob)
        for bone, vertices in self.groups.items():
            ob.vertex_groups.new(name=bone).add(vertices, 1.0, "REPLACE")
        ob.parent = rig
        ob.modifiers.new("rig", "ARMATURE").object = rig
        bpy.context.view_layer.update()
        return ob
