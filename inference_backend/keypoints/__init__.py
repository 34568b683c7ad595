"""2D keypoints of a person in a video.

May import: numpy, scipy, cv2, video, gentg_blender.core; each detector its runtime, mediapipe or onnxruntime.
"""
