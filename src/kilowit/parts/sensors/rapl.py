"""RAPL: the energy counters of Intel and AMD processors, through Linux powercap.

What it reads  energy_uj of each package (component cpu) and of each DRAM zone (component dram)
Update         about every 1 ms; the register wraps after minutes (max_energy_range_uj)
Left out       psys (contains the packages), core and uncore (inside the package), intel-rapl-mmio (mirrors the
               MSR zones), dies that mirror their socket's counter: counting them would book a joule twice
Needs          read permission, root-only by default since 2020 (CVE-2020-8694); guests of a cloud have none
Source         Linux Documentation/power/powercap/powercap.rst; double counting: codecarbon#1274, #1379, #1392
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from kilowit.errors import SensorError
from kilowit.parts.sensor import ENERGY, Channel, Component, Opening, Sweep, Value

POWERCAP: Final = Path("/sys/class/powercap")
JOULE_PER_MICROJOULE: Final = 1e-6
TICK_SECOND: Final = 0.001  # Intel SDM vol. 3B, 16.10: updated about every millisecond

# The vendors promise no accuracy. Haswell-EP and later measure at the voltage regulator, and DRAM follows the truth
# with a constant offset (Desrochers et al. 2016, MEMSYS). The figures below are our assumption, quoted as intervals.
ERROR_FRACTION: Final[dict[str, float]] = {"cpu": 0.05, "dram": 0.20}
RATE_MAX_WATT: Final = 2000.0  # above any socket sold: a faster counter was reset, not wrapped
MIRROR_JOULE: Final = 1.0  # two counters of one socket this close are one counter read twice

_ZONE: Final = re.compile(r"(intel-rapl(?:-[a-z]+)?):(\d+)(?::(\d+))?")
PERMISSION_HINT: Final = (
    "Let root run `chmod a+r /sys/class/powercap/*/energy_uj` (until the next boot), or add a udev rule for it."
)


class Zone(NamedTuple):
    """One powercap zone: its controller (`intel-rapl`, `intel-rapl-mmio`), its name and its folder."""

    controller: str
    name: str
    parent: str | None
    folder: Path


def default() -> RaplSensor:
    """Return the sensor of this machine."""
    return RaplSensor()


class RaplSensor:
    """Package and DRAM joules from a powercap tree.

    Args:
        root: the powercap folder; tests give a tree of their own.
    """

    name = "rapl"
    may_hang = True
    components: tuple[Component, ...] = ("cpu", "dram")

    def __init__(self, root: Path = POWERCAP) -> None:
        self._root = root
        self._counters: dict[str, Path] = {}
        self._left_out: list[str] = []

    def open(self) -> Opening:
        """Choose the zones that cover each joule once.

        Raises:
            SensorError: no RAPL zone, or none that may be read.
        """
        zones = find_zones(self._root)
        if not zones:
            raise SensorError("none:no_device", f"no RAPL zone under {self._root}", hint="Guests and ARM have none.")
        chosen, self._left_out = choose_zones(zones)
        channels, unreadable = [], []
        for zone in chosen:
            try:
                _read_microjoule(zone.folder)
            except (OSError, ValueError) as error:
                unreadable.append(f"{zone.folder.name} ({zone.name}): {error}")
                continue
            channel = _channel(zone)
            self._counters[channel.id] = zone.folder / "energy_uj"
            channels.append(channel)
        if not channels:
            raise _unreadable_error(chosen, unreadable)
        return Opening(channels, [f"RAPL zone not readable: {text}" for text in unreadable])

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read all counters, in joules since an arbitrary moment."""
        values: dict[str, Value] = {}
        faults: dict[str, str] = {}
        for channel_id, path in self._counters.items():
            try:
                values[channel_id] = int(path.read_bytes()) * JOULE_PER_MICROJOULE
            except (OSError, ValueError) as error:
                faults[channel_id] = str(error)
        return Sweep(values, faults)

    def close(self) -> None:
        """Forget the zones; there is nothing to give back."""
        self._counters.clear()

    def describe(self) -> dict[str, Any]:
        """Say which zones are counted and which are not, and why."""
        return {
            "sensor": self.name,
            "reads": {channel_id: str(path) for channel_id, path in self._counters.items()},
            "left_out": self._left_out,
        }


def find_zones(root: Path) -> list[Zone]:
    """Return all RAPL zones under `root`, listed flat (as sysfs does) or nested."""
    folders: dict[str, Path] = {}
    try:
        listed = sorted(root.glob("intel-rapl*:*")) + sorted(root.glob("intel-rapl*:*/intel-rapl*:*"))
    except OSError:
        return []
    for folder in listed:
        if _ZONE.fullmatch(folder.name):
            folders.setdefault(folder.name, folder)
    zones = []
    for zone_id, folder in sorted(folders.items()):
        match = _ZONE.fullmatch(zone_id)
        assert match is not None
        parent = f"{match[1]}:{match[2]}" if match[3] is not None else None
        name = _read_name(folder)
        if name is not None:
            zones.append(Zone(match[1], name, parent, folder))
    return zones


def choose_zones(zones: list[Zone]) -> tuple[list[Zone], list[str]]:
    """Return the zones to count, so that no joule is counted twice, and why the others are left out."""
    chosen: list[Zone] = []
    left_out: list[str] = []
    taken: dict[str, str] = {}  # device -> controller that gave it; intel-rapl sorts before intel-rapl-mmio
    for zone in sorted(zones, key=lambda z: (z.controller, z.folder.name)):
        reason = _reason_to_leave(zone, zones, chosen, taken)
        if reason is None:
            chosen.append(zone)
            taken[_device(zone, zones)] = zone.controller
        else:
            left_out.append(f"{zone.folder.name} ({zone.name}): {reason}")
    return chosen, left_out


def _reason_to_leave(zone: Zone, zones: list[Zone], chosen: list[Zone], taken: dict[str, str]) -> str | None:
    if zone.name.startswith("psys"):
        return "contains the packages"
    if not zone.name.startswith("package") and zone.name != "dram":
        return "inside the package"
    earlier = taken.get(_device(zone, zones))
    if earlier is not None and earlier != zone.controller:
        return f"mirrors {earlier}"
    mirrored = next((other for other in chosen if _is_mirror(zone, other, zones)), None)
    return f"mirrors {mirrored.folder.name}" if mirrored else None


def _is_mirror(zone: Zone, other: Zone, zones: list[Zone]) -> bool:
    """Tell whether two zones of one socket show one counter: their joules agree, read one after the other."""
    if zone.name.partition("-")[0] != other.name.partition("-")[0] or _socket(zone, zones) != _socket(other, zones):
        return False
    try:
        first, second, again = (_read_microjoule(z.folder) for z in (other, zone, other))
    except (OSError, ValueError):
        return False
    slack = MIRROR_JOULE / JOULE_PER_MICROJOULE
    return first - slack <= second <= again + slack and second > 0


def _socket(zone: Zone, zones: list[Zone]) -> str:
    """Return ``package-0`` for ``package-0-die-1`` and for the DRAM inside it."""
    owner = zone
    if zone.parent is not None:
        owner = next((z for z in zones if z.folder.name == zone.parent), zone)
    match = re.match(r"package-\d+", owner.name)
    return match[0] if match else owner.folder.name


def _device(zone: Zone, zones: list[Zone]) -> str:
    if zone.parent is None:
        return zone.name if zone.name.startswith("package") else f"{zone.folder.name}-{zone.name}"
    owner = next((z.name for z in zones if z.folder.name == zone.parent), zone.parent)
    return f"{owner}-{zone.name}"


def _channel(zone: Zone) -> Channel:
    component: Component = "dram" if zone.name == "dram" else "cpu"
    return Channel(
        id=f"rapl:{zone.folder.name}",
        kind="counter",
        quantity=ENERGY,
        device=f"{zone.folder.name} {zone.name}",
        component=component,
        source="rapl",
        tick_second=TICK_SECOND,
        error_fraction=ERROR_FRACTION[component],
        wrap=_read_range_joule(zone.folder),
        rate_max=RATE_MAX_WATT,
    )


def _read_microjoule(folder: Path) -> int:
    return int((folder / "energy_uj").read_bytes())


def _read_range_joule(folder: Path) -> float | None:
    try:
        return int((folder / "max_energy_range_uj").read_bytes()) * JOULE_PER_MICROJOULE
    except (OSError, ValueError):
        return None


def _read_name(folder: Path) -> str | None:
    try:
        return (folder / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _unreadable_error(zones: list[Zone], unreadable: list[str]) -> SensorError:
    for zone in zones:
        try:
            _read_microjoule(zone.folder)
        except PermissionError:
            return SensorError("none:no_permission", "RAPL is there but may not be read", hint=PERMISSION_HINT)
        except (OSError, ValueError):
            continue
    seen = "; ".join(unreadable) or "only zones that are contained in others"
    return SensorError("none:not_readable", f"RAPL is there but cannot be read: {seen}")
