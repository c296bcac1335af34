"""What a record says of its origin when another tool measured it: the file, what that tool stated, what disagrees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ContradictionKind = Literal[
    "rank_rows",  # several rows measured one node: they must not be added up
    "repeated_rows",  # several rows of one run, each with what came before it
    "components",  # parts do not add up to their total
    "rate",  # a rate times its time is not its amount
    "power_time",  # power times time is not the energy
    "device_limit",  # more power than the devices can draw
    "grid_intensity",  # CO2e divided by energy is no intensity of that grid
    "another_run",  # an energy whose duration is not that of the run it stands beside
    "part_of_run",  # an energy that covers a part of the run only
    "two_values",  # one figure of one run with two values
    "window_cut",  # a total that lacks the first or last stretch of its own series
    "zero_energy",  # zero joules from devices that were switched on
    "sampling_gap",  # a stretch in which nothing was read
    "swapped_prices",  # a discounted price above the full one, or labels the wrong way round
    "several_runs",  # figures of several runs printed as if of one
    "spread",  # equal work, times so different that one run proves nothing
    "noted",  # the file itself carries a remark on the figure
]


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """One thing in an imported file that cannot be as it stands, or that a reader would take for something else."""

    kind: ContradictionKind
    message: str
    figures: list[str] = field(default_factory=list)  # names of the figures concerned, as the file has them

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class ImportFacts:
    """Where an imported record comes from. None of its figures was measured by kilowit."""

    format: str  # codecarbon | hugging_face | impact_tracker | azure_monitor | mlflow | published
    file: str  # name of the file, without its folder
    sha256: str  # of the file
    place: str  # which part of the file: row 3, rows 2 to 9, run b8ad2ad7
    tool_version: str | None = None
    started_at_source: str = "none:not_in_file"  # where the start comes from; the record's start is "" when unknown
    # What the tool states and no field of a record holds, by its own name with its unit at the end.
    stated: dict[str, float] = field(default_factory=dict)
    contradictions: list[Contradiction] = field(default_factory=list)
