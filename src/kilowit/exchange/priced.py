"""The whole of a run with what it emitted, priced where its study or the caller says."""

from __future__ import annotations

from dataclasses import dataclass

from kilowit.factors.derive import Derived, derive
from kilowit.record import PhaseFigures, Record
from kilowit.report.runs import Run
from kilowit.serving.model_card import factors_of
from kilowit.settings import FactorSettings


@dataclass(frozen=True)
class PricedRun:
    """A record, all that it took, and where it is priced."""

    record: Record
    factors: FactorSettings

    @property
    def billed(self) -> PhaseFigures:
        """The sum of all phases."""
        return Run(self.record).billed

    def derived(self, figures: PhaseFigures) -> Derived:
        """CO2e and cost of figures of this run."""
        return derive(figures, region=self.factors.region, machine=self.factors.machine, pue=self.factors.pue)


def priced_run(record: Record, asked: FactorSettings) -> PricedRun:
    """Price a record: what was asked for counts, else what its study says; a PUE is of the region it was given for."""
    own = factors_of(record)
    pue = asked.pue if asked.pue is not None or asked.region is not None else own.pue
    region, machine = asked.region or own.region, asked.machine or own.machine
    return PricedRun(record, FactorSettings(region=region, machine=machine, pue=pue))
