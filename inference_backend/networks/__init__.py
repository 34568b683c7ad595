"""Networks, one readable file each. May import: torch, gentg_blender.core."""
