"""Kill a run by SIGKILL in each phase, resume, and count what was run twice and what was lost from the bill.

    python benchmarks/resume.py [--folder DIR]

A real study (bart-tiny from scratch and lead, on 36 generated texts) is run by `kilowit run` in a process of its
own. When its ledger says that a phase has begun, the worker is killed, or the worker and its coordinator. Bars:
nothing finished is run twice; at most one second of a run is missing from its record.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kilowit.meter import read_ledger
from kilowit.record import Record
from kilowit.store import RunFolder, Store

PHASES = ("idle", "prepare", "load", "train", "validate", "save", "predict", "score")
PATIENCE_SECOND = 120
STUDY = """
name: resume
models: [{models}]
recipes: {{cell: {recipe}}}
datasets: [{{name: local_files, train: ./train.jsonl, validation: ./validation.jsonl, test: ./test.jsonl}}]
train: {{num_steps: 12, batch_size: 4, max_source_tokens: 64, max_target_tokens: 24, num_validations: 3}}
predict: {{num_beams: 1, max_new_tokens: 16, min_new_tokens: 1}}
measure: {{idle_second: 0.5, cooldown_second: 0, period_second: 0.1, order: listed, keep_model: true}}
"""
LEAD, BART = "lead", "{scratch: bart-tiny, vocabulary_size: 300}"
_WORDS = ("energy", "power", "model", "token", "summary", "phase", "ledger", "joule", "watt", "carbon", "store", "cell")


@dataclass(frozen=True)
class Kill:
    """One run that was killed, and what its record says of it."""

    aimed_phase: str
    victims: str  # worker | both
    record: Record
    lived_second: float  # from the start of its meter to the signal

    @property
    def billed_second(self) -> float:
        """Wall time in the record."""
        return sum(phase.wall_second for phase in self.record.phases)

    @property
    def billed_joule(self) -> float:
        """Energy in the record."""
        return sum(phase.energy_total_joule or 0.0 for phase in self.record.phases)


def write_study(folder: Path, models: Sequence[str] = (BART, LEAD), recipe: str = "[]") -> Path:
    """Write a study and its data; return the path of the study."""
    draw = random.Random(0)
    for split, num_examples in (("train", 48), ("validation", 24), ("test", 24)):
        lines = []
        for i in range(num_examples):
            sentences = [" ".join(draw.choices(_WORDS, k=12)).capitalize() + "." for _ in range(4)]
            lines.append(json.dumps({"document": f"{' '.join(sentences)} {split} {i}", "summary": sentences[0]}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "study.yaml"
    path.write_text(STUDY.format(models=", ".join(models), recipe=recipe), encoding="utf-8")
    return path


def start(study: Path, store: Path) -> subprocess.Popen[str]:
    """Start ``kilowit run`` in a process of its own."""
    command = [sys.executable, "-m", "kilowit", "run", str(study), "--store", str(store), "--no-report"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KILOWIT_LOCK": str(store.parent / "kilowit.lock")}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def run(study: Path, store: Path) -> int:
    """Run a study to its end; return the exit code."""
    process = start(study, store)
    process.communicate(timeout=PATIENCE_SECOND * 4)
    return process.returncode


def kill_in_phase(study: Path, store: Path, phase: str, victims: str) -> Kill | None:
    """Run a study, kill it when a new run of it enters a phase, and resume it if its coordinator was killed too.

    Returns:
        The killed run, or None if no run entered the phase.
    """
    known = {folder.run_id for folder in Store(store).folders()}
    process = start(study, store)
    found = _wait_for_phase(process, Store(store), known, phase)
    if found is None:
        process.communicate(timeout=PATIENCE_SECOND)
        return None
    folder, header = found
    if victims == "both":
        process.kill()
    os.kill(header["pid"], signal.SIGKILL)
    lived_second = time.time() - header["utc_second"]
    process.communicate(timeout=PATIENCE_SECOND * 2)
    if victims == "both":
        run(study, store)
    record = folder.record
    assert record is not None, f"{folder.run_id} was not closed"
    return Kill(phase, victims, record, lived_second)


def _wait_for_phase(
    process: subprocess.Popen[str], store: Store, known: set[str], phase: str
) -> tuple[RunFolder, dict[str, float]] | None:
    wanted = b'"event":"start"', f'"phase":"{phase}"'.encode()
    end = time.monotonic() + PATIENCE_SECOND
    while process.poll() is None and time.monotonic() < end:
        for folder in store.folders():
            if folder.run_id in known or not folder.ledger_path.exists():
                continue
            lines = folder.ledger_path.read_bytes().splitlines()
            if any(all(word in line for word in wanted) for line in lines):
                return folder, json.loads(lines[0])
        time.sleep(0.002)
    return None


def unbilled_second(kill: Kill) -> float:
    """Return how much of the killed run's life its record does not hold."""
    return kill.lived_second - kill.billed_second


def cells_finished_twice(store: Store) -> list[str]:
    """Return the keys of cells that have more than one finished record."""
    counts = Counter(record.cell_key for record in store.records() if record.status == "finished")
    return [key for key, number in counts.items() if number > 1]


def bill_gap_joule(store: Store) -> float:
    """Return the joules that stand in ledgers but not in records, over all runs."""
    ledgers = [read_ledger(folder.ledger_path).total.energy_total_joule or 0.0 for folder in store.folders()]
    billed = [phase.energy_total_joule or 0.0 for record in store.records() for phase in record.phases]
    return sum(ledgers) - sum(billed)


def main(folder: Path) -> int:
    """Print the table; return 1 if a bar is missed."""
    study, store = write_study(folder), folder / "runs"
    kills = []
    for number, phase in enumerate(PHASES):
        kill = kill_in_phase(study, store, phase, ("worker", "both")[number % 2])
        if kill is None:
            print(f"{phase:<10}no run entered it")
            continue
        kills.append(kill)
        _make_cell_due(Store(store), kill.record.cell_key)
    exit_code = run(study, store)
    _print_table(kills)
    final = Store(store)
    twice = cells_finished_twice(final)
    worst_second = max(unbilled_second(kill) for kill in kills)
    print(f"\nexit code of the last resume        {exit_code}")
    print(f"finished cells that were run again  {len(twice)}")
    print(f"largest time missing from a record    {worst_second:.2f} s (bar: 1 s)")
    print(f"joules in ledgers, not in records     {abs(bill_gap_joule(final)):.6f} J")
    return int(bool(twice) or worst_second > 1.0 or exit_code != 0 or len(kills) < len(PHASES))


def _make_cell_due(store: Store, cell_key: str) -> None:
    """Take back the finish of a cell that the resume completed, so that the next kill finds it running."""
    done = store.done(cell_key)
    if done is not None:
        store.invalidate(done.run_id, "the next kill needs this cell", "benchmarks/resume.py")


def _print_table(kills: Sequence[Kill]) -> None:
    columns = ("aimed at", "killed", "recorded", "kind", "lived s", "billed s", "missing s", "billed J")
    print("".join(f"{column:>12}" for column in columns))
    for kill in kills:
        record = kill.record
        cells = (
            kill.aimed_phase, kill.victims, record.error_phase or "-", record.error_kind or "-",
            f"{kill.lived_second:.2f}", f"{kill.billed_second:.2f}", f"{unbilled_second(kill):.2f}",
            f"{kill.billed_joule:.1f}",
        )  # fmt: skip
        print("".join(f"{cell:>12}" for cell in cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    chosen = parser.parse_args().folder
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        sys.exit(main(chosen))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(Path(name)))
