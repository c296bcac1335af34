"""Where kilowit keeps what it can compute again: harvested corpora, compiled code. Never anything else."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$KILOWIT_CACHE``, else the user's cache folder. It may not exist yet."""
    if own := os.environ.get("KILOWIT_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kilowit"
