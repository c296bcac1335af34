"""Time a report of 10,000 records: scan of the store, then every file of the report. Bar: 20 s, 1 GB.

    python benchmarks/report_scale.py [NUM_RECORDS]

The run folders are made in a temporary directory; making them is not timed. The timed part runs in a process of its
own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

NUM_RECORDS = 10_000
MAX_SECOND, MAX_BYTE, MAX_PAGE_BYTE = 20.0, 1e9, 20e6


def make_store(folder: Path, num_records: int) -> None:
    """Write run folders: many settings of 8 recipes, 3 seeds each, one failure in 12."""
    from report_records import EFFECTS, MODELS, baseline, failed, trained

    kinds = [(model, recipe) for model in MODELS for recipe in EFFECTS]
    for number in range(num_records):
        group, seed = number // 3, number  # every seed draws its own spread
        model, recipe = kinds[group % len(kinds)]
        if number == 0:
            record = baseline("lead", number=number)
        elif number % 12 == 5:
            record = failed(model, recipe, seed, "out_of_memory_gpu", "CUDA out of memory", number=number)
        else:
            record = trained(model, recipe, seed, number=number)
        settings = record.cell["settings"]
        rate = 1e-5 * (1 + group // len(kinds))
        cell = record.cell | {"settings": settings | {"train": settings["train"] | {"learning_rate": rate}}}
        path = folder / record.run_id
        path.mkdir(parents=True)
        request = {
            "schema_version": 1,
            "run_id": record.run_id,
            "cell_key": record.cell_key,
            "attempt": 1,
            "cell": cell,
        }
        (path / "cell.json").write_text(json.dumps(request))
        (path / "record.json").write_text(replace(record, cell=cell).to_json())


def time_report(folder: Path) -> None:
    """Scan and report, and print one JSON line with what it took."""
    from kilowit.report import write_report
    from kilowit.store import Store

    begin = time.perf_counter()
    records = Store(folder / "runs").records()
    scanned = time.perf_counter()
    files = write_report(records, folder / "report")
    ended = time.perf_counter()
    measured = {
        "num_records": len(records),
        "scan_second": scanned - begin,
        "report_second": ended - scanned,
        "cpu_second": time.process_time(),
        "memory_max_byte": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "html_byte": files.html.stat().st_size,
        "markdown_byte": files.markdown.stat().st_size,
    }
    print(json.dumps(measured))


def main(num_records: int) -> int:
    """Make, time, print; 1 when a bar is missed."""
    with tempfile.TemporaryDirectory(prefix="kilowit-report-scale-") as name:
        make_store(Path(name) / "runs", num_records)
        command = [sys.executable, __file__, "--timed", name]
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen = json.loads(line)
    total = seen["scan_second"] + seen["report_second"]
    rows = [
        ("records", f"{seen['num_records']:,}", ""),
        ("scan", f"{seen['scan_second']:.2f} s", ""),
        ("report", f"{seen['report_second']:.2f} s", ""),
        ("together", f"{total:.2f} s", f"< {MAX_SECOND:.0f} s"),
        ("processor time", f"{seen['cpu_second']:.2f} s", ""),
        ("peak memory", f"{seen['memory_max_byte'] / 1e6:,.0f} MB", f"< {MAX_BYTE / 1e6:,.0f} MB"),
        ("index.html", f"{seen['html_byte'] / 1e6:.2f} MB", f"< {MAX_PAGE_BYTE / 1e6:.0f} MB"),
        ("index.md", f"{seen['markdown_byte'] / 1e6:.2f} MB", ""),
    ]
    print(f"{'what':<16}{'measured':>14}{'bar':>14}")
    for what, measured, bar in rows:
        print(f"{what:<16}{measured:>14}{bar:>14}")
    missed = total >= MAX_SECOND or seen["memory_max_byte"] >= MAX_BYTE or seen["html_byte"] >= MAX_PAGE_BYTE
    return int(missed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timed"]:
        time_report(Path(sys.argv[2]))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_RECORDS))
