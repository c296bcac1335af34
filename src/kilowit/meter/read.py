"""Figures from a ledger file alone, of a run that ended as it should or was killed."""

from __future__ import annotations

from pathlib import Path

from kilowit.errors import StoreError
from kilowit.meter.figures import MeterResult
from kilowit.meter.ledger import LEDGER_NAME, read_events
from kilowit.meter.reduction import Reduction


def read_ledger(path: Path | str) -> MeterResult:
    """Compute all figures from a ledger; a pure function of the file.

    Damaged lines are skipped and counted in a warning; a ledger without a last line is closed at the last line
    that it has. Several sessions in one file (a meter started again in the same folder) add up.

    Args:
        path: a ``ledger.jsonl``, or the folder that holds one.

    Raises:
        StoreError: there is no such file, or it holds no ledger.
    """
    path = Path(path)
    if path.is_dir():
        path = path / LEDGER_NAME
    reduction = Reduction()
    for event in read_events(path):
        try:
            if event is None:
                raise ValueError("damaged")
            reduction.feed(event)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            reduction.num_unreadable_lines += 1
    if not reduction.header:
        raise StoreError(
            "no ledger: its opening line is missing", place=str(path), hint="Was the process killed as it started?"
        )
    return reduction.finish()
