"""CO2e and dollars of summed figures: one call of `factors.derive` per region, machine and PUE, not one per run.

Both are linear in energy and time, so a sum is priced once. Every factor used is remembered for the factor table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from kilowit import factors
from kilowit.errors import PartError, near_name_hint
from kilowit.factors import Factor
from kilowit.factors.derive import Derived, derive_figures
from kilowit.record import PhaseFigures, Record
from kilowit.report.runs import Run, known_energy


@dataclass(frozen=True)
class Place:
    """Where and on what machine figures are priced. None = unknown."""

    region: str | None = None
    machine: str | None = None
    pue: float | None = None
    num_machines: int = 1  # that a run takes at a time


@dataclass(frozen=True)
class Priced:
    """Derived figures of a sum; None = unknown, for `reason`."""

    co2e_operational_kg: float | None
    co2e_operational_kg_low: float | None
    co2e_operational_kg_high: float | None
    co2e_embodied_kg: float | None
    cost_usd_on_demand: float | None
    cost_usd_spot: float | None
    reason_co2e: str
    reason_embodied: str
    reason_cost: str
    reason_spot: str


_MIXED: Final = "regions on different bases must not share a table: give --region"
_NO_MACHINE: Final = "machine unknown: name it with --machine or factors.machine"


class Pricing:
    """Prices the runs of one report. `region`, `machine` and `pue` override what the records say.

    Args:
        records: the runs.
        others: region, machine and PUE, as a study writes them, of whatever else is priced.

    Raises:
        PartError: the region or machine that was asked for is unknown.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        region: str | None = None,
        machine: str | None = None,
        pue: float | None = None,
        others: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Check what was asked for, and note in which places the records are priced."""
        self._asked = Place(region, machine, pue)
        self._place_of_asked: dict[tuple[Any, Any, Any, int], Place] = {}
        self.notes: dict[str, None] = {}
        factors.carbon(region)
        if machine is not None and factors.machine(machine) is None:
            raise PartError(f'no machine "{machine}"', hint=near_name_hint(machine, factors.machines()))
        found = [*(self.place(record) for record in records), *(self.place_of(own) for own in others)]
        self._places = tuple(dict.fromkeys(found))

    def place(self, record: Record) -> Place:
        """Return where a record is priced."""
        return self.place_of(record.cell.get("factors") or {}, record.num_nodes)

    def place_of(self, own: Mapping[str, Any], num_nodes: int = 1) -> Place:
        """Return where something is priced that has a region, machine and PUE of its own."""
        key = (own.get("region"), own.get("machine"), own.get("pue"), num_nodes)
        if key not in self._place_of_asked:
            region = self._asked.region or self._known_region(key[0])
            machine = self._asked.machine or self._known_machine(key[1])
            # A PUE that was written for another region says nothing about the one asked for.
            own_pue = None if self._asked.region else key[2]
            self._place_of_asked[key] = Place(region, machine, self._asked.pue or own_pue, num_nodes)
        return self._place_of_asked[key]

    @property
    def places(self) -> tuple[Place, ...]:
        """The distinct places, in order of first use."""
        return self._places

    @cached_property
    def factors_used(self) -> tuple[Factor, ...]:
        """Every factor that prices these records, once: grid, PUE, embodied, on-demand and spot price."""
        found: dict[str, Factor] = {}
        for place in self.places:
            prices = [factors.price(place.machine, place.region, market) for market in ("on_demand", "spot")]
            used = [_grid(place), _overhead(place), factors.embodied(place.machine), *prices]
            found |= {factor.id: factor for factor in used if factor is not None}
        return tuple(found.values())

    def signature(self, record: Record) -> str:
        """Return the measurement signature of a record with what priced it."""
        return self.signature_at(self.place(record), record.measurement_signature)

    def signature_at(self, place: Place, measured: str | None) -> str:
        """Return how something was measured with what prices it."""
        grid, overhead = _grid(place), _overhead(place)
        measured = measured or "energy|not recorded"
        head, version = (measured, "") if "|v:" not in measured else measured.rsplit("|v:", 1)
        priced = f"pue:{overhead.value:g}|grid:{grid.id.removeprefix('carbon:').removeprefix('grid:')}"
        return f"{head}|{priced}" + (f"|v:{version}" if version else "")

    @cached_property
    def bases(self) -> dict[str, str]:
        """The carbon basis (``direct`` or ``lifecycle``) of each region used."""
        return {p.region or "unknown": _grid(p).basis for p in self.places}

    @cached_property
    def mixes_bases(self) -> bool:
        """Whether CO2e figures of these records must not stand in one table."""
        return len(set(self.bases.values())) > 1

    def price(self, rows: Sequence[tuple[Place, PhaseFigures]]) -> Priced:
        """Price the sum of rows."""
        by_place: dict[Place, list[PhaseFigures]] = {}
        for place, row in rows:
            by_place.setdefault(place, []).append(row)
        derived = [
            derive_figures(
                place.num_machines * math.fsum(row.wall_second for row in group),
                (known_energy(group), known_energy(group, "_low"), known_energy(group, "_high")),
                region=place.region,
                machine_name=place.machine,
                pue_override=place.pue,
            )
            for place, group in by_place.items()
        ]
        notes = tuple(dict.fromkeys(note for d in derived for note in d.notes))
        return Priced(
            co2e_operational_kg=self._sum(derived, "co2e_operational_kg"),
            co2e_operational_kg_low=self._sum(derived, "co2e_operational_kg_low"),
            co2e_operational_kg_high=self._sum(derived, "co2e_operational_kg_high"),
            co2e_embodied_kg=self._sum(derived, "co2e_embodied_kg"),
            cost_usd_on_demand=self._sum(derived, "cost_usd_on_demand"),
            cost_usd_spot=self._sum(derived, "cost_usd_spot"),
            reason_co2e=_MIXED if self.mixes_bases else "no energy was read",
            reason_embodied=_reason(notes, "embodied"),
            reason_cost=_reason(notes, "on-demand"),
            reason_spot=_reason(notes, "spot"),
        )

    def price_runs(self, runs: Sequence[Run], phase: str) -> Priced:
        """Price the sum of one phase (or ``total`` or ``run``) over runs."""
        rows = [(self.place(run.record), row) for run in runs if (row := run.figures(phase)) is not None]
        return self.price(rows)

    def _sum(self, derived: Sequence[Derived], name: str) -> float | None:
        if self.mixes_bases and name.startswith("co2e_operational"):
            return None
        values = [getattr(d, name) for d in derived]
        return None if not values or any(v is None for v in values) else float(sum(values))

    def _known_region(self, region: str | None) -> str | None:
        try:
            factors.carbon(region)
        except PartError:
            self.notes[f'Region "{region}" of the study is unknown here: its CO2e is the world interval.'] = None
            return None
        return region

    def _known_machine(self, machine: str | None) -> str | None:
        if machine is not None and factors.machine(machine) is None:
            self.notes[f'Machine "{machine}" of the study is unknown here: it has no price.'] = None
            return None
        return machine


def _grid(place: Place) -> Factor:
    return factors.carbon(place.region)


def _overhead(place: Place) -> Factor:
    return factors.pue(place.region, place.pue)


def _reason(notes: Sequence[str], word: str) -> str:
    """Pick the note of `derive` that tells why a figure is missing."""
    return next((note for note in notes if word in note and "no machine given" not in note), _NO_MACHINE)
