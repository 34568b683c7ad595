"""Numerical heart shared by Blender and the backend. May import: the standard library and numpy."""
