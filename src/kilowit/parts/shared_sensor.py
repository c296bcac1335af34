"""A sensor on a machine that several cells share: what is not a GPU's is booked as an equal share, at most the whole.

Each cell's meter reads the whole machine. Booked in full by each, the processor would be paid once a cell; an equal
share is right when all of them work alike, and the interval says that it may be all.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from kilowit.parts.sensor import ENERGY, POWER, Opening, Sensor, Sweep, Value

_SHARED: Final = ("cpu", "dram", "other")


class SharedSensor:
    """Wraps a sensor.

    Args:
        sensor: what is read.
        num_sharing: cells that share the machine.
    """

    def __init__(self, sensor: Sensor, num_sharing: int) -> None:
        self._sensor, self._num_sharing = sensor, num_sharing
        self.name, self.components, self.may_hang = sensor.name, sensor.components, sensor.may_hang
        self._shared: set[str] = set()

    def open(self) -> Opening:
        """Find the devices, and say which are shared."""
        opening = self._sensor.open()
        channels = []
        for channel in opening.channels:
            if channel.component in _SHARED and channel.quantity in (ENERGY, POWER):
                self._shared.add(channel.id)
                wrap = None if channel.wrap is None else channel.wrap / self._num_sharing
                channel = dataclasses.replace(channel, source=f"{channel.source}/{self._num_sharing}", wrap=wrap)
            channels.append(channel)
        return Opening(channels, opening.cautions)

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read, and share out."""
        sweep = self._sensor.read(cheap_only=cheap_only)
        values = {name: self._share(value) if name in self._shared else value for name, value in sweep.values.items()}
        return Sweep(values, sweep.faults)

    def close(self) -> None:
        """Give the devices back."""
        self._sensor.close()

    def describe(self) -> dict[str, Any]:
        """Say what is read, and by how many it is shared."""
        return {**self._sensor.describe(), "num_sharing": self._num_sharing}

    def _share(self, value: Value) -> Value:
        likely, low, high = value if isinstance(value, tuple) else (value, value, value)
        return likely / self._num_sharing, low / self._num_sharing, high
