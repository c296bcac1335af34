"""What a file or a folder holds, as one hash: what a result is known by when a path would say nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path


def content_hash(path: Path) -> str:
    """Return the sha256 of a file, or of the names and contents of all files in a folder and below it.

    Hidden files and Markdown do not count: they change no result. Cost: one reading of all bytes.

    Raises:
        OSError: cannot be read.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    path.stat()  # rglob finds nothing, and says nothing, in a folder that is not there
    digest = hashlib.sha256()
    for item in sorted(path.rglob("*")):
        name = item.relative_to(path)
        hidden = any(part.startswith(".") for part in name.parts)
        if item.is_file() and not hidden and item.suffix.lower() != ".md":
            digest.update(f"{name.as_posix()}\0{content_hash(item)}\n".encode())
    return digest.hexdigest()
