"""Reading and writing videos with PyAV. May import: numpy, av, gentg_blender.core."""
