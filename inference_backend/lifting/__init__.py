"""Keypoints to 3D with uncertainty: normalisation, windows, weights. May import networks, diffusion, core, torch."""
