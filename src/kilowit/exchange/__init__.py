"""Runs of other tools into a store, and records out of one into formats of other tools.

An imported run is marked as such wherever it shows, and stands in no table with runs that kilowit measured.

Example:
    >>> from kilowit import import_runs
    >>> import_runs(["emissions.csv"], "runs")  # doctest: +SKIP
"""

from __future__ import annotations

from kilowit.exchange.exporting import WRITERS, ExportedRecords, export_records
from kilowit.exchange.importing import FORMATS, Imported, ImportOutcome, import_runs

__all__ = ["FORMATS", "WRITERS", "ExportedRecords", "ImportOutcome", "Imported", "export_records", "import_runs"]
