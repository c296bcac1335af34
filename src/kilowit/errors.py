"""Every exception and every failure kind, on one screen. First in the line: imports nothing of ours.

An *error* is raised to the person who asked (bad study, unreadable store). A *failure* is a result: a cell
that ran out of memory was measured, is billed, and stays in the report with its kind.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final, Literal

ErrorKind = Literal[
    "out_of_memory_gpu",  # the device allocator refused
    "out_of_memory_host",  # MemoryError, or the kernel's out-of-memory killer
    "timeout",  # longer than measure.timeout_second
    "divergence",  # loss is NaN or infinite
    "disk_full",  # ENOSPC while writing the run folder
    "method_not_applied",  # a method's evidence says that it did nothing
    "data",  # empty split, missing column, undecodable text
    "interrupted",  # Ctrl-C or SIGTERM from the person who runs the study
    "killed",  # the worker died of a signal and left no reason
    "preempted",  # the machine was taken away
    "lost",  # nobody knows: the process is gone without an exit status
    "download_failed",  # the hub did not answer
    "error",  # any other exception; error_message says which
]
RETRIED_KINDS: Final = frozenset({"preempted", "lost", "download_failed"})
MAX_ATTEMPTS: Final = 3


class KilowitError(Exception):
    """What happened, where, and what to do about it.

    Args:
        message: what happened and what was seen, one sentence.
        place: where, e.g. ``study.yaml:9:12`` or a run folder.
        hint: what to do, one sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.place, self.hint = message, place, hint

    def __str__(self) -> str:
        where = f"{self.place}  " if self.place else ""
        todo = f"\n  {self.hint}" if self.hint else ""
        return f"{where}{self.message}{todo}"


class StudyError(KilowitError):
    """The study, or an option on the command line, cannot be what was meant."""

    exit_code = 2


class PartError(KilowitError):
    """A model, dataset, method, metric or sensor is unknown, misused or unusable here."""

    exit_code = 2


class DataError(PartError):
    """A dataset is empty, lacks a column, or holds what cannot be text."""


class SensorError(PartError):
    """A sensor cannot be read here; `source` says why, as a record does: ``none:no_permission``."""

    def __init__(self, source: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.source = source


class PlanError(KilowitError):
    """The study cannot be afforded, or cannot run on this hardware."""

    exit_code = 3


class StoreError(KilowitError):
    """A run folder or a store of them cannot be read or written."""

    exit_code = 4


class ExecutorError(KilowitError):
    """A cell cannot be started, or the machine is held by another measured run."""

    exit_code = 5


class CellFailure(KilowitError):  # noqa: N818 - a failure is a result, not an error
    """A cell ended without a result; `kind` says how. Billed, reported, perhaps retried."""

    def __init__(self, kind: ErrorKind, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.kind: ErrorKind = kind


def near_name_hint(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name, or list what is known.

    >>> near_name_hint("lorra", ["bf16", "lora"])
    'Did you mean "lora"?'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(names)}."
