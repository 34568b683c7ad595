"""Training: data, losses, loop.

May import: numpy, torch, tqdm, yaml, networks, lifting, diffusion, keypoints.layouts, gentg_blender.core.
"""
