"""Reading and writing videos with PyAV. May import: numpy, av, cv2, gentg_blender.core."""
