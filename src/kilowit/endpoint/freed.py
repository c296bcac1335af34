"""Freed memory that the C library keeps: given back to the system.

Requests come and go with texts and arrays of every size, and glibc keeps the pages between the blocks that live on: a
server of 280 MiB grew by 1.8 MiB a minute at 181 requests/s, of which 0.2 MiB were in use (2026-11-24).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library, another system
        return None


def give_back_freed_memory() -> bool:
    """Hand pages without a block in use back to the system, in the middle of the heap too; False if none could be.

    Source: malloc_trim(3), glibc 2.8 and later.
    """
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))
