"""The whole of a run with what it emitted, priced where its study or the caller says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kilowit.factors.derive import Derived, derive
from kilowit.record import DEVICES, MAKING, PhaseFigures, Record
from kilowit.report.runs import Run, is_partial
from kilowit.serving.making import making_figures
from kilowit.serving.model_card import factors_of
from kilowit.settings import FactorSettings


@dataclass(frozen=True)
class PricedRun:
    """A record, all that it took, and where it is priced."""

    record: Record
    factors: FactorSettings

    @property
    def billed(self) -> PhaseFigures:
        """The sum of all phases; an energy that some do not know is unknown: no format can say "at least"."""
        return whole(Run(self.record).billed, self.record.phases)

    @property
    def making(self) -> PhaseFigures:
        """The sum of the phases that made the model, likewise."""
        return whole(making_figures(self.record), [p for p in self.record.phases if p.phase in MAKING])

    def derived(self, figures: PhaseFigures) -> Derived:
        """CO2e and cost of figures of this run."""
        return derive(figures, region=self.factors.region, machine=self.factors.machine, pue=self.factors.pue)


def whole(figures: PhaseFigures, rows: Sequence[PhaseFigures]) -> PhaseFigures:
    """Return a sum of rows without the energies that only a part of the rows knows."""
    names = [f"energy_{device}_joule" for device in (*DEVICES, "total")]
    partial = [name for name in names if is_partial(rows, name)]
    lost: dict[str, Any] = {f"{name}{end}": None for name in partial for end in ("", "_low", "_high")}
    return replace(figures, **lost)


def priced_run(record: Record, asked: FactorSettings) -> PricedRun:
    """Price a record: what was asked for counts, else what its study says; a PUE is of the region it was given for."""
    own = factors_of(record)
    pue = asked.pue if asked.pue is not None or asked.region is not None else own.pue
    region, machine = asked.region or own.region, asked.machine or own.machine
    return PricedRun(record, FactorSettings(region=region, machine=machine, pue=pue))
