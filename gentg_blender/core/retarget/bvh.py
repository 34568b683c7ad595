"""BVH text from a posed skeleton: Y up, facing +Z, centimetres, rotations in Z, X, Y order.

Blender's own exporter writes its Z-up coordinates as they are, which everything else reads as a
figure that lies on its back. Joints here have no rest rotation, as BVH wants it: a channel holds
D_parent^-1 D, with D a bone's turn from its rest pose in the world. Joints that move against their
parent get position channels too, whose values stand in the offset's place: so Blender and assimp
read them.
"""

from __future__ import annotations

import numpy as np

from ..rotations import quat_conjugate, quat_from_axis_angle, quat_multiply, quat_rotate
from .keys import quat_to_euler

_ORDER = "YXZ"  # M = Rz Rx Ry: Y turns first, channels are written in the order of the product
_STILL = 1e-4  # metres: a joint that moves less against its parent is taken to be rigid
_TO_Y_UP = quat_from_axis_angle(np.array([1.0, 0.0, 0.0]), -0.5 * np.pi)


def write_bvh(
    names: list[str], parents: np.ndarray, rest_head: np.ndarray, rest_tail: np.ndarray, rest_rotation: np.ndarray,
    head: np.ndarray, rotation: np.ndarray, frame_time: float, unit: float = 100.0,
) -> str:  # fmt: skip
    """Text of the file. Raises ValueError for more than one root.

    names (N,) with parents first (-1 for the root); rest_head, rest_tail (N, 3), rest_rotation
    (N, 4), head (T, N, 3), rotation (T, N, 4) in Blender's world, metres; frame_time in seconds;
    `unit` is what one metre becomes.
    """

    def up(points: np.ndarray) -> np.ndarray:
        return unit * quat_rotate(_TO_Y_UP, points)

    turn = quat_multiply(rotation, quat_conjugate(rest_rotation))
    turn = quat_multiply(quat_multiply(_TO_Y_UP, turn), quat_conjugate(_TO_Y_UP))
    children: dict[int, list[int]] = {}
    place: dict[int, np.ndarray] = {}  # joint -> (T, 3) position channels
    for i, p in enumerate(parents):
        children.setdefault(int(p), []).append(i)
        if p < 0:
            place[i] = up(head[:, i])
            continue
        if moves_against_parent(i, p, rest_head, rest_rotation, head, rotation):
            place[i] = quat_rotate(quat_conjugate(turn[:, p]), up(head[:, i] - head[:, p]))
    clean = _clean(names)
    lines = ["HIERARCHY"]
    order: list[int] = []

    def joint(i: int, depth: int) -> None:
        tab = "\t" * depth
        root = parents[i] < 0
        # readers disagree whether a root's offset adds to its position channels: none, none to add
        offset = np.zeros(3) if root else up(rest_head[i] - rest_head[parents[i]])
        lines.append(f"{tab}{'ROOT' if root else 'JOINT'} {clean[i]}")
        lines.append(tab + "{")
        lines.append(f"{tab}\tOFFSET {_numbers(offset)}")
        places = "Xposition Yposition Zposition " if i in place else ""
        lines.append(f"{tab}\tCHANNELS {6 if i in place else 3} {places}Zrotation Xrotation Yrotation")
        order.append(i)
        for child in children.get(i, []):
            joint(child, depth + 1)
        if i not in children:
            lines.extend([tab + "\tEnd Site", tab + "\t{", f"{tab}\t\tOFFSET {_numbers(up(rest_tail[i] - rest_head[i]))}",
                          tab + "\t}"])  # fmt: skip
        lines.append(tab + "}")

    roots = children.get(-1, [])
    if len(roots) != 1:
        raise ValueError("a BVH file holds one root")
    joint(roots[0], 0)
    columns = []
    for i in order:
        p = parents[i]
        local = turn[:, i] if p < 0 else quat_multiply(quat_conjugate(turn[:, p]), turn[:, i])
        if i in place:
            columns.append(place[i])
        columns.append(np.degrees(quat_to_euler(local, _ORDER))[:, [2, 0, 1]])
    lines += ["MOTION", f"Frames: {len(head)}", f"Frame Time: {frame_time:.8f}"]
    lines += [_numbers(row) for row in np.concatenate(columns, axis=1)]
    return "\n".join(lines) + "\n"


def moves_against_parent(
    joint: int,
    parent: int,
    rest_head: np.ndarray,
    rest_rotation: np.ndarray,
    head: np.ndarray,
    rotation: np.ndarray,
) -> bool:
    """Whether a joint leaves its place on its parent; arrays as for `write_bvh`."""
    turn = quat_multiply(rotation[:, parent], quat_conjugate(rest_rotation[parent]))
    carried = head[:, parent] + quat_rotate(turn, rest_head[joint] - rest_head[parent])
    return bool(np.abs(carried - head[:, joint]).max() > _STILL)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.6f}" for v in np.asarray(values) + 0.0)


def _clean(names: list[str]) -> list[str]:
    """Names without spaces, which BVH readers split at; still one for each bone."""
    out: list[str] = []
    for name in names:
        new = base = "_".join(name.split()) or "bone"
        n = 1
        while new in out:
            n += 1
            new = f"{base}_{n}"
        out.append(new)
    return out
