"""Metrics, readers of references, suites, reports. May import: numpy, scipy, cv2, core, keypoints, lifting, networks, training."""
