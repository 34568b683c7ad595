"""Stages in order, progress, cache, outputs, the JSON-lines server. May import: every backend folder but `cli`, and gentg_blender.core."""
