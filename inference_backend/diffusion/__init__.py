"""Diffusion: schedules, sampler, guidance. Knows no network. May import: torch, gentg_blender.core."""
