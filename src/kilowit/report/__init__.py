"""The report: from records to the answer, its evidence, and comparisons. Reads records alone; runs nothing.

Example:
    >>> from kilowit import Store, write_report
    >>> files = write_report(Store("runs").records(), Path("runs/report"))  # doctest: +SKIP
"""

from __future__ import annotations

from kilowit.report.compare import Comparison, compare
from kilowit.report.contents import Contents, contents_of
from kilowit.report.findings import Finding
from kilowit.report.write import Answer, ReportFiles, answer, write_report, write_serving_report

__all__ = [
    "Answer",
    "Comparison",
    "Contents",
    "Finding",
    "ReportFiles",
    "answer",
    "compare",
    "contents_of",
    "write_report",
    "write_serving_report",
]
