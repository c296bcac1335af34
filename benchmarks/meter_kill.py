"""kill -9 at random moments: how much is lost, and does the ledger still parse?

    python benchmarks/meter_kill.py [--kills 100]

A process runs nested phases under a meter with the sensors of this machine, sampling at 1 Hz. It is killed by SIGKILL
at a random moment; the ledger is then read, and the time of its last line compared with the moment of the kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bars import Bar, at_most, report
from kilowit.meter import read_ledger
from kilowit.meter.ledger import read_events

LOST_BAR_SECOND = 1.0
NUM_AT_ONCE = 2
SHORTEST_SECOND, LONGEST_SECOND = 0.05, 2.2

JOB = """
import sys, time
from kilowit.meter import Meter
with Meter(sys.argv[1]) as meter:
    print("metering", flush=True)
    while True:
        with meter.phase("train"):
            time.sleep(0.31)
            with meter.phase("validate"):
                time.sleep(float(sys.argv[2]))
"""


@dataclass(frozen=True)
class Kill:
    """One kill: what was lost, and whether the figures of the rest are whole."""

    lost_second: float
    problem: str | None


def kill_once(seed: int, folder: Path) -> Kill:
    """Start the job, kill it, read what it left."""
    chance = random.Random(seed)
    nap_second = chance.choice((0.002, 0.3, 3.0))  # often, sometimes and never a phase edge in the last second
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder), str(nap_second)], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(chance.uniform(SHORTEST_SECOND, LONGEST_SECOND))
    killed_second = time.monotonic()
    process.kill()
    process.wait()
    process.stdout.close()
    return examine(folder, killed_second)


def examine(folder: Path, killed_second: float) -> Kill:
    """Read a ledger whose process was killed at `killed_second` of the machine's monotonic clock."""
    events = [event for event in read_events(folder / "ledger.jsonl") if event is not None]
    last_second = events[0]["clock_second"] + max(float(event["t"]) for event in events)
    try:
        result = read_ledger(folder)
    except Exception as error:  # the bar is that none gets here
        return Kill(killed_second - last_second, f"does not parse: {error}")
    leaves_second = sum(phase.wall_second for phase in result.phases)
    total = result.total
    if result.clean:
        return Kill(killed_second - last_second, "claims to have ended well")
    if abs(leaves_second - total.wall_second) > 1e-6 or not total.energy_total_joule:
        return Kill(killed_second - last_second, f"does not add up: {json.dumps(total.energy_total_joule)}")
    return Kill(killed_second - last_second, None)


def kill_many(num_kills: int) -> list[Kill]:
    """Kill as often as asked, a few at once."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        return list(pool.map(lambda seed: kill_once(seed, Path(folder) / str(seed)), range(num_kills)))


def main() -> int:
    """Run, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    kills = kill_many(parser.parse_args().kills)
    whole = [kill for kill in kills if kill.problem is None]
    for kill in kills:
        if kill.problem is not None:
            print(kill.problem)
    median_second = sorted(kill.lost_second for kill in kills)[len(kills) // 2]
    return report(
        f"{len(kills)} kills at random moments",
        [
            Bar("parses and adds up", f"{len(whole)} of {len(kills)}", "all", len(whole) == len(kills)),
            at_most("lost, worst", max(kill.lost_second for kill in kills), LOST_BAR_SECOND, "s"),
            Bar("lost, median", f"{median_second:.3f} s", "", None),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
