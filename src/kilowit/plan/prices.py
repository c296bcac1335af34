"""What turns intervals of joules and seconds into intervals of CO2e and dollars: the factors of one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kilowit import factors
from kilowit.factors import Factor
from kilowit.factors.machines import EMBODIED_LIFETIME_SECOND
from kilowit.plan.interval import Interval
from kilowit.settings import FactorSettings

_SECOND_PER_HOUR: Final = 3600


@dataclass(frozen=True)
class Prices:
    """The factors that turn joules and seconds into CO2e and dollars."""

    grid: Factor
    pue: Factor
    embodied: Factor | None
    on_demand: Factor | None
    spot: Factor | None
    machine_name: str | None
    region: str | None

    @classmethod
    def of(cls, chosen: FactorSettings, name: str | None) -> Prices:
        """Return the factors of a region, and of the machine `name`.

        Raises:
            PartError: an unknown region.
        """
        region = chosen.region
        return cls(
            grid=factors.carbon(region),
            pue=factors.pue(region, chosen.pue),
            embodied=factors.embodied(name),
            on_demand=factors.price(name, region, "on_demand"),
            spot=factors.price(name, region, "spot"),
            machine_name=name,
            region=region,
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the factors that there are."""
        every = (self.grid, self.pue, self.embodied, self.on_demand, self.spot)
        return tuple(factor.id for factor in every if factor is not None)

    def co2e_kg(self, energy: Interval | None, time_second: Interval | None) -> Interval | None:
        """Return operational CO2e, with the embodied share where the machine is known; None = no energy known."""
        if energy is None:
            return None
        kwh = energy * (1 / factors.JOULE_PER_KWH)
        operational = kwh * _interval(self.pue) * _interval(self.grid) * (1 / 1000)
        if self.embodied is None or time_second is None:
            return operational
        return operational + _interval(self.embodied) * time_second * (1 / EMBODIED_LIFETIME_SECOND)

    def cost_usd(self, price: Factor | None, time_second: Interval | None) -> Interval | None:
        """Return whole-machine time times a price per hour; None where either is unknown."""
        if price is None or time_second is None:
            return None
        return _interval(price) * time_second * (1 / _SECOND_PER_HOUR)


def _interval(factor: Factor) -> Interval:
    return Interval(factor.low, factor.value, factor.high)
