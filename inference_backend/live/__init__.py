"""Real-time lifting: every frame's pose from that frame and earlier ones only. May import: keypoints, video, networks,
lifting, solve, preview, gentg_blender.core, numpy, torch, cv2."""
