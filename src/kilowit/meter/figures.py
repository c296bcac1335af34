"""From sums to figures: joules with their interval and source, the row of a phase, the result of a run.

How wide an interval is: a counter by its gain error and one tick at each end of each segment (in quadrature over
segments, for ticks fall independently); sampled power by its gain error and twice the standard error of its samples'
mean; a model by its coefficients. What was bridged widens it by what it may be: nothing, or twice as much. A load that
keeps step with the sensor's own clock can hide from samples altogether: only a counter sees it.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any, Final

from kilowit.meter.tally import EnergySum, Tally
from kilowit.parts.sensor import POWER, Channel
from kilowit.record import DEVICES, PhaseFigures

SIGNATURE_VERSION: Final = 1
MIN_COVERED_FRACTION: Final = 0.5  # below that, a figure would be more guess than reading
MIN_IDLE_SECOND: Final = 0.5
SHORT_SECOND: Final = 0.5  # a window this short may hold no tick at all: its interval looks beyond it
FACTS: Final = frozenset({
    "flop_source", "mfu_fraction", "latency_p50_second", "latency_p95_second", "latency_p99_second", "loss_first",
    "loss_last", "disk_kept_byte", "memory_gpu_max_byte", "memory_host_max_byte",
})  # fmt: skip
_SIGNED: Final = {"model:host": "model"}


@dataclass(frozen=True, kw_only=True)
class MeterResult:
    """What a ledger says.

    Args:
        phases: exclusive figures by phase name, in order of first appearance, ``gap`` last; they add up to `total`.
        total: the whole run, as the phase ``total``.
        warnings: what the reader of these figures must know, each once.
        signature: how the energy was metered, to print under every table.
        sensors: what was read, from where.
        clean: False if the ledger has no last line: the process was killed.
        idle_power_watt: power of the whole machine in the phase ``idle``, or as given to the meter.
        amounts: what counters of other things than our joules moved over the whole run, by quantity.
    """

    phases: tuple[PhaseFigures, ...]
    total: PhaseFigures
    warnings: tuple[str, ...]
    signature: str
    sensors: tuple[dict[str, Any], ...]
    started_at_utc: str
    ended_at_utc: str
    clean: bool
    idle_power_watt: float | None
    amounts: dict[str, float] = dataclasses.field(default_factory=dict)

    def phase(self, name: str) -> PhaseFigures | None:
        """Return the exclusive figures of the phase `name`, or None."""
        return next((p for p in self.phases if p.phase == name), None)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the figures of one stretch need to know of the whole run."""

    channels: list[Channel]
    absent: dict[str, str]  # component -> why nothing meters it
    rows: dict[str, Tally]
    run: Tally
    header: dict[str, Any]
    ended_utc_second: float
    sensors: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]

    def devices(self, component: str) -> list[list[int]]:
        """Return, for each device of a component, the channels whose joules are booked: counters, else power."""
        kinds: dict[str, dict[str, list[int]]] = {}
        for number, channel in enumerate(self.channels):
            if channel.component == component and channel.source:
                kinds.setdefault(channel.device, {}).setdefault(channel.kind, []).append(number)
        return [
            counters if (counters := by_kind.get("counter")) and self._covers(counters) else by_kind.get("power", [])
            for by_kind in kinds.values()
        ]

    def _covers(self, numbers: list[int]) -> bool:
        return any(n in self.run.energy and self.run.energy[n].covered_second > 0 for n in numbers)


@dataclass(frozen=True)
class Energy:
    """Joules of one component over one stretch."""

    joule: float | None = None
    low: float | None = None
    high: float | None = None
    source: str = "none:not_read"
    is_measured: bool = False


def build_result(context: Context, *, clean: bool) -> MeterResult:
    """Return all figures of a finished reduction."""
    names = [name for name in context.rows if name != "gap"] + ["gap"]
    idle_watt = idle_power_watt(context)
    phases = tuple(phase_figures(name, context.rows[name], context) for name in names if name in context.rows)
    return MeterResult(
        phases=phases,
        total=_total(phases, context),
        warnings=context.warnings,
        signature=signature(context),
        sensors=context.sensors,
        started_at_utc=utc_text(float(context.header.get("utc_second", 0.0))),
        ended_at_utc=utc_text(context.ended_utc_second),
        clean=clean,
        idle_power_watt=idle_watt,
        amounts=dict(context.run.amounts),
    )


def phase_figures(name: str, tally: Tally, context: Context) -> PhaseFigures:
    """Return the row of one stretch."""
    energies = {component: component_energy(component, tally, context) for component in DEVICES}
    values = energy_fields(energies, tally.wall_second, _idle_watt_or_own(name, energies, tally, context))
    values.update(_usage_fields(tally, context, energies["gpu"]))
    values.update(_count_fields(tally))
    values.update({k: v for k, v in tally.facts.items() if k in FACTS})
    return PhaseFigures(phase=name, wall_second=tally.wall_second, **values)


def component_energy(component: str, tally: Tally, context: Context) -> Energy:
    """Return joules, interval and source of one component over one stretch."""
    devices = [numbers for numbers in context.devices(component) if numbers]
    if not devices:
        return Energy(source=context.absent.get(component, "none:no_sensor"))
    wall_second = tally.wall_second
    covered_second = sum(tally.energy[n].covered_second for numbers in devices for n in numbers if n in tally.energy)
    if covered_second < MIN_COVERED_FRACTION * wall_second * len(devices):
        return Energy(source="none:sensor_lost")
    parts = [_device_energy(numbers, tally, context) for numbers in devices]
    channels = [context.channels[numbers[0]] for numbers in devices]
    return Energy(
        joule=sum(part[0] for part in parts),
        low=sum(part[1] for part in parts),
        high=sum(part[2] for part in parts),
        source="+".join(dict.fromkeys(channel.source for channel in channels)),
        is_measured=all(channel.is_measured for channel in channels),
    )


def _device_energy(numbers: list[int], tally: Tally, context: Context) -> tuple[float, float, float]:
    """Return (likely, low, high) joules of one device; what was not read is continued at its mean rate."""
    own, run = EnergySum(), EnergySum()
    for number in numbers:
        own.add(tally.energy.get(number, EnergySum()))
        run.add(context.run.energy.get(number, EnergySum()))
    channel = context.channels[numbers[0]]
    basis = own if own.covered_second >= MIN_COVERED_FRACTION * tally.wall_second and own.covered_second > 0 else run
    watt = basis.joule / basis.covered_second if basis.covered_second > 0 else 0.0
    unread_joule = watt * max(0.0, tally.wall_second - own.covered_second)
    doubt_joule = own.filled_joule + unread_joule
    if channel.kind == "power":
        doubt_joule += _sampling_joule(own, run)
    elif channel.is_measured:
        doubt_joule += _tick_joule(channel, watt, own, run, tally, context)
    low = own.joule_low * (1 - channel.error_fraction) + unread_joule - doubt_joule
    high = own.joule_high * (1 + channel.error_fraction) + unread_joule + doubt_joule
    return own.joule + unread_joule, max(0.0, low), high


def _tick_joule(channel: Channel, watt: float, own: EnergySum, run: EnergySum, tally: Tally, context: Context) -> float:
    """Return what a counter that ticks may hide at the ends of the segments of a stretch."""
    if tally.wall_second < SHORT_SECOND:
        run_watt = run.joule / run.covered_second if run.covered_second > 0 else 0.0
        watt = max(watt, run_watt, tally.peaks.get(f"{channel.component}:{POWER}", 0.0))
    return 2 * channel.tick_second * watt * math.sqrt(max(1, tally.num_segments))


def _sampling_joule(own: EnergySum, run: EnergySum) -> float:
    """Return twice the standard error of an integral over samples, as if they fell at random moments.

    A stretch of few samples cannot tell how much the power varies, so the run's variance counts if it is greater.
    """
    if own.num_intervals == 0:
        return 0.0
    variance_watt2 = max(_variance_watt2(own), _variance_watt2(run))
    return 2 * own.covered_second * math.sqrt(variance_watt2 / own.num_intervals)


def _variance_watt2(energy: EnergySum) -> float:
    if energy.covered_second <= 0:
        return 0.0
    mean_watt = energy.joule / energy.covered_second
    return max(0.0, energy.square_watt2_second / energy.covered_second - mean_watt**2)


def energy_fields(energies: dict[str, Energy], wall_second: float, idle_watt: float | None) -> dict[str, Any]:
    """Return the energy fields of a row: each component, and their sum."""
    known = [energy for energy in energies.values() if energy.joule is not None]
    total_joule = sum(energy.joule or 0.0 for energy in known)
    measured_joule = sum(energy.joule or 0.0 for energy in known if energy.is_measured)
    total = Energy()
    if known:
        low, high = sum(energy.low or 0.0 for energy in known), sum(energy.high or 0.0 for energy in known)
        total = Energy(total_joule, low, high, "+".join(dict.fromkeys(energy.source for energy in known)))
    fields: dict[str, Any] = {}
    for component, energy in [*energies.items(), ("total", total)]:
        fields[f"energy_{component}_joule"] = energy.joule
        fields[f"energy_{component}_joule_low"] = energy.low
        fields[f"energy_{component}_joule_high"] = energy.high
        fields[f"energy_{component}_source"] = energy.source
    if known and idle_watt is not None:
        fields["energy_idle_joule"] = min(idle_watt * wall_second, total_joule)
    if total_joule > 0:
        fields["energy_measured_fraction"] = measured_joule / total_joule
    return fields


def idle_power_watt(context: Context) -> float | None:
    """Return the machine's idle power: as given, or as seen in the phase ``idle``."""
    given = context.header.get("idle_power_watt")
    if given is not None:
        return float(given)
    idle = context.rows.get("idle")
    if idle is None or idle.wall_second < MIN_IDLE_SECOND:
        return None
    joules = [component_energy(component, idle, context).joule for component in DEVICES]
    known = [joule for joule in joules if joule is not None]
    return sum(known) / idle.wall_second if known else None


def signature(context: Context) -> str:
    """Return how the energy was metered; region and PUE are added by whoever prices it."""
    parts = []
    for component in ("gpu", "cpu", "dram"):
        source = component_energy(component, context.run, context).source
        name = "+".join(_SIGNED.get(part, part.partition(":")[0]) for part in source.split("+"))
        parts.append(f"{component}:{name}")
    period_second = context.header.get("period_second")
    period = f"{float(period_second) * 1000:.0f}ms" if period_second else "edges"
    return "|".join(["energy", *parts, "idle:kept", f"period:{period}", f"v:{SIGNATURE_VERSION}"])


def utc_text(utc_second: float) -> str:
    """Write a moment as ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(utc_second))


def _idle_watt_or_own(name: str, energies: dict[str, Energy], tally: Tally, context: Context) -> float | None:
    """Return the idle power, which for the idle phase itself is its own, all of it."""
    if name == "idle" and tally.wall_second > 0:
        return math.inf
    return idle_power_watt(context)


def _usage_fields(tally: Tally, context: Context, gpu: Energy) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "memory_gpu_max_byte": _whole(tally.peaks.get("memory_gpu_byte")),
        "memory_host_max_byte": _whole(tally.peaks.get("memory_host_byte")),
        "disk_read_byte": _whole(tally.amounts.get("disk_read_byte")),
        "disk_written_byte": _whole(tally.amounts.get("disk_written_byte")),
        "network_received_byte": _whole(tally.amounts.get("network_received_byte")),
        "network_sent_byte": _whole(tally.amounts.get("network_sent_byte")),
        "utilization_gpu_mean_fraction": _mean("utilization_gpu_fraction", tally, context),
    }
    busy_cpus = _mean("cpu_busy_second", tally, context)
    if busy_cpus is not None:
        fields["utilization_cpu_mean_fraction"] = min(1.0, busy_cpus / (context.header.get("num_cpus") or 1))
    if gpu.joule is not None and tally.wall_second > 0:
        fields["power_gpu_mean_watt"] = gpu.joule / tally.wall_second
        fields["power_gpu_max_watt"] = tally.peaks.get(f"gpu:{POWER}")
    return fields


def _count_fields(tally: Tally) -> dict[str, Any]:
    counts: dict[str, Any] = {
        name: float(count) if name == "flop_total" else int(count) for name, count in tally.counts.items()
    }
    if tally.wall_second > 0:
        if "num_examples" in counts:
            counts["examples_per_second"] = counts["num_examples"] / tally.wall_second
        num_tokens = counts.get("num_input_tokens", 0) + counts.get("num_output_tokens", 0)
        if num_tokens:
            counts["tokens_per_second"] = num_tokens / tally.wall_second
    return counts


def _total(phases: tuple[PhaseFigures, ...], context: Context) -> PhaseFigures:
    """Return the row of the whole run: joules are the sum of the phases, the interval is that of the run."""
    whole = Tally()
    whole.add(context.run)
    flop_total = whole.counts.get("flop_total")
    whole.counts, whole.facts, whole.num_segments = {}, {}, 1
    total = phase_figures("total", whole, context)
    changes: dict[str, Any] = {"flop_total": flop_total}
    for component in (*DEVICES, "total"):
        field = f"energy_{component}_joule"
        known = [joule for phase in phases if (joule := getattr(phase, field)) is not None]
        joule = math.fsum(known) if known else None
        changes[field] = joule
        if joule is None:
            changes[f"{field}_low"] = changes[f"{field}_high"] = None
            continue
        low, high = getattr(total, f"{field}_low"), getattr(total, f"{field}_high")
        changes[f"{field}_low"] = joule if low is None else min(low, joule)
        changes[f"{field}_high"] = joule if high is None else max(high, joule)
    return dataclasses.replace(total, **changes)


def _mean(quantity: str, tally: Tally, context: Context) -> float | None:
    means = [
        mean.weighted / mean.second
        for number, mean in tally.means.items()
        if context.channels[number].quantity == quantity and mean.second > 0
    ]
    return sum(means) / len(means) if means else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
