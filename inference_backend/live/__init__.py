"""Real-time lifting: every frame's pose from that frame and earlier ones only.

May import: numpy, torch, cv2, keypoints, video, networks, lifting, solve, preview, gentg_blender.core.
"""
