"""What can be metered here, and how to get more; `kilowit doctor` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kilowit.errors import SensorError
from kilowit.meter.reader import SensorReader
from kilowit.parts.sensor import Opening, Sensor, default_sensors


def survey(sensors: Sequence[Sensor] | None = None) -> list[dict[str, Any]]:
    """Open, read once and close every sensor; return a row for each device, or for the sensor that cannot.

    Keys: sensor, device, works, source (of its joules; "" if it has none to give), why_not, remedy.

    Args:
        sensors: unopened; None = all that this machine may have.
    """
    reader = SensorReader(default_sensors() if sensors is None else sensors)
    opened = reader.open()
    values, _ = reader.read(cheap_only=False)
    rows: list[dict[str, Any]] = []
    for sensor, outcome in opened:
        if isinstance(outcome, Opening):
            rows += _device_rows(sensor, outcome, set(values))
        else:
            rows.append(_absent_row(sensor, outcome))
    reader.close()
    return rows


def _device_rows(sensor: Sensor, opening: Opening, read: set[str]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for channel in opening.channels:
        row = rows.setdefault(channel.device, _row(sensor, channel.device, source=""))
        if channel.source and (not row["source"] or channel.kind == "counter"):
            row["source"] = channel.source
        row["works"] = row["works"] or channel.id in read
    cautions = "; ".join(opening.cautions)
    for row in rows.values():
        row["why_not"] = cautions if row["works"] else cautions or "opened, but gave no reading"
    return list(rows.values())


def _absent_row(sensor: Sensor, outcome: Exception) -> dict[str, Any]:
    row = _row(sensor, "", source="none:error")
    if isinstance(outcome, SensorError):
        row.update(source=outcome.source, why_not=outcome.message, remedy=outcome.hint or "")
    elif isinstance(outcome, TimeoutError):
        row.update(source="none:hung", why_not=str(outcome), remedy="See `dmesg` for a driver that hangs.")
    else:
        row.update(why_not=f"{type(outcome).__name__}: {outcome}")
    return row


def _row(sensor: Sensor, device: str, *, source: str) -> dict[str, Any]:
    return {"sensor": sensor.name, "device": device, "works": False, "source": source, "why_not": "", "remedy": ""}
