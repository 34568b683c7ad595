"""Metrics, readers of references, suites, reports.

May import: numpy, scipy, cv2, h5py, torch, keypoints, lifting, networks, training, gentg_blender.core.
"""
