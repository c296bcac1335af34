from __future__ import annotations

from typing import Any

import pytest

from kilowit.errors import SensorError
from kilowit.parts.sensors.nvml import CODES, NvmlSensor
from meter_bench import bench

fake = bench("meter_fake_nvml")


def gpus(*uuids: str, **fields: Any) -> list[Any]:
    return [fake.FakeGpu(uuid, lambda: 1234.5, lambda: 250.25, **fields) for uuid in uuids]


def seen(visible: str | None, devices: list[Any], **nvml: Any) -> tuple[list[str], list[str]]:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    opening = NvmlSensor(fake.FakeNvml(devices, **nvml), environment).open()
    return list(dict.fromkeys(channel.device for channel in opening.channels)), list(opening.cautions)


A, B, C = "GPU-aaaa-1", "GPU-abbb-2", "GPU-cccc-3"


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [A, B, C]),
        ("1", [B]),
        ("2,0", [C, A]),
        (" 0 , 0 ", [A]),
        (C, [C]),
        ("GPU-aa", [A]),
        (f"{B},0", [B, A]),
        ("1,9,0", [B]),
        ("GPU-a", []),
        ("1,GPU-a,0", [B]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(visible: str | None, expected: list[str]) -> None:
    if expected:
        assert seen(visible, gpus(A, B, C))[0] == expected
        return
    with pytest.raises(SensorError) as caught:
        seen(visible, gpus(A, B, C))
    assert caught.value.source == "none:no_device"


@pytest.mark.parametrize("visible", ["", "-1", "none"])
def test_hidden_gpus_are_no_device(visible: str) -> None:
    with pytest.raises(SensorError) as caught:
        seen(visible, gpus(A))
    assert caught.value.source == "none:no_device"


@pytest.mark.parametrize("entry", ["MIG-1111-2222", f"MIG-{A}/3/0"])
def test_a_slice_books_its_whole_gpu_and_says_so(entry: str) -> None:
    devices = gpus(A, B, is_mig=True)
    found, cautions = seen(entry, devices, slices={"MIG-1111-2222": devices[0]})
    assert found == [A]
    assert len(cautions) == 1
    assert "the whole GPU is booked" in cautions[0]


def test_mig_mode_without_a_named_slice_is_told_too() -> None:
    assert any("MIG is on" in text for text in seen(None, gpus(A, is_mig=True))[1])


def test_an_index_is_doubtful_where_gpus_differ() -> None:
    devices = gpus(A) + gpus(B, name="Tesla T4")
    assert any("CUDA_DEVICE_ORDER" in text for text in seen("0", devices)[1])
    assert not seen(A, devices)[1]


def test_everything_that_a_gpu_offers_is_read_in_si_units() -> None:
    sensor = NvmlSensor(fake.FakeNvml(gpus(A)), {})
    sensor.open()
    assert sensor.read(cheap_only=False).values == {
        f"nvml:{A}:energy": 1234.5,
        f"nvml:{A}:power": 250.25,
        f"nvml:{A}:memory": 10.0 * 1024**3,
        f"nvml:{A}:utilization": 0.5,
        f"nvml:{A}:clock": 1.98e9,
        f"nvml:{A}:temperature": 41.0,
    }
    assert set(sensor.read(cheap_only=True).values) == {f"nvml:{A}:{q}" for q in ("energy", "power", "memory")}
    sensor.close()


def test_what_fails_is_left_out_and_the_rest_is_read() -> None:
    devices = gpus(A)
    devices[0].errors["nvmlDeviceGetUtilizationRates"] = 3
    sensor = NvmlSensor(fake.FakeNvml(devices), {})
    opening = sensor.open()
    assert not any("utilization" in channel.id for channel in opening.channels)
    devices[0].errors["nvmlDeviceGetPowerUsage"] = 15
    sweep = sensor.read(cheap_only=False)
    assert "none:device_lost" in sweep.faults[f"nvml:{A}:power"]
    assert f"nvml:{A}:energy" in sweep.values


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_of_the_table_names_an_absence_and_a_remedy(code: int) -> None:
    with pytest.raises(SensorError) as caught:
        NvmlSensor(fake.FakeNvml([], init_error=code), {}).open()
    assert (caught.value.source, caught.value.hint) == CODES[code]
    assert caught.value.source.startswith("none:")
