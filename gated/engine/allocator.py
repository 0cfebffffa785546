"""Keeping memory that was freed, because taking it back from the system costs more than computing with it."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks of up to 32 MiB instead of returning them; elsewhere do nothing.

    By default every tensor beyond some hundred kB is mapped anew, and the kernel clears each of its pages: a third of
    the time of a training step of a small model on a CPU.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(_MMAP_THRESHOLD, 32 << 20)
    mallopt(_TRIM_THRESHOLD, 1 << 30)
    mallopt(_TOP_PAD, 64 << 20)
