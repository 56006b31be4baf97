"""Settings of the C library's allocator for long computations."""

from __future__ import annotations

import ctypes

# Names in glibc's malloc.h, and what they are set to: the most that it takes.
_M_TRIM_THRESHOLD, _KEEP = -1, 1 << 30
_M_MMAP_THRESHOLD, _LARGEST = -3, 32 << 20


def keep_freed_memory() -> None:
    """Let freed memory be used again instead of being given back to the system at once.

    A training step needs as much memory as the step before it has freed. If it came from the system
    each time, every page would have to be cleared first, which costs up to a few per cent of a
    step. Blocks beyond 32 MiB still come from the system. The process's peak does not change. If
    the C library is not glibc, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_TRIM_THRESHOLD, _KEEP)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST)
