"""Keypoints to 3D with uncertainty: windows, weights.

May import: numpy, torch, safetensors, onnxruntime, networks, diffusion, export, gentg_blender.core.
"""
