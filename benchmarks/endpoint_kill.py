"""`kilowit serve`, killed by SIGKILL under load and started again: what is lost, and do its totals go on?

    python benchmarks/endpoint_kill.py MODEL [--kills 20]

One folder for all starts. Clients ask without a pause; after a moment at random the server is killed. Then the ledger's
last line is set against the moment of the kill, and the books against what clients were told: an answer that a client
has must be in the sums of the next start, today's included. At the end the report must add up to the meter.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bars import Bar, at_most, report
from endpoint_process import Served, serving
from kilowit.endpoint.books import BOOKS_NAME
from kilowit.endpoint.folder import read_serving_folder
from kilowit.meter.ledger import read_events

NUM_CLIENTS = 8
SHORTEST_SECOND, LONGEST_SECOND = 1.0, 3.0
LOST_BAR_SECOND = 1.0
TEXT = "return the value of the list key " * 4


@dataclass
class Told:
    """What all clients were told so far."""

    num_documents: int = 0
    joule: float = 0.0


@dataclass(frozen=True)
class Kill:
    """One kill, and the start after it."""

    lost_second: float  # of the ledger
    lost_books_second: float  # from the last line of the books to the kill
    missing_documents: int  # answered before the kill, not in the sums after it
    missing_joule: float
    went_back_joule: float  # of the totals, by the restart
    ready_second: float


def ask_until(served: Served, stop: threading.Event, told: Told, lock: threading.Lock) -> None:
    """Ask and add up what the answers say, until the server is gone."""
    while not stop.is_set():
        try:
            answer = requests.post(f"{served.url}/v1/summarize", json={"text": TEXT, "client": "bench"}, timeout=30)
        except requests.RequestException:
            return
        if answer.ok:
            with lock:
                told.num_documents += 1
                told.joule += answer.json()["bill"]["energy_joule"]


def totals(served: Served) -> dict[str, Any]:
    """Return the server's sums."""
    found: dict[str, Any] = requests.get(f"{served.url}/v1/totals", timeout=30).json()
    return found


def last_seconds(store: Path) -> tuple[float, float]:
    """Return the moments of the last lines of ledger and books, in seconds since 1970."""
    utc_zero = ledger_second = 0.0
    for event in read_events(store / "ledger.jsonl"):
        if event is not None:
            utc_zero = float(event["utc_second"]) - float(event["t"]) if event["event"] == "open" else utc_zero
            ledger_second = utc_zero + float(event["t"])
    lines = [line for line in (store / BOOKS_NAME).read_bytes().splitlines() if line.endswith(b"}")]
    return ledger_second, float(json.loads(lines[-1])["utc_second"])


def kill_once(model: str, store: Path, told: Told, chance: random.Random) -> Kill:
    """Start, load, kill, start again, compare."""
    options = ["--threads", "1", "--max-waiting", "64"]
    lock, stop = threading.Lock(), threading.Event()
    with serving([f"tiny={model}"], store, *options) as served:
        clients = [threading.Thread(target=ask_until, args=(served, stop, told, lock)) for _ in range(NUM_CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(SHORTEST_SECOND, LONGEST_SECOND))
        before = totals(served)
        killed_second = time.time()
        served.process.kill()
        served.process.wait()
        stop.set()
        for client in clients:
            client.join()
    ledger_second, books_second = last_seconds(store)
    with serving([f"tiny={model}"], store, *options) as served:
        after = totals(served)
        ready_second = served.start_second
    ever, today = after["ever"]["requests"], after["today"]["requests"]
    sums = [amount["num_documents"] for amount in (ever, today)]
    return Kill(
        lost_second=max(0.0, killed_second - ledger_second),
        lost_books_second=max(0.0, killed_second - books_second),
        missing_documents=max(0, told.num_documents - min(sums)),
        missing_joule=max(0.0, told.joule - ever["joule"]),
        went_back_joule=max(0.0, whole_joule(before) - whole_joule(after)),
        ready_second=ready_second,
    )


def whole_joule(told: dict[str, Any]) -> float:
    """Return all that the books have, idling and loading included."""
    ever = told["ever"]
    others = sum(amount["joule"] for amount in ever["other"].values())
    return float(ever["requests"]["joule"] + ever["idle"]["joule"] + others)


def kill_many(model: str, store: Path, num_kills: int, seed: int = 0) -> tuple[list[Kill], Told]:
    """Kill as often as asked, in one folder."""
    told, chance = Told(), random.Random(seed)
    return [kill_once(model, store, told, chance) for _ in range(num_kills)], told


def main() -> int:
    """Run, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kills", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        kills, told = kill_many(asked.model, store, asked.kills)
        read = read_serving_folder(store)
    total_joule = read.metered.total.energy_total_joule or 0.0
    booked = sum(served.amount.joule for served in read.accounts.values())
    return report(
        f"{len(kills)} kills under load of {NUM_CLIENTS} clients, {told.num_documents} answers, one folder",
        [
            at_most("ledger lost, worst", max(kill.lost_second for kill in kills), LOST_BAR_SECOND, "s"),
            at_most("books lost, worst", max(kill.lost_books_second for kill in kills), LOST_BAR_SECOND, "s"),
            at_most("answers missing in the sums", max(kill.missing_documents for kill in kills), 0, "", 0),
            at_most("joules of answers missing", max(kill.missing_joule for kill in kills), 0.001, "J"),
            at_most("totals gone back", max(kill.went_back_joule for kill in kills), 0.001, "J"),
            at_most("not booked, a kill", read.unbooked.second / len(kills), LOST_BAR_SECOND, "s"),
            at_most("books + not booked against meter", abs(booked + read.unbooked.joule - total_joule), 0.001, "J"),
            Bar("lines of the books torn", f"{read.num_unreadable_lines}", "", None),
            Bar("ready again, worst", f"{max(kill.ready_second for kill in kills):.2f} s", "", None),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
