"""Second opinions: what other meters counted over the same runs, beside our figures, and why they may differ.

None of it is on a bill. A total compares the devices that both know: a tool without a figure for memory is not set
beside ours with one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.opinion import SecondOpinion
from kilowit.record import Record
from kilowit.report.runs import Run, is_partial
from kilowit.report.table import Column, Entry, Table

DEVICES: Final = ("gpu", "cpu", "dram")
NAMES: Final = {"gpu": "GPU", "cpu": "CPU", "dram": "memory", "both": "all that both know"}
_COLUMNS: Final = (
    Column("run_id", "Run"),
    Column("tool", "Tool"),
    Column("device", "Device"),
    Column("ours_joule", "Ours", "energy"),
    Column("theirs_joule", "Theirs", "energy"),
    Column("ratio", "Theirs / ours", "plain"),
    Column("inside", "Inside our interval"),
    Column("cpu_second", "Its processor time", "time"),
    Column("why", "Why they may differ"),
)
_NOTES: Final = (
    "Over the same stretch, from the start of our meter to its end. Theirs is on no bill; the processor time that a "
    "tool took meanwhile is, for the whole machine is metered. Its start comes before our meter's and is not.",
)


@dataclass(frozen=True)
class Beside:
    """One device of one run: our joules, with their interval, and a tool's."""

    run_id: str
    opinion: SecondOpinion
    device: str
    ours_joule: float
    low_joule: float
    high_joule: float
    theirs_joule: float
    source: str

    @property
    def ratio(self) -> float | None:
        """Theirs over ours."""
        return self.theirs_joule / self.ours_joule if self.ours_joule > 0 else None

    @property
    def is_inside(self) -> bool:
        """Whether theirs lies within our interval."""
        return self.low_joule <= self.theirs_joule <= self.high_joule


def opinion_table(records: Sequence[Record]) -> Table:
    """Return a row for each run, tool and device, and one for each tool that could say nothing."""
    rows = []
    for record in records:
        for opinion in record.second_opinions:
            found = list(beside(record, opinion))
            rows += [_row(item) for item in found]
            if not found:
                rows.append(_absent(record, opinion))
    return Table(
        "second_opinions", "Our figures beside those of other meters", _COLUMNS, tuple(rows), _NOTES if rows else ()
    )


def opinion_sentences(records: Sequence[Record]) -> tuple[str, ...]:
    """Return what each tool says in one sentence; a tool that could not measure is one too."""
    sentences = []
    for tool in dict.fromkeys(opinion.tool for record in records for opinion in record.second_opinions):
        own = [(record, o) for record in records for o in record.second_opinions if o.tool == tool]
        whole = [item for record, o in own for item in beside(record, o) if item.device == "both"]
        ratios = sorted(item.ratio for item in whole if item.ratio is not None)
        silent = [o.why_not for _, o in own if o.why_not is not None]
        if ratios:
            span = f"{ratios[0]:.2f}" if len(ratios) == 1 else f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            num_inside = sum(item.is_inside for item in whole)
            sentences.append(
                f"{tool} counts {span} times our joules of the devices that both know (n = {len(ratios)} "
                f"run{'s' if len(ratios) > 1 else ''}); {num_inside} of {len(whole)} lie inside our interval."
            )
        if silent:
            sentences.append(f"{tool} could not measure {len(silent)} of {len(own)} runs: {silent[0]}.")
    return tuple(sentences)


def beside(record: Record, opinion: SecondOpinion) -> Iterator[Beside]:
    """Yield our figures and a tool's for each device that both know, then for all of them together."""
    billed = Run(record).billed
    known: list[Beside] = []
    for device in DEVICES:
        name = f"energy_{device}_joule"
        ours, theirs = getattr(billed, name), getattr(opinion, name)
        if ours is None or theirs is None or is_partial(record.phases, name):
            continue
        low, high = (getattr(billed, f"{name}_{end}") for end in ("low", "high"))
        source = getattr(billed, f"energy_{device}_source")
        known.append(
            Beside(record.run_id, opinion, device, ours, ours if low is None else low, ours if high is None else high,
                   theirs, source)
        )  # fmt: skip
    yield from known
    if known:
        yield Beside(
            record.run_id,
            opinion,
            "both",
            ours_joule=math.fsum(item.ours_joule for item in known),
            low_joule=math.fsum(item.low_joule for item in known),
            high_joule=math.fsum(item.high_joule for item in known),
            theirs_joule=math.fsum(item.theirs_joule for item in known),
            source="+".join(dict.fromkeys(item.source for item in known)),
        )


def reason_of(item: Beside) -> str:
    """Say why the two may differ, from what each reads."""
    modelled = item.source.startswith("model:")
    if item.device == "both":
        return f"ours: {item.source}; theirs: {item.opinion.basis}"
    if item.device == "gpu":
        return "the same NVML counters, read at other moments" if "counter" in item.source else "ours samples power"
    if item.device == "dram":
        theirs = "a guess of watts per module" if item.opinion.tool == "codecarbon" else "RAPL"
        return f"ours: {'watts per GiB' if modelled else 'RAPL'}; theirs: {theirs}"
    counts = item.opinion.tool == "zeus" or "rapl" in item.opinion.basis.lower()
    theirs = "RAPL" if counts else "a share of the whole processor's TDP by load, whatever part of it this machine has"
    return f"ours: {'watts of the vCPUs seen here, by load' if modelled else 'RAPL'}; theirs: {theirs}"


def _row(item: Beside) -> tuple[Entry, ...]:
    return (
        Entry(item.run_id),
        Entry(item.opinion.tool),
        Entry(NAMES[item.device]),
        Entry(item.ours_joule, item.low_joule, item.high_joule),
        Entry(item.theirs_joule),
        Entry(item.ratio, reason="ours is 0"),
        Entry("yes" if item.is_inside else "no"),
        Entry(item.opinion.cpu_second if item.device == "both" else None, reason="see all that both know"),
        Entry(reason_of(item)),
    )


def _absent(record: Record, opinion: SecondOpinion) -> tuple[Entry, ...]:
    why = opinion.why_not or "it knows no device that we do"
    unknown = Entry.unknown(why)
    return (Entry(record.run_id), Entry(opinion.tool), unknown, unknown, unknown, unknown, unknown, unknown, Entry(why))
