"""NVML: energy counter, power, utilisation, memory, clocks and temperature of NVIDIA GPUs.

What it reads  the total energy counter where there is one (Volta and newer), else power samples; the GPUs that
               CUDA_VISIBLE_DEVICES names, or all
Update         the counter ticks about every 100 ms and one call can take 3 ms
Left out       MIG slices have no sensor of their own: the whole parent GPU is booked, with a caution
Needs          the NVIDIA driver and nvidia-ml-py; both are looked for only when the sensor is opened
Source         NVML API reference; 100 ms tick: ml.energy blog; +-5 %: NVML reference for nvmlDeviceGetPowerUsage
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from kilowit.errors import SensorError
from kilowit.parts.sensor import ENERGY, POWER, Channel, Component, Opening, Sweep, Value
from kilowit.parts.sensors._nvml_devices import Visible, visible_devices

TICK_SECOND: Final = 0.1
ERROR_FRACTION: Final = 0.05  # promised for Fermi and Kepler only; quoted for all (arXiv 2312.02741 finds about that)
RATE_MAX_WATT: Final = 3000.0  # when the device does not tell its limit
RATE_MAX_LIMITS: Final = 2.0  # a counter faster than twice the enforced limit is lying (zeus#113)
JOULE_PER_MILLIJOULE: Final = 1e-3
WATT_PER_MILLIWATT: Final = 1e-3
HERTZ_PER_MEGAHERTZ: Final = 1_000_000

# NVML return codes (nvml.h, enum nvmlReturn_t) -> how a record names the absence, and what to do about it.
CODES: Final[dict[int, tuple[str, str]]] = {
    1: ("none:not_initialised", "Another library shut NVML down; start the meter after it."),
    3: ("none:not_supported", "This GPU or this virtual machine does not offer the reading."),
    4: ("none:no_permission", "Ask for access to /dev/nvidia*; containers need the NVIDIA runtime."),
    6: ("none:no_device", "No such GPU; see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES."),
    9: ("none:no_driver", "Load the NVIDIA driver: `nvidia-smi` should list the GPU."),
    10: ("none:timeout", "The driver did not answer in time; see `dmesg`."),
    12: ("none:no_driver", "Install the NVIDIA driver; it brings libnvidia-ml.so.1."),
    13: ("none:old_driver", "Update the NVIDIA driver."),
    15: ("none:device_lost", "The GPU fell off the bus; see `dmesg` and reboot."),
    16: ("none:device_lost", "The GPU needs a reset: `nvidia-smi --gpu-reset`."),
    18: ("none:driver_mismatch", "The driver was updated under the running kernel; reboot."),
    999: ("none:error", "The driver reports an unknown error; see `dmesg`."),
}


def default() -> NvmlSensor:
    """Return the sensor of this machine."""
    return NvmlSensor()


class NvmlSensor:
    """Joules, watts and gauges of the visible NVIDIA GPUs.

    Args:
        module: stands in for ``pynvml`` (of nvidia-ml-py); tests replay a trace with it.
        environment: where CUDA_VISIBLE_DEVICES is looked up.
    """

    name = "nvml"
    may_hang = True
    components: tuple[Component, ...] = ("gpu",)

    def __init__(self, module: Any = None, environment: dict[str, str] | None = None) -> None:
        self._given_module = module
        self._environment = environment
        self._readers: dict[str, tuple[Channel, Callable[[], float]]] = {}
        self._devices: list[dict[str, Any]] = []

    def open(self) -> Opening:
        """Initialise NVML and probe what each visible GPU offers.

        Raises:
            SensorError: no driver, no library, no visible GPU, or no reading of joules or watts.
        """
        self._nvml = self._given_module or load_pynvml()
        self._ask(self._nvml.nvmlInit)
        environment = self._environment if self._environment is not None else dict(os.environ)
        try:
            visible, cautions = visible_devices(self._nvml, environment)
        except self._nvml.NVMLError as error:
            raise sensor_error(error) from error
        if not visible:
            raise SensorError(
                "none:no_device", "no visible NVIDIA GPU", hint="CUDA_VISIBLE_DEVICES hides them, if any."
            )
        for device in visible:
            cautions = [*cautions, *self._probe(device)]
        if not any(channel.source for channel, _ in self._readers.values()):
            raise SensorError("none:not_supported", "; ".join(cautions), hint=CODES[3][1])
        return Opening([channel for channel, _ in self._readers.values()], cautions)

    def read(self, *, cheap_only: bool) -> Sweep:
        """Read every channel; one that fails does not stop the others."""
        values: dict[str, Value] = {}
        faults: dict[str, str] = {}
        for channel_id, (channel, reader) in self._readers.items():
            if cheap_only and not channel.is_cheap:
                continue
            try:
                values[channel_id] = reader()
            except self._nvml.NVMLError as error:
                faults[channel_id] = f"{sensor_error(error).source}: {error}"
        return Sweep(values, faults)

    def close(self) -> None:
        """Shut NVML down; it counts its users, so others in this process keep theirs."""
        self._readers.clear()
        self._ask(self._nvml.nvmlShutdown)

    def describe(self) -> dict[str, Any]:
        """Say which GPUs are read, and what each offers."""
        return {"sensor": self.name, "reads": "NVML through nvidia-ml-py", "devices": self._devices}

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._nvml.NVMLError as error:
            raise sensor_error(error) from error

    def _probe(self, device: Visible) -> list[str]:
        """Keep the readings of one GPU that work now; return what the user should know about the others."""
        nvml, handle = self._nvml, device.handle
        rate_max = self._rate_max_watt(handle)
        offers: list[str] = []
        candidates: list[tuple[str, Channel, Callable[[], float]]] = [
            (
                "energy counter",
                _channel(device.uuid, "energy", "counter", ENERGY, "nvml_counter", rate_max=rate_max),
                lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) * JOULE_PER_MILLIJOULE,
            ),
            (
                "power",
                _channel(device.uuid, "power", "power", POWER, "nvml_sampled"),
                lambda: nvml.nvmlDeviceGetPowerUsage(handle) * WATT_PER_MILLIWATT,
            ),
            (
                "memory",
                _channel(device.uuid, "memory", "gauge", "memory_gpu_byte"),
                lambda: float(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            ),
            (
                "utilisation",
                _channel(device.uuid, "utilization", "gauge", "utilization_gpu_fraction", is_cheap=False),
                lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            ),
            (
                "clock",
                _channel(device.uuid, "clock", "gauge", "clock_sm_hertz", is_cheap=False),
                lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) * HERTZ_PER_MEGAHERTZ),
            ),
            (
                "temperature",
                _channel(device.uuid, "temperature", "gauge", "temperature_gpu_celsius", is_cheap=False),
                lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            ),
        ]
        missing: list[str] = []
        for label, channel, reader in candidates:
            try:
                reader()
            except nvml.NVMLError as error:
                missing.append(f"{device.name} ({device.uuid}) has no {label}: {sensor_error(error).source}")
                continue
            offers.append(label)
            self._readers[channel.id] = (channel, reader)
        self._devices.append({"device": device.uuid, "name": device.name, "index": device.index, "offers": offers})
        return missing

    def _rate_max_watt(self, handle: Any) -> float:
        try:
            limit_watt = self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle) * WATT_PER_MILLIWATT
        except self._nvml.NVMLError:
            return RATE_MAX_WATT
        return RATE_MAX_LIMITS * limit_watt if limit_watt > 0 else RATE_MAX_WATT


def load_pynvml() -> Any:
    """Import ``pynvml``, but only where the driver's library is: the import costs 30 ms and 6 MB.

    Raises:
        SensorError: the driver's library or nvidia-ml-py is missing.
    """
    if "pynvml" not in sys.modules and sys.platform == "linux":
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError as error:
            raise SensorError(
                "none:no_device", "no NVIDIA driver here (libnvidia-ml.so.1)", hint=CODES[12][1]
            ) from error
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise SensorError("none:no_library", str(error), hint="pip install nvidia-ml-py") from error


def sensor_error(error: Any) -> SensorError:
    """Translate an NVMLError by the one table of codes."""
    source, hint = CODES.get(getattr(error, "value", 999), CODES[999])
    return SensorError(source, f"NVML: {error}", hint=hint)


def _channel(
    uuid: str,
    suffix: str,
    kind: Any,
    quantity: str,
    source: str = "",
    *,
    rate_max: float | None = None,
    is_cheap: bool = True,
) -> Channel:
    return Channel(
        f"nvml:{uuid}:{suffix}",
        kind,
        quantity,
        uuid,
        "gpu",
        source,
        tick_second=TICK_SECOND if source else 0.0,
        error_fraction=ERROR_FRACTION if source else 0.0,
        rate_max=rate_max,
        is_cheap=is_cheap,
    )
