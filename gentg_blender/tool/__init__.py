"""Blender data in and out. May import: bpy, mathutils, numpy and gentg_blender.core. Needs no window."""
