"""Training: data, losses, loop. May import networks, lifting, diffusion, keypoints.layouts, core."""
