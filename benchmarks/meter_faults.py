"""Inject faults into the meter and see that the job lives and the ledger tells.

    python benchmarks/meter_faults.py

Each fault is one function: it runs a small job under a meter, breaks something, and returns what was told. Bars: no
job fails, each fault is a line (in the ledger file, or in the result where the file is what broke).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import meter_faults_devices  # noqa: F401 - registers its faults
import meter_faults_job  # noqa: F401
from bars import Bar, report
from meter_fault import FAULTS, check

__all__ = ["FAULTS", "check", "main"]


def main() -> int:
    """Inject all faults, print, and return 1 if a bar is missed."""
    bars = []
    for item in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            started_second = time.monotonic()
            wrong = check(item, Path(folder))
        second = time.monotonic() - started_second
        bars.append(Bar(item.name, wrong or f"told ({second:.2f} s)", "job lives, ledger tells", wrong is None))
    return report(f"{len(bars)} faults", bars)


if __name__ == "__main__":
    sys.exit(main())
