"""Networks, one readable file each. May import torch and gentg_blender.core.skeleton."""
