"""How a cell can fail: from whatever was raised to one of the kinds that a record knows."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from typing import Final

from kilowit.errors import CellFailure, DataError, ErrorKind, KilowitError

MAX_MESSAGE: Final = 2000  # characters; an allocator's message can be pages
_GPU_MEMORY: Final = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_HOST_MEMORY: Final = ("DefaultCPUAllocator", "Cannot allocate memory", "std::bad_alloc")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Stopped(BaseException):
    """Ends the cell from a signal handler. No Exception: libraries that catch those must not swallow it."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result."""

    kind: ErrorKind
    message: str


def classify(error: BaseException) -> Failure:
    """Say what kind of failure an exception is. The causes that it wraps are looked at too."""
    link: BaseException | None = error
    seen: list[BaseException] = []
    while link is not None and link not in seen:
        if kind := _kind(link):
            return Failure(kind, _message(error))
        seen.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return Failure("error", _message(error))


def _kind(error: BaseException) -> ErrorKind | None:
    """Return the kind of one exception, or None if it names none by itself."""
    if isinstance(error, CellFailure | Stopped):
        return error.kind
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, DataError | UnicodeError):
        return "data"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return "disk_full"
    text = str(error)
    # torch is looked up, not imported: a failure before it was needed must not load it
    torch = sys.modules.get("torch")
    if (torch is not None and isinstance(error, torch.OutOfMemoryError)) or any(s in text for s in _GPU_MEMORY):
        return "out_of_memory_gpu"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "out_of_memory_host"
    if isinstance(error, RuntimeError) and any(s in text for s in _HOST_MEMORY):
        return "out_of_memory_host"
    return None


def _message(error: BaseException) -> str:
    if isinstance(error, KilowitError | Stopped):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text[:MAX_MESSAGE]
