"""Published bone names of rigs in use, as data.

`{s}` stands for the side as the rig spells it, `a|b` for spellings of one bone that are in use, of which the
first that the rig has is taken; bones of a chain that a rig lacks are skipped. `ik` and `switches` describe
controls beyond FK.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class IkLimb:
    """IK controls of a limb, so that an animator can switch to IK and go on."""

    end: str  # the limb's last role without side: "hand" or "foot"
    control: str  # moves like that role
    pole: str  # points to where the elbow or knee is
    toe: str = ""


@dataclass(frozen=True)
class Switch:
    """A property of a control, keyed once so that the retargeted controls are the ones in use."""

    bone: str
    name: str
    value: float
    ik_value: float | None = None  # instead, where the IK controls shall be in use


@dataclass(frozen=True)
class Preset:
    key: str
    label: str
    middle: dict[str, tuple[str, ...]]
    sided: dict[str, tuple[str, ...]]
    sides: tuple[str, str]
    ik: tuple[IkLimb, ...] = ()
    switches: tuple[Switch, ...] = field(default=())

    def chains(self) -> dict[str, tuple[str, ...]]:
        """Role -> names, each perhaps with `|` between spellings, both sides written out."""
        chains = dict(self.middle)
        for role, names in self.sided.items():
            for suffix, side in zip((".L", ".R"), self.sides, strict=True):
                chains[role + suffix] = tuple(n.replace("{s}", side) for n in names)
        return chains


def _sided(
    shoulder: str, upper_arm: str, forearm: str, hand: str, thigh: str, shin: str, foot: str, toe: str
):
    """Sided chains from strings with `+` between the bones of a chain."""
    names = dict(shoulder=shoulder, upper_arm=upper_arm, forearm=forearm, hand=hand, thigh=thigh, shin=shin,
                 foot=foot, toe=toe)  # fmt: skip
    return {role: tuple(text.split("+")) for role, text in names.items() if text}


def _middle(root: str, hips: str, spine: str, chest: str, neck: str, head: str):
    names = dict(root=root, hips=hips, spine=spine, chest=chest, neck=neck, head=head)
    return {role: tuple(text.split("+")) for role, text in names.items() if text}


PRESETS: tuple[Preset, ...] = (
    Preset(
        "gentg", "GenTG capture",
        _middle("", "hips", "spine", "chest", "neck", "head"),
        _sided("shoulder.{s}", "upper_arm.{s}", "forearm.{s}", "hand.{s}", "thigh.{s}", "shin.{s}", "foot.{s}",
               "toe.{s}"),
        ("L", "R"),
    ),
    Preset(
        "rigify", "Rigify (generated rig)",
        _middle("root", "torso", "spine_fk.002", "spine_fk.003", "neck", "head"),
        _sided("shoulder.{s}", "upper_arm_fk.{s}", "forearm_fk.{s}", "hand_fk.{s}", "thigh_fk.{s}", "shin_fk.{s}",
               "foot_fk.{s}", "toe_fk.{s}"),
        ("L", "R"),
        ik=(IkLimb("hand", "hand_ik.{s}", "upper_arm_ik_target.{s}"),
            IkLimb("foot", "foot_ik.{s}", "thigh_ik_target.{s}", "toe_ik.{s}")),
        switches=(Switch("torso", "neck_follow", 1.0), Switch("torso", "head_follow", 1.0),
                  Switch("upper_arm_parent.{s}", "IK_FK", 1.0, 0.0), Switch("thigh_parent.{s}", "IK_FK", 1.0, 0.0),
                  Switch("upper_arm_parent.{s}", "FK_limb_follow", 0.0),
                  Switch("thigh_parent.{s}", "FK_limb_follow", 0.0),
                  Switch("upper_arm_parent.{s}", "pole_vector", 1.0), Switch("thigh_parent.{s}", "pole_vector", 1.0),
                  # poles that ride on the root: in other spaces they follow several bones in part
                  Switch("upper_arm_parent.{s}", "pole_parent", 1.0), Switch("thigh_parent.{s}", "pole_parent", 1.0)),
    ),
    Preset(
        "rigify_metarig", "Rigify (metarig)",
        _middle("", "spine", "spine.001+spine.002", "spine.003", "spine.004+spine.005", "spine.006"),
        _sided("shoulder.{s}", "upper_arm.{s}", "forearm.{s}", "hand.{s}", "thigh.{s}", "shin.{s}", "foot.{s}",
               "toe.{s}"),
        ("L", "R"),
    ),
    Preset(
        "mixamo", "Mixamo",
        _middle("", "Hips", "Spine+Spine1", "Spine2", "Neck", "Head"),
        _sided("{s}Shoulder", "{s}Arm", "{s}ForeArm", "{s}Hand", "{s}UpLeg", "{s}Leg", "{s}Foot", "{s}ToeBase"),
        ("Left", "Right"),
    ),
    Preset(
        "unreal_4", "Unreal Mannequin (UE4)",
        _middle("root", "pelvis", "spine_01+spine_02", "spine_03", "neck_01", "head"),
        _sided("clavicle_{s}", "upperarm_{s}", "lowerarm_{s}", "hand_{s}", "thigh_{s}", "calf_{s}", "foot_{s}",
               "ball_{s}"),
        ("l", "r"),
    ),
    Preset(
        "unreal_5", "Unreal Mannequin (UE5)",
        _middle("root", "pelvis", "spine_01+spine_02+spine_03+spine_04", "spine_05", "neck_01+neck_02", "head"),
        _sided("clavicle_{s}", "upperarm_{s}", "lowerarm_{s}", "hand_{s}", "thigh_{s}", "calf_{s}", "foot_{s}",
               "ball_{s}"),
        ("l", "r"),
    ),
    Preset(
        "unity", "Unity Humanoid / VRM names",
        _middle("", "hips", "spine+chest", "upperChest", "neck", "head"),
        _sided("{s}Shoulder", "{s}UpperArm", "{s}LowerArm", "{s}Hand", "{s}UpperLeg", "{s}LowerLeg", "{s}Foot",
               "{s}Toes"),
        ("left", "right"),
    ),
    Preset(
        "vroid", "VRM (VRoid)",
        _middle("Root", "J_Bip_C_Hips", "J_Bip_C_Spine+J_Bip_C_Chest", "J_Bip_C_UpperChest", "J_Bip_C_Neck",
                "J_Bip_C_Head"),
        _sided("J_Bip_{s}_Shoulder", "J_Bip_{s}_UpperArm", "J_Bip_{s}_LowerArm", "J_Bip_{s}_Hand",
               "J_Bip_{s}_UpperLeg", "J_Bip_{s}_LowerLeg", "J_Bip_{s}_Foot", "J_Bip_{s}_ToeBase"),
        ("L", "R"),
    ),
    Preset(
        "makehuman", "MakeHuman / MPFB",
        _middle("", "root", "spine05+spine04+spine03+spine02", "spine01", "neck01+neck02+neck03", "head"),
        _sided("clavicle.{s}+shoulder01.{s}", "upperarm01.{s}+upperarm02.{s}", "lowerarm01.{s}+lowerarm02.{s}",
               "wrist.{s}", "upperleg01.{s}+upperleg02.{s}", "lowerleg01.{s}+lowerleg02.{s}", "foot.{s}", ""),
        ("L", "R"),
    ),
    Preset(
        "daz_8", "Daz Genesis 3 / 8",
        _middle("", "hip", "abdomenLower+abdomenUpper+chestLower", "chestUpper", "neckLower+neckUpper", "head"),
        _sided("{s}Collar", "{s}ShldrBend+{s}ShldrTwist", "{s}ForearmBend+{s}ForearmTwist", "{s}Hand",
               "{s}ThighBend+{s}ThighTwist", "{s}Shin", "{s}Foot", "{s}Toe"),
        ("l", "r"),
    ),
    Preset(
        "daz_9", "Daz Genesis 9",
        _middle("", "hip", "spine1+spine2+spine3", "spine4", "neck1+neck2", "head"),
        _sided("{s}_shoulder", "{s}_upperarm", "{s}_forearm", "{s}_hand", "{s}_thigh", "{s}_shin", "{s}_foot",
               "{s}_toes"),
        ("l", "r"),
    ),
    Preset(
        "character_creator", "Character Creator / ActorCore",
        _middle("RL_BoneRoot", "CC_Base_Hip", "CC_Base_Waist+CC_Base_Spine01", "CC_Base_Spine02",
                "CC_Base_NeckTwist01+CC_Base_NeckTwist02", "CC_Base_Head"),
        _sided("CC_Base_{s}_Clavicle", "CC_Base_{s}_Upperarm", "CC_Base_{s}_Forearm", "CC_Base_{s}_Hand",
               "CC_Base_{s}_Thigh", "CC_Base_{s}_Calf", "CC_Base_{s}_Foot", "CC_Base_{s}_ToeBase"),
        ("L", "R"),
    ),
    # The add-on is not free. Its control names and the switch (0 IK, 1 FK, on the IK hand and foot) as public
    # scripts use them: MMD UuuNyaa Tools (GitHub UuuNyaa), and Unity and Godot bone maps of
    # exported characters. Spines have two to six bones: those beyond the third ride along.
    Preset(
        "auto_rig_pro", "Auto-Rig Pro (controls)",
        _middle("c_traj", "c_root_master.x", "c_spine_01.x+c_spine_02.x", "c_spine_03.x", "c_neck.x", "c_head.x"),
        _sided("c_shoulder.{s}", "c_arm_fk.{s}", "c_forearm_fk.{s}", "c_hand_fk.{s}", "c_thigh_fk.{s}",
               "c_leg_fk.{s}", "c_foot_fk.{s}", "c_toes_fk.{s}"),
        ("l", "r"),
        ik=(IkLimb("hand", "c_hand_ik.{s}", "c_arms_pole.{s}"),
            IkLimb("foot", "c_foot_ik.{s}", "c_leg_pole.{s}", "c_toes_ik.{s}")),
        switches=(Switch("c_hand_ik.{s}", "ik_fk_switch", 1.0, 0.0), Switch("c_foot_ik.{s}", "ik_fk_switch", 1.0, 0.0)),
    ),
    Preset(
        "auto_rig_pro_export", "Auto-Rig Pro (exported)",
        _middle("", "root.x", "spine_01.x+spine_02.x", "spine_03.x", "neck.x", "head.x"),
        _sided("shoulder.{s}", "arm_stretch.{s}", "forearm_stretch.{s}", "hand.{s}", "thigh_stretch.{s}",
               "leg_stretch.{s}", "foot.{s}", "toes_01.{s}"),
        ("l", "r"),
    ),
    # Names of three generations: the studio's own films (Rain, Ellie), the Rigify feature set (github.com/Mets3D/
    # CloudRig, rigs/cloud_spine.py, cloud_ik_chain.py) and today's extension (rig_components/ of the same names).
    # There the first FK bone of the spine hangs on HIP- and moves nothing: the second is the lowest that bends.
    # FK-W- is the control where there is one, aligned to the world; FK- is then a hidden bone that toes don't ride on.
    # Toes have one control, FK-, in FK and IK alike. In the older rigs IK-Foot is part of the mechanism.
    Preset(
        "cloudrig", "Blender Studio (CloudRig)",
        _middle("root", "TORSO-Spine|TORSO-Spine1|TORSO-Hips|MSTR-Torso|MSTR-Spine_Torso",
                "FK-Spine|FK-Spine2+FK-RibCage|FK-Spine3", "FK-Chest|FK-Spine4", "FK-Neck", "FK-Head"),
        _sided("FK-Shoulder.{s}", "FK-UpperArm.{s}", "FK-Forearm.{s}", "FK-W-Wrist.{s}|FK-Wrist.{s}|FK-Hand.{s}",
               "FK-Thigh.{s}", "FK-Knee.{s}|FK-Shin.{s}", "FK-W-Foot.{s}|FK-Foot.{s}", "FK-Toes.{s}|FK-Toe.{s}"),
        ("L", "R"),
        ik=(IkLimb("hand", "IK-MSTR-Wrist.{s}|IK-Wrist.{s}|IK-Hand.{s}", "IK-POLE-UpperArm.{s}|POLE-UpperArm.{s}"),
            IkLimb("foot", "IK-MSTR-Foot.{s}|IK-Foot.{s}", "IK-POLE-Thigh.{s}|POLE-Thigh.{s}")),
        switches=(
            *(Switch("Properties_IKFK", name, 0.0, 1.0) for name in (
                "ik_arm_left", "ik_arm_right", "ik_leg_left", "ik_leg_right")),
            *(Switch("Properties", name, 0.0, 1.0) for name in (
                "ik_left_upperarm", "ik_right_upperarm", "ik_left_arm", "ik_right_arm", "ik_left_thigh",
                "ik_right_thigh", "ik_left_leg", "ik_right_leg")),
            Switch("Properties_IKFK", "ik_spine", 0.0),
            *(Switch("Properties", name, 0.0) for name in (
                "ik_spine", "ik_spine1", "Spine_ik", "Spine1_ik",
                # a pole that rides on the IK hand or foot in part would be pulled off the limb's plane
                "ik_pole_follow_left_upperarm", "ik_pole_follow_right_upperarm", "ik_pole_follow_left_thigh",
                "ik_pole_follow_right_thigh")),
        ),
    ),
    Preset(
        "smpl", "SMPL / SMPL-H (FBX names)",
        _middle("root", "Pelvis", "Spine1+Spine2", "Spine3", "Neck", "Head"),
        _sided("{s}_Collar", "{s}_Shoulder", "{s}_Elbow", "{s}_Wrist", "{s}_Hip", "{s}_Knee", "{s}_Ankle",
               "{s}_Foot"),
        ("L", "R"),
    ),
    Preset(
        "smplx", "SMPL-X (joint names)",
        _middle("root", "pelvis", "spine1+spine2", "spine3", "neck", "head"),
        _sided("{s}_collar", "{s}_shoulder", "{s}_elbow", "{s}_wrist", "{s}_hip", "{s}_knee", "{s}_ankle",
               "{s}_foot"),
        ("left", "right"),
    ),
    Preset(
        "biped", "3ds Max Biped",
        _middle("", "Bip01 Pelvis|Bip001 Pelvis", "Bip01 Spine|Bip001 Spine+Bip01 Spine1|Bip001 Spine1",
                "Bip01 Spine2|Bip001 Spine2", "Bip01 Neck|Bip001 Neck", "Bip01 Head|Bip001 Head"),
        _sided("Bip01 {s} Clavicle|Bip001 {s} Clavicle", "Bip01 {s} UpperArm|Bip001 {s} UpperArm",
               "Bip01 {s} Forearm|Bip001 {s} Forearm", "Bip01 {s} Hand|Bip001 {s} Hand",
               "Bip01 {s} Thigh|Bip001 {s} Thigh", "Bip01 {s} Calf|Bip001 {s} Calf",
               "Bip01 {s} Foot|Bip001 {s} Foot", "Bip01 {s} Toe0|Bip001 {s} Toe0"),
        ("L", "R"),
    ),
    Preset(
        "bvh_cmu", "BVH (CMU, cgspeed)",
        _middle("", "Hips", "LowerBack+Spine", "Spine1", "Neck+Neck1", "Head"),
        _sided("{s}Shoulder", "{s}Arm", "{s}ForeArm", "{s}Hand", "{s}UpLeg", "{s}Leg", "{s}Foot", "{s}ToeBase"),
        ("Left", "Right"),
    ),
    Preset(
        "bvh_joints", "BVH (joint names)",
        _middle("", "Hips", "Chest|Spine+Chest2", "Chest3|Chest4", "Neck", "Head"),
        _sided("{s}Collar", "{s}Shoulder|{s}UpArm", "{s}Elbow|{s}LowArm", "{s}Wrist", "{s}Hip", "{s}Knee",
               "{s}Ankle", "{s}Toe"),
        ("Left", "Right"),
    ),
)  # fmt: skip

PRESET: dict[str, Preset] = {p.key: p for p in PRESETS}
