"""Keypoints to 3D with uncertainty: windows, weights. May import networks, diffusion, export, core."""
