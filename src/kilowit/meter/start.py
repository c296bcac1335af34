"""What the meter does once, at the start: open sensors, prefer measurements to models, claim devices."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from kilowit.errors import SensorError
from kilowit.meter.election import Claims, local_rank_of
from kilowit.meter.reader import SensorReader
from kilowit.parts.sensor import Channel, Opening, Sensor

OTHER_RANK: Final = "none:other_rank"
PLAIN_ABSENCE: Final = "none:no_device"  # nothing is there to be read: worth a note, not a warning


class Started(NamedTuple):
    """The channels to read, why the others are not, and what to tell."""

    channels: list[Channel]
    absent: dict[str, str]  # component -> none:<why>
    sensors: list[dict[str, Any]]
    notes: list[tuple[str, str]]  # (kind, message)


def choose_channels(reader: SensorReader, claims: Claims | None) -> Started:
    """Open the sensors of a reader and choose what to book, each joule once."""
    absent: dict[str, str] = {}
    notes: list[tuple[str, str]] = []
    channels: list[Channel] = []
    owners: dict[str, Sensor] = {}
    for sensor, outcome in reader.open():
        if not isinstance(outcome, Opening):
            _tell_absence(sensor, outcome, absent, notes)
            continue
        notes += [("warning", caution) for caution in outcome.cautions]
        channels += outcome.channels
        owners.update((channel.id, sensor) for channel in outcome.channels)
    channels = _prefer_measured(channels)
    channels = _claim(channels, claims, absent, notes)
    kept = {id(owners[channel.id]) for channel in channels}
    for sensor in {id(owner): owner for owner in owners.values()}.values():
        if id(sensor) not in kept:
            reader.drop(sensor)
    return Started(channels, absent, reader.describe(), notes)


def _tell_absence(sensor: Sensor, outcome: Any, absent: dict[str, str], notes: list[tuple[str, str]]) -> None:
    if isinstance(outcome, SensorError):
        source, reason = outcome.source, outcome.message
    elif isinstance(outcome, TimeoutError):
        source, reason = "none:hung", str(outcome)
    else:
        source, reason = "none:error", f"{type(outcome).__name__}: {outcome}"
    for component in sensor.components:
        absent.setdefault(component, source)
    kind = "sensor" if source == PLAIN_ABSENCE else "warning"
    notes.append((kind, f"sensor {sensor.name}: {source}: {reason}"))


def _prefer_measured(channels: list[Channel]) -> list[Channel]:
    """Leave a model out where its component is measured."""
    measured = {channel.component for channel in channels if channel.source and channel.is_measured}
    return [c for c in channels if not c.source or c.is_measured or c.component not in measured]


def _claim(
    channels: list[Channel], claims: Claims | None, absent: dict[str, str], notes: list[tuple[str, str]]
) -> list[Channel]:
    """Leave out the energy of devices that another rank of this job reads."""
    if claims is None:
        return channels
    kept: list[Channel] = []
    others: set[str] = set()
    try:
        for channel in channels:
            if not channel.source or claims.claim(f"{channel.component}:{channel.device}"):
                kept.append(channel)
            else:
                others.add(f"{channel.component} {channel.device}")
                absent[channel.component] = OTHER_RANK
    except OSError as error:
        return _by_rank(channels, error, absent, notes)
    if others:
        notes.append(("rank", f"another rank of this job reads {', '.join(sorted(others))}"))
    return kept


def _by_rank(
    channels: list[Channel], error: OSError, absent: dict[str, str], notes: list[tuple[str, str]]
) -> list[Channel]:
    """Without locks, let local rank 0 read everything."""
    import os

    notes.append(("warning", f"ranks cannot agree by file lock ({error}); local rank 0 reads the node"))
    if not local_rank_of(os.environ):
        return channels
    absent.update((channel.component, OTHER_RANK) for channel in channels if channel.source)
    return [channel for channel in channels if not channel.source]
