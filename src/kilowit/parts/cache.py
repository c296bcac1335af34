"""Where kilowit keeps what it can compute again: harvested corpora, compiled code. Never anything else."""

from __future__ import annotations

import os
from pathlib import Path

from kilowit.errors import PartError


def cache_folder() -> Path:
    """Return ``$KILOWIT_CACHE``, else the user's cache folder. It may not exist yet.

    Raises:
        PartError: neither is set and the user has no home.
    """
    try:
        if own := os.environ.get("KILOWIT_CACHE"):
            return Path(own).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kilowit"
    except RuntimeError as error:
        raise PartError("there is no home folder to cache in", hint="Set KILOWIT_CACHE to a folder.") from error
