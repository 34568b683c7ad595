"""Blender data in and out. May import: bpy, addon_utils, mathutils, numpy, `..core`. Needs no window."""
