"""The working life of each choice from what its runs took: what a year of it costs, part by part.

    kilowit report runs --maintenance summaries_per_day=5000 --machine Standard_D8s_v5

The arithmetic is the plan's (`kilowit.plan.life_cycle`); here it gets measured figures and a place that prices them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from kilowit.errors import StudyError, near_name_hint
from kilowit.plan.interval import Interval
from kilowit.plan.life_cycle import PARTS, LifeCycle, life_cycle
from kilowit.plan.maintenance import measured_efforts
from kilowit.plan.prices import Prices
from kilowit.report.figure_bill import Bar, bill_svg
from kilowit.report.figure_pareto import WIDE, Canvas
from kilowit.report.markup import Markup, standalone
from kilowit.report.pricing import Place, Pricing
from kilowit.report.quantity import measure, number, whole
from kilowit.report.read_runs import RunSource, read_runs
from kilowit.report.runs import Choice, choices_of
from kilowit.settings import FactorSettings, MaintenanceSettings

NARROW_FRACTION: Final = 0.01
Changes = MaintenanceSettings | Mapping[str, Any] | None


def life_cycles(
    runs: RunSource,
    maintenance: Changes = None,
    *,
    region: str | None = None,
    machine: str | None = None,
    pue: float | None = None,
) -> list[LifeCycle]:
    """Return the working life of each choice, from the figures of its finished runs.

    Args:
        runs: a store, its folder, or records of one or more studies.
        maintenance: in place of what the studies say; a mapping changes single keys, ``{"summaries_per_day": 5000}``.
            None = each study's own; a choice of a study without any is left out.
        region: prices all there instead of where its study says.
        machine: prices all on this VM.
        pue: overrides the region's.

    Raises:
        StudyError: a key or value that `maintenance:` does not take.
        PartError: the region or machine is unknown.
    """
    records, _ = read_runs(runs)
    measured = [record for record in records if record.imported is None]
    pricing = Pricing(measured, region=region, machine=machine, pue=pue)
    return life_cycles_of(choices_of(measured), pricing, maintenance)


def life_cycles_of(choices: Sequence[Choice], pricing: Pricing, maintenance: Changes = None) -> list[LifeCycle]:
    """Return the working life of each choice that has a finished run and a `maintenance`."""
    cycles = []
    for choice in choices:
        records = [run.record for run in choice.finished]
        asked = _asked(records[-1].cell.get("maintenance"), maintenance) if records else None
        if asked is None:
            continue
        efforts = measured_efforts(records, asked)
        if efforts is not None:
            cycles.append(life_cycle(choice.label, efforts, asked, _prices(pricing.place(records[-1]))))
    return cycles


def life_cycle_sentences(cycles: Sequence[LifeCycle]) -> tuple[str, ...]:
    """Say of each choice what its life takes, and which part takes most."""
    said = []
    for cycle in cycles:
        total = cycle.total
        if total.energy_total_joule is None:
            continue
        shares = {name: share for name in PARTS if (share := cycle.share(name)) is not None}
        dearest = max(shares, key=lambda name: shares[name], default=None)
        words = [_ranged(total.energy_total_joule, "energy_wh")]
        words += [] if total.cost_usd is None else [_ranged(total.cost_usd, "money")]
        said.append(
            f"{cycle.label}: {number(cycle.maintenance.horizon_day)} days at "
            f"{whole(cycle.maintenance.summaries_per_day)} summaries a day take {' and '.join(words)}"
            + (f"; {dearest} is {number(100 * shares[dearest], 2)} % of the energy." if dearest else ".")
        )
    return tuple(said)


def bars_of_lives(cycles: Sequence[LifeCycle]) -> list[Bar]:
    """Return a bar for each life whose energy is known, in the order of the choices."""
    bars = []
    for cycle in cycles:
        total = cycle.total.energy_total_joule
        if total is None or not total.likely:
            continue
        joules = {part.name: part.energy_total_joule.likely for part in cycle.parts if part.energy_total_joule}
        bars.append(Bar(f"{cycle.label} ({cycle.served_by})", joules, total.low, total.high))
    return bars


def life_cycle_svg(bars: Sequence[Bar], canvas: Canvas) -> Markup:
    """Draw lives as stacked bars, at least one."""
    return bill_svg(bars, canvas, names=PARTS, what="choice and part of its working life")


@dataclass(frozen=True)
class Drawing:
    """A figure as an SVG of its own, which notebooks show and `save` writes."""

    svg: str

    def save(self, path: str | Path) -> Path:
        """Write it to a file and return its path."""
        Path(path).write_text(self.svg, encoding="utf-8")
        return Path(path)

    def _repr_svg_(self) -> str:
        return self.svg


def draw_life_cycles(cycles: Sequence[LifeCycle]) -> Drawing:
    """Draw the working lives of a plan (`Plan.life_cycles`) or of runs (`life_cycles`) side by side.

    Raises:
        StudyError: no energy of any of them is known.
    """
    bars = bars_of_lives(cycles)
    if not bars:
        raise StudyError("no energy of a working life is known", hint="Give the study maintenance: and an idle_second.")
    return Drawing(standalone(life_cycle_svg(bars, WIDE)))


def _ranged(interval: Interval, kind: Any) -> str:
    likely = measure(interval.likely, kind, 2)
    if is_narrow(interval):
        return likely
    return f"{likely} ({measure(interval.low, kind, 2)} to {measure(interval.high, kind, 2)})"


def is_narrow(interval: Interval) -> bool:
    """Whether the ends are too near each other to be worth a reader's time."""
    return interval.high - interval.low <= NARROW_FRACTION * interval.likely


def _asked(own: Mapping[str, Any] | None, changes: Changes) -> MaintenanceSettings | None:
    if isinstance(changes, MaintenanceSettings):
        return changes
    if own is None and changes is None:
        return None
    try:
        return MaintenanceSettings.model_validate({**(own or {}), **(changes or {})})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "maintenance"
        known = MaintenanceSettings.model_fields
        hint = near_name_hint(key, known) if key not in known else "See docs/reference/study.md#maintenance."
        raise StudyError(f"{key}: {first['msg'].lower()}", place="maintenance", hint=hint) from error


def _prices(place: Place) -> Prices:
    return Prices.of(FactorSettings(region=place.region, machine=place.machine, pue=place.pue), place.machine)
