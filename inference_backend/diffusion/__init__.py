"""Diffusion: schedules, sampler, guidance. Knows no network. May import torch and core.skeleton."""
