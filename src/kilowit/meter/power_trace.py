"""power.csv: watts per device over time, for figures and for replay."""

from __future__ import annotations

from kilowit.parts.sensor import Channel, Value


class PowerTrace:
    """Turns readings into lines of a CSV; a counter becomes the mean power since the last line.

    Args:
        channels: those of the meter, numbered as in its ledger.
    """

    def __init__(self, channels: list[Channel]) -> None:
        devices: dict[str, int] = {}
        for number, channel in enumerate(channels):
            name = f"{channel.component}:{channel.device}"
            if channel.source and (name not in devices or channel.kind == "power"):
                devices[name] = number
        self._columns = [(name, number, channels[number]) for name, number in devices.items()]
        self._last: dict[int, tuple[float, float]] = {}

    @property
    def header(self) -> str:
        """The first line."""
        names = [name.replace(",", " ").replace(" ", "_") for name, _, _ in self._columns]
        return ",".join(["t_second", *(f"{name}_watt" for name in names)])

    def line(self, t_second: float, readings: dict[str, Value]) -> str:
        """Return the line of one sample; a device without a reading has an empty cell."""
        return ",".join([f"{t_second:.6f}", *(self._cell(t_second, n, c, readings) for _, n, c in self._columns)])

    def _cell(self, t_second: float, number: int, channel: Channel, readings: dict[str, Value]) -> str:
        value = readings.get(str(number))
        if value is None:
            return ""
        level = value[0] if isinstance(value, tuple | list) else value
        if channel.kind == "power":
            return f"{level:.3f}"
        before = self._last.get(number)
        self._last[number] = (t_second, level)
        if before is None or t_second <= before[0] or level < before[1]:
            return ""
        return f"{(level - before[1]) / (t_second - before[0]):.3f}"
