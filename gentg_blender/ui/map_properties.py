"""The choices of a retarget and the bone map of its target, kept with the scene: a linked rig takes no properties."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..core.retarget import Mapping
from ..core.retarget.mapping import ROLES

SEPARATOR = ", "


class GentgMapRow(bpy.types.PropertyGroup):
    """One part of the body and the bones that carry it."""

    name: StringProperty(name="Body Part", description="Part of the captured body")
    bones: StringProperty(
        name="Bones", description="Bones of the rig that carry this part, from the trunk outwards, with commas between. "
        "Empty leaves the part out",
    )  # fmt: skip


class GentgBoneMap(bpy.types.PropertyGroup):
    """The map of one rig."""

    rows: CollectionProperty(type=GentgMapRow)
    active: IntProperty(name="Row", description="The chosen row of the bone map", options={"SKIP_SAVE"})
    label: StringProperty(name="Rig", description="What the rig was recognised as")
    preset: StringProperty(name="Preset", description="Preset that brings the rig's IK controls and switches")


def _target_changed(settings: GentgRetargetSettings, _context) -> None:
    settings.map.rows.clear()  # it was another rig's
    settings.map.label = settings.map.preset = ""


class GentgRetargetSettings(bpy.types.PropertyGroup):
    """Choices for retargeting."""

    target: PointerProperty(
        name="Rig", type=bpy.types.Object, poll=lambda _, ob: ob.type == "ARMATURE", update=_target_changed,
        description="Your own character's armature, which gets the captured motion",
    )  # fmt: skip
    map: PointerProperty(type=GentgBoneMap)
    root_motion: EnumProperty(
        name="Root Motion", default="hips",
        items=(
            ("hips", "Hips", "The hips carry the path through the scene"),
            ("root", "Root Bone", "The rig's root bone carries the path on the floor, the hips the rest"),
            ("object", "Object", "The armature object itself is moved along the path"),
        ),
        description="What carries the character's path",
    )  # fmt: skip
    feet: BoolProperty(
        name="Plant Feet",
        default=True,
        description="Hold planted feet in place with the rig's own leg lengths",
    )
    blend: FloatProperty(
        name="Ease", default=0.15, min=0.0, max=1.0, unit="TIME_ABSOLUTE",
        description="Seconds in which a foot eases into and out of its place",
    )  # fmt: skip
    match: EnumProperty(
        name="Match", default="DIRECTIONS",
        items=(
            ("DIRECTIONS", "Directions", "Limbs point as the actor's do. Hands and feet end where the rig's own lengths take them"),
            ("REACH", "Reach", "Hands and feet come to where the actor's were, scaled with the body; elbows and knees bend to suit"),
        ),
        description="What is kept where the rig's proportions differ from the actor's",
    )  # fmt: skip
    reach: FloatProperty(
        name="Reach", default=1.0, min=0.0, max=1.0, subtype="FACTOR",
        description="How far hands and feet come to the actor's places: 0 keeps the limbs' directions",
    )  # fmt: skip
    reach_hands: BoolProperty(
        name="Hands", default=True, description="Let the hands reach where the actor's did"
    )
    reach_feet: BoolProperty(
        name="Feet", default=True, description="Let the feet reach where the actor's did"
    )
    twist_bones: BoolProperty(
        name="Twist Bones", default=True,
        description="Spread the twist of arms and legs over twist bones that hang on them. Leave it out where a game engine moves those itself",
    )  # fmt: skip
    mirror: BoolProperty(
        name="Mirror", default=False, description="What the actor's left did the rig's right does",
    )  # fmt: skip
    controls: EnumProperty(
        name="Controls", default="FK", items=(("FK", "FK", "FK controls are in use afterwards"), ("IK", "IK", "IK controls are in use afterwards")),
        description="Which of the rig's controls are in use afterwards; both are keyed",
    )  # fmt: skip


CLASSES = (GentgMapRow, GentgBoneMap, GentgRetargetSettings)


def attach() -> None:
    bpy.types.Scene.gentg_retarget = PointerProperty(type=GentgRetargetSettings)


def detach() -> None:
    del bpy.types.Scene.gentg_retarget


def fill(bone_map: GentgBoneMap, mapping: Mapping) -> None:
    """Show a mapping for editing, every body part in its row."""
    bone_map.rows.clear()
    for role in ROLES:
        row = bone_map.rows.add()
        row.name, row.bones = role, SEPARATOR.join(mapping.bones.get(role, ()))
    bone_map.label, bone_map.preset = mapping.name, mapping.preset


def read(bone_map: GentgBoneMap) -> Mapping | None:
    """The edited mapping; None when no map was made, so that the rig is recognised."""
    if not bone_map.rows:
        return None
    bones = {r.name: tuple(b.strip() for b in r.bones.split(",") if b.strip()) for r in bone_map.rows}
    return Mapping(
        {role: names for role, names in bones.items() if names}, bone_map.label or "custom", bone_map.preset
    )
