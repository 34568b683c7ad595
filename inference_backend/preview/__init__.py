"""Captures as images: over the video, in space, beside a reference. May import: cv2, numpy, av, PIL, video, gentg_blender.core."""

from inference_backend.preview.preview import render_preview

__all__ = ["render_preview"]
