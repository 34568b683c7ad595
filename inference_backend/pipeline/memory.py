"""Giving memory back to the system between the stages of a run."""

from __future__ import annotations

import ctypes


def release_memory() -> None:
    """Return freed memory to the system.

    glibc keeps what small allocations leave behind, a heap for each thread: 0.25 GB after detection (measured),
    which would be added to what the next stage takes. Other systems' allocators do this by themselves.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # no glibc: macOS, musl; Windows has no CDLL(None)
        return
    trim(0)
