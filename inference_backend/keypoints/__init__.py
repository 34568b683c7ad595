"""2D keypoints of a person in a video. May import: numpy, scipy, video, gentg_blender.core; each detector its runtime."""
