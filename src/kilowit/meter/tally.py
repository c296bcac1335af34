"""What one stretch of the timeline has accumulated. Stretches add up: that is how leaves and gaps make the total."""

from __future__ import annotations

from typing import Any

COUNTS = ("num_examples", "num_input_tokens", "num_output_tokens", "num_steps", "flop_total")


class EnergySum:
    """Joules of one channel over one stretch, and what is needed to say how wrong they can be.

    Attributes:
        joule, joule_low, joule_high: what the channel says; a measured one says the same three times.
        covered_second: for how much of the stretch it was read.
        filled_joule: the part of `joule` that was bridged, not read.
        square_watt2_second: integral of the squared power, where power is sampled.
        num_intervals: number of intervals between readings.
    """

    __slots__ = (
        "covered_second", "filled_joule", "joule", "joule_high", "joule_low", "num_intervals", "square_watt2_second",
    )  # fmt: skip

    def __init__(self) -> None:
        self.joule = self.joule_low = self.joule_high = 0.0
        self.covered_second = self.filled_joule = self.square_watt2_second = self.num_intervals = 0.0

    def add(self, other: EnergySum) -> None:
        """Add another stretch of the same channel."""
        for name in EnergySum.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Mean:
    """A time-weighted mean in the making."""

    __slots__ = ("second", "weighted")

    def __init__(self) -> None:
        self.weighted = self.second = 0.0

    def add(self, value: float, second: float) -> None:
        """Add a value that held for `second`."""
        self.weighted += value * second
        self.second += second


class Tally:
    """All that one stretch has accumulated; keys of `energy` and `means` are channel numbers."""

    def __init__(self) -> None:
        self.wall_second = 0.0
        self.num_segments = 0
        self.energy: dict[int, EnergySum] = {}
        self.means: dict[int, Mean] = {}
        self.amounts: dict[str, float] = {}  # quantity -> sum of what its counters moved
        self.peaks: dict[str, float] = {}  # quantity -> maximum of the sum over its devices
        self.counts: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self.continued_in: Tally | None = None  # where late joules go once this stretch is closed

    def live(self) -> Tally:
        """Return the tally that still counts: this one, or the one it was merged into."""
        return self if self.continued_in is None else self.continued_in.live()

    def energy_of(self, channel: int) -> EnergySum:
        """Return the sum of a channel, which starts at nothing."""
        found = self.energy.get(channel)
        if found is None:
            found = self.energy[channel] = EnergySum()
        return found

    def add_mean(self, channel: int, value: float, second: float) -> None:
        """Let a gauge have held `value` for `second`."""
        self.means.setdefault(channel, Mean()).add(value, second)

    def add_amount(self, quantity: str, amount: float) -> None:
        """Let a counter have moved by `amount`."""
        self.amounts[quantity] = self.amounts.get(quantity, 0.0) + amount

    def raise_peak(self, quantity: str, value: float) -> None:
        """Keep the greatest value seen."""
        self.peaks[quantity] = max(value, self.peaks.get(quantity, value))

    def set_facts(self, counts: dict[str, float], facts: dict[str, Any]) -> None:
        """Add counts; keep the first ``loss_first`` and the last of every other fact."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        for name, fact in facts.items():
            if name != "loss_first" or name not in self.facts:
                self.facts[name] = fact

    def add(self, other: Tally) -> None:
        """Add another stretch."""
        self.wall_second += other.wall_second
        self.num_segments += other.num_segments
        for channel, energy in other.energy.items():
            self.energy_of(channel).add(energy)
        for channel, mean in other.means.items():
            own = self.means.setdefault(channel, Mean())
            own.weighted += mean.weighted
            own.second += mean.second
        for quantity, amount in other.amounts.items():
            self.add_amount(quantity, amount)
        for quantity, peak in other.peaks.items():
            self.raise_peak(quantity, peak)
        self.set_facts(other.counts, other.facts)
