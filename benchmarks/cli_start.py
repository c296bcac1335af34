"""How long does `kilowit --help` take? The median of ten processes, after one that fills the file cache.

python benchmarks/cli_start.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from bars import at_most, report

BAR_SECOND = 0.3
NUM_RUNS = 10


def help_second() -> float:
    """Return the wall time of one `kilowit --help`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "kilowit", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> int:
    """Measure, print, and return 1 if the bar is missed."""
    help_second()
    seconds = [help_second() for _ in range(NUM_RUNS)]
    return report(
        "The command line", [at_most("kilowit --help, median of 10", statistics.median(seconds), BAR_SECOND, "s")]
    )


if __name__ == "__main__":
    sys.exit(main())
