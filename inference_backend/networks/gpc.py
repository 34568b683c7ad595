"""placeholder while TGT is written"""
from dataclasses import dataclass
@dataclass
class GPCConfig:
    d_time: int = 256
