"""Stages in order, progress, cache, outputs, the JSON-lines server.

May import: numpy, av, psutil, torch, video, keypoints, lifting, solve, preview, gentg_blender.core.
"""
