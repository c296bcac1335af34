"""A stand-in for the NVML library that replays a trace: kilowit, CodeCarbon and Zeus all read it.

It follows the Python names of nvidia-ml-py. `install` puts it over a real ``pynvml`` module, for programs that import
that by name; `FakeNvml` is a module of its own for those that can be handed one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from kilowit.parts.sensors.replay import ReplaySensor

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, GPU_IS_LOST, UNKNOWN = 3, 4, 6, 15, 999


class FakeNvmlError(Exception):
    """What nvidia-ml-py raises: an error with a code."""

    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


@dataclass
class FakeGpu:
    """One GPU.

    Args:
        joule: its energy counter; None = not supported.
        watt: its power reading; None = not supported.
        errors: NVML function name -> code that it fails with, settable at any time.
    """

    uuid: str
    joule: Callable[[], float] | None
    watt: Callable[[], float] | None
    name: str = "NVIDIA H100 80GB HBM3"
    is_mig: bool = False
    errors: dict[str, int] = field(default_factory=dict)
    memory_byte: int = 10 * 1024**3


def replayed_gpu(sensor: ReplaySensor, uuid: str = "GPU-11111111-aaaa") -> FakeGpu:
    """Return a GPU that shows what a replay sensor shows; what the sensor lacks is not supported."""
    kinds = {channel.kind: channel.id for channel in sensor.open().channels}

    def reader(kind: str) -> Callable[[], float] | None:
        channel_id = kinds.get(kind)  # type: ignore[call-overload]
        if channel_id is None:
            return None

        def read() -> float:
            sweep = sensor.read(cheap_only=True)
            if channel_id in sweep.faults:
                raise FakeNvmlError(UNKNOWN)
            value = sweep.values[channel_id]
            assert isinstance(value, float)
            return value

        return read

    return FakeGpu(uuid, reader("counter"), reader("power"))


class FakeNvml:
    """The part of ``pynvml`` that meters use.

    Args:
        gpus: what is in the machine.
        error: the class to raise; a real ``pynvml.NVMLError`` maps its codes to subclasses.
        init_error: code that nvmlInit fails with.
        slices: MIG UUID -> its parent GPU.
    """

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(
        self,
        gpus: list[FakeGpu],
        error: type[Exception] = FakeNvmlError,
        init_error: int | None = None,
        slices: dict[str, FakeGpu] | None = None,
    ) -> None:
        self.gpus, self.NVMLError, self._init_error = gpus, error, init_error
        self._slices = slices or {}

    def nvmlInit(self) -> None:
        """Start."""
        if self._init_error is not None:
            raise self.NVMLError(self._init_error)

    def nvmlShutdown(self) -> None:
        """Stop."""

    def nvmlDeviceGetCount(self) -> int:
        """Count the GPUs."""
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        """Return a handle."""
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        """Return a handle, of a GPU or of a slice."""
        found = next((gpu for gpu in self.gpus if gpu.uuid == uuid), None)
        if found is None and uuid not in self._slices:
            raise self.NVMLError(NOT_FOUND)
        return found or uuid

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> FakeGpu:
        """Return the GPU of a slice."""
        return self._slices[handle]

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:
        """Return the name."""
        return gpu.name

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        """Return the UUID."""
        return gpu.uuid

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:
        """Return current and pending mode."""
        return [int(gpu.is_mig), int(gpu.is_mig)]

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:
        """Return millijoules."""
        return int(self._read(gpu, "nvmlDeviceGetTotalEnergyConsumption", gpu.joule) * 1000)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:
        """Return milliwatts."""
        return int(self._read(gpu, "nvmlDeviceGetPowerUsage", gpu.watt) * 1000)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:
        """Return milliwatts."""
        return int(self._read(gpu, "nvmlDeviceGetEnforcedPowerLimit", lambda: 700.0) * 1000)

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:
        """Return bytes."""
        used = int(self._read(gpu, "nvmlDeviceGetMemoryInfo", lambda: gpu.memory_byte))
        return SimpleNamespace(used=used, total=80 * 1024**3, free=80 * 1024**3 - used)

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:
        """Return percent."""
        return SimpleNamespace(gpu=int(self._read(gpu, "nvmlDeviceGetUtilizationRates", lambda: 50)), memory=10)

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, kind: int) -> int:
        """Return MHz."""
        return int(self._read(gpu, "nvmlDeviceGetClockInfo", lambda: 1980))

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, kind: int) -> int:
        """Return degrees Celsius."""
        return int(self._read(gpu, "nvmlDeviceGetTemperature", lambda: 41))

    def _read(self, gpu: FakeGpu, function: str, reader: Callable[[], float] | None) -> float:
        if function in gpu.errors:
            raise self.NVMLError(gpu.errors[function])
        if reader is None:
            raise self.NVMLError(NOT_SUPPORTED)
        try:
            return reader()
        except FakeNvmlError as error:
            raise self.NVMLError(error.value) from error


def install(pynvml: Any, gpu: FakeGpu) -> None:
    """Put one fake GPU over a real ``pynvml`` module, in this process."""
    fake = FakeNvml([gpu], error=pynvml.NVMLError)
    for name in dir(fake):
        if name.startswith("nvml"):
            setattr(pynvml, name, getattr(fake, name))
    pynvml.nvmlDeviceGetArchitecture = lambda handle: 9
    pynvml.nvmlDeviceGetComputeMode = lambda handle: 0
    pynvml.nvmlDeviceGetComputeRunningProcesses = lambda handle: []
    pynvml.nvmlDeviceGetGraphicsRunningProcesses = lambda handle: []
    pynvml.nvmlDeviceGetPowerManagementDefaultLimit = lambda handle: 700_000
    pynvml.nvmlDeviceGetPowerManagementLimit = lambda handle: 700_000
    pynvml.nvmlDeviceGetPowerManagementLimitConstraints = lambda handle: (200_000, 700_000)

    def unsupported(*_: Any) -> Any:
        raise pynvml.NVMLError(NOT_SUPPORTED)

    pynvml.nvmlDeviceGetC2cModeInfoV = unsupported
    pynvml.nvmlDeviceGetFieldValues = unsupported
