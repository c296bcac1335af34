"""Scripted powercap trees, each with the zones that must be counted: no joule twice, none left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.errors import SensorError
from kilowit.parts.sensors.rapl import RaplSensor

JOULE = 1_000_000
RANGE = 262_143_328_850

# name of the tree -> {zone: (name, energy_uj)} -> zones that count
TREES: dict[str, tuple[dict[str, tuple[str, int]], set[str]]] = {
    "desktop": (
        {"intel-rapl:0": ("package-0", 5 * JOULE), "intel-rapl:0:0": ("core", JOULE), "intel-rapl:0:1": ("uncore", 0)},
        {"intel-rapl:0"},
    ),
    "laptop with psys": (
        {"intel-rapl:0": ("package-0", 5 * JOULE), "intel-rapl:0:0": ("core", JOULE), "intel-rapl:1": ("psys", JOULE)},
        {"intel-rapl:0"},
    ),
    "laptop with MMIO mirror": (
        {"intel-rapl:0": ("package-0", 5 * JOULE), "intel-rapl-mmio:0": ("package-0", 5 * JOULE)},
        {"intel-rapl:0"},
    ),
    "MMIO mirror that lags": (
        {"intel-rapl:0": ("package-0", 50 * JOULE), "intel-rapl-mmio:0": ("package-0", 7 * JOULE)},
        {"intel-rapl:0"},
    ),
    "MMIO alone": ({"intel-rapl-mmio:0": ("package-0", 5 * JOULE)}, {"intel-rapl-mmio:0"}),
    "server": (
        {
            "intel-rapl:0": ("package-0", 500 * JOULE), "intel-rapl:0:0": ("dram", 90 * JOULE),
            "intel-rapl:1": ("package-1", 400 * JOULE), "intel-rapl:1:0": ("dram", 70 * JOULE),
        },
        {"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl:1:0"},
    ),
    "two sockets that happen to agree": (
        {"intel-rapl:0": ("package-0", 500 * JOULE), "intel-rapl:1": ("package-1", 500 * JOULE)},
        {"intel-rapl:0", "intel-rapl:1"},
    ),
    "dies with counters of their own": (
        {"intel-rapl:0": ("package-0-die-0", 500 * JOULE), "intel-rapl:1": ("package-0-die-1", 300 * JOULE)},
        {"intel-rapl:0", "intel-rapl:1"},
    ),
    "dies that mirror their socket": (
        {"intel-rapl:0": ("package-0-die-0", 68 * JOULE), "intel-rapl:1": ("package-0-die-1", 68 * JOULE + 900)},
        {"intel-rapl:0"},
    ),
    "mirrored dies on two sockets": (
        {
            "intel-rapl:0": ("package-0-die-0", 68 * JOULE), "intel-rapl:1": ("package-0-die-1", 68 * JOULE),
            "intel-rapl:2": ("package-1-die-0", 30 * JOULE), "intel-rapl:3": ("package-1-die-1", 30 * JOULE),
        },
        {"intel-rapl:0", "intel-rapl:2"},
    ),
    "mirrored DRAM of mirrored dies": (
        {
            "intel-rapl:0": ("package-0-die-0", 68 * JOULE), "intel-rapl:0:0": ("dram", 8 * JOULE),
            "intel-rapl:1": ("package-0-die-1", 68 * JOULE), "intel-rapl:1:0": ("dram", 8 * JOULE),
        },
        {"intel-rapl:0", "intel-rapl:0:0"},
    ),
    "AMD": ({"intel-rapl:0": ("package-0", 5 * JOULE), "intel-rapl:0:0": ("core", 2 * JOULE)}, {"intel-rapl:0"}),
    "everything at once": (
        {
            "intel-rapl:0": ("package-0", 500 * JOULE), "intel-rapl:0:0": ("core", 400 * JOULE),
            "intel-rapl:0:1": ("uncore", 10 * JOULE), "intel-rapl:0:2": ("dram", 60 * JOULE),
            "intel-rapl:1": ("psys", 700 * JOULE), "intel-rapl-mmio:0": ("package-0", 500 * JOULE),
            "intel-rapl-mmio:0:0": ("dram", 60 * JOULE),
        },
        {"intel-rapl:0", "intel-rapl:0:2"},
    ),
}  # fmt: skip


def make_tree(root: Path, zones: dict[str, tuple[str, int]], *, nested: bool = False) -> Path:
    for zone, (name, microjoule) in zones.items():
        parent = root / zone.rpartition(":")[0] if nested and zone.count(":") == 2 else root
        folder = parent / zone
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{microjoule}\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return root


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("tree", TREES)
def test_each_joule_is_counted_once(tree: str, nested: bool, tmp_path: Path) -> None:
    zones, counted = TREES[tree]
    sensor = RaplSensor(make_tree(tmp_path, zones, nested=nested))
    channels = sensor.open().channels
    assert {channel.id.removeprefix("rapl:") for channel in channels} == counted
    assert sum(sensor.read(cheap_only=True).values.values()) == pytest.approx(  # type: ignore[arg-type]
        sum(zones[zone][1] for zone in counted) / JOULE
    )
    assert len(sensor.describe()["left_out"]) == len(zones) - len(counted)


def test_dram_and_package_are_components_of_their_own_and_wrap_where_the_kernel_says(tmp_path: Path) -> None:
    zones, _ = TREES["server"]
    channels = RaplSensor(make_tree(tmp_path, zones)).open().channels
    assert sorted(c.component for c in channels) == ["cpu", "cpu", "dram", "dram"]
    assert {c.wrap for c in channels} == {RANGE / JOULE}


def test_a_machine_without_rapl_has_no_device(tmp_path: Path) -> None:
    with pytest.raises(SensorError) as caught:
        RaplSensor(tmp_path / "none").open()
    assert caught.value.source == "none:no_device"


def test_a_tree_of_psys_alone_is_not_booked_as_cpu(tmp_path: Path) -> None:
    with pytest.raises(SensorError) as caught:
        RaplSensor(make_tree(tmp_path, {"intel-rapl:1": ("psys", JOULE)})).open()
    assert caught.value.source == "none:not_readable"


def test_one_unreadable_zone_does_not_stop_the_others(tmp_path: Path) -> None:
    root = make_tree(tmp_path, TREES["server"][0])
    (root / "intel-rapl:0" / "energy_uj").write_text("")
    opening = RaplSensor(root).open()
    assert len(opening.channels) == 3
    assert "intel-rapl:0" in opening.cautions[0]
