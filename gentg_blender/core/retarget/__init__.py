"""From one skeleton to another. May import: the standard library, numpy, `..core`."""

from .mapping import DryReport, Mapping, dry_report
from .recognise import Recognition, recognise
from .rig import RigBone

__all__ = ["DryReport", "Mapping", "Recognition", "RigBone", "dry_report", "recognise"]
