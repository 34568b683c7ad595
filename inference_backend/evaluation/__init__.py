"""Metrics, readers of references, reports. May import: numpy, scipy, gentg_blender.core, training.motion, pipeline (suites only)."""
