"""Free 3D joints -> a rigid animated skeleton in a level world.

May import: numpy, scipy, lifting.lifted, gentg_blender.core.
"""
