"""Merge 3 folders of 1,000 runs in each of the 6 orders. Bar: identical bytes of all files and of the index.

    python benchmarks/merge_scale.py [NUM_RUNS]

One run in ten is in two of the folders, in one of the two without its record; one in a hundred was invalidated in one.
The index is what `kilowit query` and `kilowit status` read: every row of the four tables, and the status.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bars import Bar, report
from kilowit.store import Store
from kilowit.store.query import COLUMNS
from report_scale import make_store

NUM_RUNS = 1_000


def main(num_runs: int) -> int:
    """Make, merge in each order, compare, print; 1 when a bar is missed."""
    with tempfile.TemporaryDirectory(prefix="kilowit-merge-scale-") as name:
        sources = make_sources(Path(name), num_runs)
        seen, seconds, num_merged = set(), [], set()
        for number, order in enumerate(itertools.permutations(sources)):
            merged = Store(Path(name) / f"merged-{number}")
            begin = time.process_time()
            for source in order:
                merged.merge(source)
            seconds.append(time.process_time() - begin)
            seen.add((files_digest(merged.path), index_digest(merged)))
            num_merged.add(len(merged.folders()))
            shutil.rmtree(merged.path)
    bars = [
        Bar("runs in the union", ", ".join(f"{n:,}" for n in num_merged), "the same", len(num_merged) == 1),
        Bar(
            "different files, of 6 orders", f"{len({files for files, _ in seen})}", "1", len({f for f, _ in seen}) == 1
        ),
        Bar("different indexes, of 6 orders", f"{len({i for _, i in seen})}", "1", len({i for _, i in seen}) == 1),
        Bar("processor time of one order, mean", f"{sum(seconds) / len(seconds):.2f} s", "", None),
    ]
    return report(f"merge of 3 folders of {num_runs:,} runs", bars)


def make_sources(folder: Path, num_runs: int) -> list[Path]:
    """Deal runs out to three stores, with copies that overlap."""
    whole = folder / "whole"
    make_store(whole, 3 * num_runs)
    sources = [folder / name for name in ("a", "b", "c")]
    for number, run in enumerate(Store(whole).folders()):
        own, other = sources[number % 3], sources[(number + 1) % 3]
        shutil.copytree(run.path, own / run.run_id)
        if number % 10 == 0:
            shutil.copytree(run.path, other / run.run_id)
            (other / run.run_id / "record.json").unlink()
        if number % 100 == 0:
            Store(other).invalidate(run.run_id, "fan was blocked", "ada")
    shutil.rmtree(whole)
    return sources


def files_digest(folder: Path) -> str:
    """Digest the name and the bytes of every file."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def index_digest(store: Store) -> str:
    """Digest all that a query can see, and the status."""
    tables = [store.query(f"select * from {table}") for table in COLUMNS]
    return hashlib.sha256(repr((tables, store.status(), store.problems)).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_RUNS))
