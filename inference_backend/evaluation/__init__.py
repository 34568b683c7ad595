"""Metrics, readers of references, suites, reports.

May import: numpy, scipy, cv2, h5py, torch, keypoints, lifting, live, networks, solve, training, gentg_blender.core.
"""
