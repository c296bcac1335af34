"""What cannot be as a foreign file has it: arithmetic on its figures and the factor tables. Judges, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilowit import factors
from kilowit.exchange.foreign import JOULE_PER_KWH, SECOND_PER_HOUR
from kilowit.imported import Contradiction

SAME: Final = 0.01  # two values of one figure that agree to so much are one
SAME_TIME: Final = 0.05  # set-up of a tool: CodeCarbon's own takes 1.5 to 2.2 s
PARTS: Final = 0.02
POWER_TIME: Final = 1.5  # tools print the last or the mean power: a factor below this says nothing
LIMIT: Final = 1.1  # boards pass their rated power for moments, not for a run
SHIFTED_GRID: Final = 0.10


def parts_of_total(parts: Sequence[float | None], total: float | None, unit: str) -> Contradiction | None:
    """Compare a total with the sum of its parts, all of which are known."""
    known = [part for part in parts if part is not None]
    if total is None or len(known) < len(parts) or not differs(sum(known), total, PARTS):
        return None
    return Contradiction(
        kind="components", message=f"the parts add up to {sum(known):.6g} {unit}, the total says {total:.6g} {unit}"
    )


def rate_times_time(
    what: str, rate: float | None, second: float | None, amount: float | None, unit: str
) -> Contradiction | None:
    """Compare a rate over a time with the amount that it should give."""
    if rate is None or second is None or amount is None or not differs(rate * second, amount, SAME_TIME):
        return None
    message = (
        f"{what}: {rate:.6g} a second over {second:.6g} s is {rate * second:.6g} {unit}, the file says {amount:.6g}"
    )
    return Contradiction(kind="rate", message=message, figures=[what])


def power_times_time(
    device: str, watt: float | None, second: float | None, joule: float | None
) -> Contradiction | None:
    """Compare power over a time with the energy; only a factor of `POWER_TIME` tells."""
    if not watt or not second or not joule:
        return None
    ratio = watt * second / joule
    if 1 / POWER_TIME <= ratio <= POWER_TIME:
        return None
    message = (
        f"{device}: {watt:.4g} W over {second:.4g} s is {watt * second / JOULE_PER_KWH:.4g} kWh, "
        f"the file says {joule / JOULE_PER_KWH:.4g} kWh"
    )
    return Contradiction(kind="power_time", message=message, figures=[f"{device}_power", f"{device}_energy"])


def device_limit(
    joule: float | None, second: float | None, num_gpus: int | None, gpu_name: str | None
) -> Contradiction | None:
    """Compare the mean power of GPUs with what they are rated for; needs a GPU of our table."""
    found = factors.device(gpu_name) if gpu_name else None
    if found is None or not joule or not second or not num_gpus:
        return None
    watt = joule / second
    if watt <= LIMIT * num_gpus * found.tdp_watt:
        return None
    message = (
        f"{watt:.0f} W on average is more than {num_gpus} {found.name} can draw "
        f"({num_gpus * found.tdp_watt:.0f} W rated)"
    )
    return Contradiction(kind="device_limit", message=message)


def grid_intensity(
    joule: float | None, co2e_kg: float | None, region: str | None, pue: float | None = None
) -> Contradiction | None:
    """Compare CO2e over energy with the grid: of the region if it is known, else with every grid of our table.

    Args:
        joule: of the devices.
        co2e_kg: as stated.
        region: where it ran; None = unknown.
        pue: that the file says is in the CO2e; None = it says nothing, and the region's own is expected.
    """
    if not joule or co2e_kg is None:
        return None
    gram_per_kwh = 1000 * co2e_kg / (joule / JOULE_PER_KWH)
    grid = factors.carbon(region)
    if region is None:
        gram_per_kwh /= pue or 1.0
        if grid.low <= gram_per_kwh <= grid.high:
            return None
        message = f"{gram_per_kwh:.4g} gCO2e/kWh is outside all grids of our table ({grid.low:.0f} to {grid.high:.0f})"
        return Contradiction(kind="grid_intensity", message=message)
    overhead = factors.pue(region, pue).value
    expected = grid.value * overhead
    if not differs(gram_per_kwh, expected, SHIFTED_GRID):
        return None
    message = (
        f"{gram_per_kwh:.4g} gCO2e/kWh; {region} has {grid.value:.4g} ({grid.basis}), "
        f"with a PUE of {overhead:g} {expected:.4g}"
    )
    return Contradiction(kind="grid_intensity", message=message)


def rank_rows(joules: Sequence[float], seconds: Sequence[float], places: str) -> Contradiction:
    """Say that rows which lie in one stretch of time each measured the whole machine."""
    watts = [joule / second for joule, second in zip(joules, seconds, strict=True) if second > 0]
    total = sum(joules) / max(seconds) if max(seconds) > 0 else 0.0
    message = (
        f"{places} lie in one stretch of time and each counts the whole machine ({min(watts):.0f} to {max(watts):.0f} "
        f"W): their sum, {sum(joules) / JOULE_PER_KWH:.6g} kWh, would need {total:.0f} W; the median of one row is kept"
    )
    return Contradiction(kind="rank_rows", message=message, figures=["energy_consumed"])


def same_stretch(
    what: str, metered_second: float | None, run_second: float | None, run_what: str
) -> Contradiction | None:
    """Compare how long a meter ran with the run that its energy stands beside."""
    if not metered_second or not run_second or not differs(metered_second, run_second, SAME_TIME):
        return None
    share = metered_second / run_second
    message = f"{what} covers {metered_second:.4g} s, {run_what} took {run_second:.4g} s ({share:.0%})"
    return Contradiction(kind="another_run" if share < 0.5 or share > 2 else "part_of_run", message=message)


def prices(full_usd: float | None, discounted_usd: float | None, name: str) -> Contradiction | None:
    """Compare a discounted cost with the full one of the same run."""
    if full_usd is None or discounted_usd is None or discounted_usd <= full_usd:
        return None
    message = f"{name} at a discount ({discounted_usd:.4g} USD) is dearer than at full price ({full_usd:.4g} USD)"
    return Contradiction(kind="swapped_prices", message=message)


def cost_of(second: float, usd_per_hour: float) -> float:
    """Return what a machine costs for a time."""
    return second / SECOND_PER_HOUR * usd_per_hour


def differs(value: float, other: float, tolerance: float) -> bool:
    """Whether two values disagree by more than a fraction of the larger."""
    return abs(value - other) > tolerance * max(abs(value), abs(other))
