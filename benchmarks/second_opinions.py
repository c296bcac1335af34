"""CodeCarbon and Zeus beside our meter: how far apart, and what they cost.

    python benchmarks/second_opinions.py [--second 60] [--country France]

The load is one processor half of the time, and a GPU's matrix products where torch sees one. What cannot measure here
says so. There is no bar on the difference: nobody here has a wall meter.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

from bars import Bar, at_most, report
from kilowit.meter import Meter, MeterResult
from kilowit.opinion import SecondOpinion
from kilowit.parts.sensor import OPINIONS, default_sensors, second_opinions
from kilowit.run.opinions import opinions_of

MAX_CPU_PERCENT = 1.0  # of one core, a tool at our sampling period of 1 s
HALF_SECOND = 0.5


def work(second: float) -> None:
    """Load one processor half of the time, and the GPU with it."""
    multiply = gpu_product()
    end = time.monotonic() + second
    while (now := time.monotonic()) < end:
        while time.monotonic() < now + HALF_SECOND:
            multiply()
        time.sleep(HALF_SECOND)


def gpu_product() -> Callable[[], object]:
    """Return a function that multiplies matrices on the GPU, else one that adds numbers."""
    try:
        import torch
    except ModuleNotFoundError:
        return lambda: sum(range(10_000))
    if not torch.cuda.is_available():
        return lambda: sum(range(10_000))
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def multiply() -> None:
        (a @ a).sum().item()

    return multiply


def beside(opinion: SecondOpinion, metered: MeterResult) -> list[Bar]:
    """Return the rows of one tool."""
    if opinion.why_not is not None:
        return [Bar(f"{opinion.tool}", f"{opinion.why_not:.60}", "", None)]
    rows = []
    for device in ("gpu", "cpu", "dram"):
        theirs = getattr(opinion, f"energy_{device}_joule")
        ours = getattr(metered.total, f"energy_{device}_joule")
        if theirs is not None and ours:
            low, high = (getattr(metered.total, f"energy_{device}_joule_{end}") for end in ("low", "high"))
            rows.append(
                Bar(
                    f"{opinion.tool} {device}: theirs, ours",
                    f"{theirs:.1f}, {ours:.1f} J",
                    f"{theirs / ours:.3f}",
                    None,
                )
            )
            rows.append(Bar(f"{opinion.tool} {device}: our interval", f"{low:.1f} to {high:.1f} J", "", None))
    wall_second = metered.total.wall_second
    assert opinion.cpu_second is not None
    percent = 100 * opinion.cpu_second / wall_second
    return [
        *rows,
        at_most(f"{opinion.tool}: processor time, of one core", percent, MAX_CPU_PERCENT, "%"),
        Bar(f"{opinion.tool}: start, processor time", f"{opinion.startup_cpu_second or 0:.2f} s", "", None),
        Bar(f"{opinion.tool}: start", f"{opinion.startup_second or 0:.2f} s", "", None),
    ]


def main() -> int:
    """Measure, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--second", type=float, default=60.0)
    parser.add_argument("--country", default="France")
    arguments = parser.parse_args()
    others = second_opinions(OPINIONS, arguments.country)
    with Meter(sensors=[*default_sensors(), *others]) as meter, meter.phase("train"):
        work(arguments.second)
    metered = meter.stop()
    bars = [bar for opinion in opinions_of(OPINIONS, metered) for bar in beside(opinion, metered)]
    return report(f"Second opinions over {metered.total.wall_second:.0f} s on {os.cpu_count()} CPUs", bars)


if __name__ == "__main__":
    sys.exit(main())
