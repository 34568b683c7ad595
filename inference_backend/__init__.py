"""GenTG's backend: video in, captures out. Runs in an environment of its own, never inside Blender's Python."""

__version__ = "0.1.0"
