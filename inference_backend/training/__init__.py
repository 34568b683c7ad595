"""Training: motion data, cameras, noise, losses, loop. May import networks, lifting, diffusion, keypoints.layouts, core and torch."""
