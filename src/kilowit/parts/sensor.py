"""What a sensor is: something with channels, each of which is one quantity of one device.

A channel is a **counter** (it only grows: joules, bytes, busy seconds; its difference is the figure), a **power**
(watts at a moment; its integral is the figure) or a **gauge** (a level; its mean or its peak is the figure). The
meter reads counters at phase edges because a difference needs no sampling; power and gauges are sampled besides.

A sensor may fail, hang or lie. It says so by raising `SensorError` from `open`, by naming a channel in
`Sweep.faults`, or not at all: the meter reads what may hang in a thread of its own, against a deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from kilowit import parts
from kilowit.errors import PartError, near_name_hint

if TYPE_CHECKING:
    from kilowit.parts.sensors._opinion import OpinionSensor

OPINIONS: Final = ("codecarbon", "zeus")
Component = Literal["gpu", "cpu", "dram", "other", "host"]
ChannelKind = Literal["counter", "power", "gauge"]
Bounds = tuple[float, float, float]  # likely, low, high: what a model counts
Value = float | Bounds

ENERGY: Final = "energy_joule"
POWER: Final = "power_watt"


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity of one device.

    Args:
        id: unique among all sensors of a meter, e.g. ``nvml:GPU-1b2c:energy``.
        quantity: what it is, ending in its unit: `ENERGY`, `POWER`, ``memory_host_byte``, ``cpu_busy_second``, ...
        device: which thing is read; a counter and a power of the same component and device check each other.
        component: which figure of a record the energy belongs to; ``host`` for what is not energy.
        source: how a record names this origin of joules, e.g. ``nvml_counter``.
        is_measured: False for a model.
        tick_second: how stale a reading can be, because the device updates it this often.
        error_fraction: gain error to quote, as a share of the reading.
        wrap: value at which a counter starts again at 0; None = never.
        rate_max: a counter that moves faster than this (unit per second) is lying.
        is_cheap: read at phase edges too, not only once a period.
    """

    id: str
    kind: ChannelKind
    quantity: str
    device: str
    component: Component
    source: str = ""
    is_measured: bool = True
    tick_second: float = 0.0
    error_fraction: float = 0.0
    wrap: float | None = None
    rate_max: float | None = None
    is_cheap: bool = True


class Opening(NamedTuple):
    """What opening a sensor yields: its channels, and what the reader of the figures should be told."""

    channels: Sequence[Channel]
    cautions: Sequence[str] = ()


class Sweep(NamedTuple):
    """One reading of all channels of a sensor; channels that failed are in `faults`, with the reason."""

    values: dict[str, Value]
    faults: dict[str, str]


class Sensor(Protocol):
    """What the meter asks of a sensor. All calls come from one thread at a time."""

    name: str
    components: tuple[Component, ...]  # what it would meter; says why a figure is absent when it cannot
    may_hang: bool  # False = asks the kernel alone for what it has at hand, and is read without a deadline

    def open(self) -> Opening:
        """Find the devices and say what can be read.

        Raises:
            SensorError: nothing can be read here; `source` says why.
        """
        ...

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read all channels, or only those with `Channel.is_cheap`."""
        ...

    def close(self) -> None:
        """Give the devices back."""
        ...

    def describe(self) -> dict[str, Any]:
        """Say what is read, from where; plain JSON."""
        ...


def default_sensors() -> list[Sensor]:
    """Return an unopened instance of each sensor that this machine may have."""
    found = [parts.load("sensors", name).default() for name in parts.names("sensors")]
    return sorted((s for s in found if s is not None), key=lambda sensor: _ORDER.get(sensor.name, len(_ORDER)))


def second_opinions(names: Sequence[str], country: str = "") -> list[OpinionSensor]:
    """Return other meters as sensors, started and ready; they count beside ours and are on no bill.

    Args:
        names: ``codecarbon``, ``zeus``.
        country: the English name of where this machine stands, for their own grid factor; "" = unknown.

    Raises:
        PartError: no sensor of that name gives a second opinion.
    """
    for name in names:
        if not hasattr(parts.load("sensors", name), "opinion"):
            raise PartError(f'sensor "{name}" gives no second opinion', hint=near_name_hint(name, OPINIONS))
    found: list[OpinionSensor] = [parts.load("sensors", name).opinion(country) for name in names]
    for sensor in found:
        sensor.start()
    for sensor in found:
        sensor.await_ready()
    return found


# Measured before modelled, so that the reason given for an absent figure is that of the better sensor.
_ORDER: Final = {"nvml": 0, "rapl": 1, "host_model": 2, "host": 3}
