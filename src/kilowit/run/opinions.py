"""What second opinions a ledger holds, as a record has them: of a run that ended as it should, or was killed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kilowit.meter import MeterResult
from kilowit.opinion import SecondOpinion

_DEVICES: Final = ("gpu", "cpu", "dram")
_MILLIGRAM_PER_KG: Final = 1e6


def opinions_of(names: Sequence[str], metered: MeterResult) -> list[SecondOpinion]:
    """Return an opinion for each tool that was asked, also one that could not say anything.

    Args:
        names: as in ``measure.second_opinions``.
        metered: the result of the meter that the tools ran beside.
    """
    facts = {str(sensor.get("sensor")): sensor for sensor in metered.sensors}
    return [_opinion(name, facts.get(name), metered) for name in names]


def _opinion(name: str, facts: dict[str, Any] | None, metered: MeterResult) -> SecondOpinion:
    if facts is None:
        mark = f"sensor {name}: "
        told = next(
            (text.removeprefix(mark) for text in metered.warnings if text.startswith(mark)), "it was not started"
        )
        return SecondOpinion(tool=name, why_not=told)
    amounts = {
        quantity.partition(":")[2]: amount
        for quantity, amount in metered.amounts.items()
        if quantity.startswith(f"{name}:")
    }
    milligram = amounts.get("co2e_milligram")
    return SecondOpinion(
        tool=name,
        version=facts.get("version"),
        basis=str(facts.get("basis", "")),
        **{f"energy_{device}_joule": amounts.get(f"{device}_joule") for device in _DEVICES},
        co2e_kg=None if milligram is None else milligram / _MILLIGRAM_PER_KG,
        cpu_second=amounts.get("own_cpu_second"),
        startup_second=facts.get("startup_second"),
        startup_cpu_second=facts.get("startup_cpu_second"),
        why_not=None if amounts else "it gave no reading",
    )
