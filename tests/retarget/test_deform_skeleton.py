"""The deforming bones of layered rigs as one tree, by the names of Rigify and of CloudRig."""

from gentg_blender.core.retarget.rig import RigBone, deform_skeleton


def bone(name: str, parent: str | None, deform: bool = False) -> RigBone:
    return RigBone(name, parent, (0, 0, 0), (0, 0, 1), (1, 0, 0, 0), deform)


def parents(bones) -> dict[str, str | None]:
    found = deform_skeleton(bones)
    names = [b.name for b in found]
    assert all(b.parent is None or names.index(b.parent) < n for n, b in enumerate(found))
    return {b.name: b.parent for b in found}


def test_rigify():
    bones = [
        bone("root", None), bone("torso", "root"), bone("ORG-spine", "torso"), bone("DEF-spine", "ORG-spine", True),
        bone("ORG-thigh.L", "ORG-spine"), bone("DEF-thigh.L", "ORG-thigh.L", True),
        bone("DEF-thigh.L.001", "DEF-thigh.L", True),
    ]  # fmt: skip
    assert parents(bones) == {"root": None, "DEF-spine": "root", "DEF-thigh.L": "DEF-spine", "DEF-thigh.L.001": "DEF-thigh.L"}  # fmt: skip


def test_cloudrig():
    bones = [
        bone("root", None), bone("TORSO-Spine1", "root"), bone("Spine1", "TORSO-Spine1"), bone("STR-Spine1", "Spine1"),
        bone("DEF-Spine1", "STR-Spine1", True), bone("DEF-Spine2", "DEF-Spine1", True),
        bone("FK-Spine1", "TORSO-Spine1"), bone("FK-Spine2", "FK-Spine1"), bone("FK-OS-Spine2", "FK-Spine2"),
        bone("Shoulder.L", "FK-OS-Spine2"), bone("DEF-Shoulder.L", "Shoulder.L", True),
        bone("ROOT-Thigh.L", "Spine1"), bone("Thigh.L", "ROOT-Thigh.L"), bone("DEF-Thigh_1.L", "Thigh.L", True),
    ]  # fmt: skip
    assert parents(bones) == {
        "root": None, "DEF-Spine1": "root", "DEF-Spine2": "DEF-Spine1", "DEF-Shoulder.L": "DEF-Spine2",
        "DEF-Thigh_1.L": "DEF-Spine1",
    }  # fmt: skip
