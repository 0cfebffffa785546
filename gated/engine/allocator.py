"""Keeping memory that was freed, or returning it: taking it back costs more than computing with it."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks of up to 32 MiB instead of returning them; elsewhere do nothing.

    By default every tensor beyond some hundred kB is mapped anew, and the kernel clears each of its pages: a third of
    the time of a training step of a small model on a CPU.
    """
    for option, value in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20)):
        _glibc("mallopt", option, value)


def return_freed_memory() -> None:
    """Give what was freed back to the system, after work that took much more than it leaves."""
    _glibc("malloc_trim", 0)


def _glibc(name: str, *arguments: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return  # another C library
    function(*arguments)
