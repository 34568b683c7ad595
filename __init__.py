"""The Blender extension: Blender calls register() and unregister() of this package."""

from .gentg_blender import register, unregister

__all__ = ("register", "unregister")
