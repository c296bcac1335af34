"""The machine that a plan is for: this one, a VM size, or a GPU that is not here. Rates and watts as intervals.

Constants are ranges with a source; none is a promise. Where records or a probe of the machine exist, they are used
instead of these.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kilowit import factors
from kilowit.errors import PlanError, near_name_hint
from kilowit.factors import Device
from kilowit.plan.interval import Interval

# Share of the dense peak that padded FLOPs reach in stock training. H100 bf16: 8-12 % of 800 TFLOP/s counting useful
# FLOPs, batches padded 2.7x to 3.5x: 0.18 to 0.34 of the 989 peak. 8 x V100 fp16: 3.3 % useful, x 3. (Both: BART-large
# on SAMSum, our research of 2026-11, section 4.1.) Wider on either side for other models and batches.
TENSOR_UTILISATION: Final = Interval(0.06, 0.18, 0.40)
# Plain fp32 needs no tensor cores and is reached more easily: 0.3 to 0.85 of its peak for d_model of 512 and more.
FP32_UTILISATION: Final = Interval(0.25, 0.55, 0.85)
# fp32 FLOP/s of one vCPU in training steps of BART (1.7 M to 139 M parameters): 48 to 51 GFLOP/s measured on 2 vCPUs of
# a 5th-generation EPYC with torch 2.13, 2026-11. Likely half of it: older cores have AVX2 alone, or share a core.
CPU_FLOP_PER_SECOND_PER_CORE: Final = Interval(6e9, 25e9, 80e9)
# Same steps under bf16 autocast there: 0.96 to 1.57 times as fast (AVX512_BF16); without such instructions, slower.
CPU_BF16_SPEEDUP: Final = Interval(0.25, 1.0, 2.0)
# Kernel launches and Python of one transformer layer, a training step and a decoding step. Ours, an estimate: eager
# PyTorch issues some 100 kernels a layer and step at 5 to 20 microseconds.
TRAIN_STEP_SECOND_PER_LAYER: Final = {"gpu": Interval(8e-4, 2e-3, 5e-3), "cpu": Interval(5e-4, 2e-3, 1e-2)}
DECODE_STEP_SECOND_PER_LAYER: Final = {"gpu": Interval(5e-4, 1.5e-3, 3e-3), "cpu": Interval(2e-4, 8e-4, 4e-3)}
DECODE_STEP_SECOND: Final = Interval(1e-3, 4e-3, 1.2e-2)  # beam bookkeeping, whatever the model
CPU_BANDWIDTH_BYTE_PER_SECOND: Final = Interval(5e9, 1.5e10, 6e10)  # a few cores of a server
# Share of rated power drawn. Training: 50-70 kJ in 90-140 s on an H100 of 700 W is 0.7 to 0.8 (section 4.1, stock
# bf16); wider, for small models leave a GPU waiting. Idle: gpus.csv has 35 of 300 W (V100), 46 of 400 W (A100).
GPU_TRAIN_POWER_FRACTION: Final = Interval(0.35, 0.65, 1.0)
GPU_PREDICT_POWER_FRACTION: Final = Interval(0.2, 0.4, 0.8)
GPU_IDLE_POWER_FRACTION: Final = Interval(0.08, 0.13, 0.20)
# A GPU named without a machine is given a small host: 8 vCPUs of an average CPU and 64 GiB.
_ASSUMED_VCPUS: Final = 8
_ASSUMED_MEMORY_GIB: Final = 64.0


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a plan needs to know of a machine."""

    name: str  # in words, for the reader
    is_here: bool  # records and probes of this machine speak for it
    gpu: Device | None
    num_gpus: int
    num_vcpus: int
    memory_host_byte: float
    cpu_name: str

    @property
    def kind(self) -> str:
        """Where the model runs: gpu or cpu."""
        return "gpu" if self.gpu else "cpu"

    def flop_per_second(self, precision: str) -> Interval | None:
        """Return the rate that padded FLOPs reach; None if the device cannot do the precision.

        Args:
            precision: fp32, tf32, fp16 or bf16.
        """
        if self.gpu is None:
            rate = CPU_FLOP_PER_SECOND_PER_CORE * self.num_vcpus
            return {"fp32": rate, "bf16": rate * CPU_BF16_SPEEDUP}.get(precision)  # fp16 and tf32 need a GPU
        peak = self.gpu.peak_flop_per_second.get(precision)
        if peak is None:
            return None
        has_tensor_cores = self.gpu.architecture not in ("Kepler", "Maxwell", "Pascal")
        uses_them = precision != "fp32" and has_tensor_cores
        return peak * (TENSOR_UTILISATION if uses_them else FP32_UTILISATION)

    def idle_watt(self) -> Interval:
        """Return the power of the whole machine when nothing runs."""
        return self._gpu_idle_watt() * self.num_gpus + self._host_watt(Interval.exactly(0.0))

    def busy_watt(self, phase: str, num_ranks: int = 1) -> Interval:
        """Return the power of the whole machine in a phase; GPUs that are not used draw idle power.

        Args:
            num_ranks: processes that train, one GPU each; all other phases use one.
        """
        if self.gpu is None:
            # Tokenizing and scoring keep one core busy, training all of them.
            most = Interval(0.5, 0.9, 1.0) if phase in ("train", "validate", "predict") else self._one_core()
            return self._host_watt(most)
        fraction = {"train": GPU_TRAIN_POWER_FRACTION, "validate": GPU_TRAIN_POWER_FRACTION}
        share = fraction.get(phase, GPU_PREDICT_POWER_FRACTION if phase == "predict" else None)
        used = self._gpu_idle_watt() if share is None else share * self.gpu.tdp_watt
        num_used = min(num_ranks, self.num_gpus) if phase in ("train", "validate") else 1
        host = self._host_watt(self._one_core() * num_used)
        return used * num_used + self._gpu_idle_watt() * (self.num_gpus - num_used) + host

    def _one_core(self) -> Interval:
        return Interval(0.5, 1.0, 2.0) * (1 / self.num_vcpus)

    def _gpu_idle_watt(self) -> Interval:
        if self.gpu is None:
            return Interval.exactly(0.0)
        idle = GPU_IDLE_POWER_FRACTION * self.gpu.tdp_watt
        if self.gpu.idle_watt is not None:
            known = self.gpu.idle_watt
            idle = Interval(min(idle.low, known), known, max(idle.high, known))
        return idle

    def _host_watt(self, utilisation: Interval) -> Interval:
        cpu = factors.cpu_power(self.cpu_name, self.num_vcpus)
        dram = factors.dram_watt_per_gib()
        idle = Interval(cpu.idle_watt_low, cpu.idle_watt_likely, cpu.idle_watt_high)
        full = Interval(cpu.full_watt_low, cpu.full_watt_likely, cpu.full_watt_high)
        busy = utilisation.at_most(1.0)
        ends = [
            i + (f - i) * u
            for i, f, u in zip(_ends(idle), _ends(full), _ends(busy), strict=True)
        ]  # fmt: skip
        memory_gib = self.memory_host_byte / 2**30
        return Interval(*ends) + Interval(dram.low, dram.likely, dram.high) * memory_gib


def hardware(machine: str | None = None, gpu: str | None = None) -> Hardware:
    """Return the hardware to plan for: a VM size, a GPU by name, or (neither given) this machine.

    Raises:
        PlanError: an unknown size or GPU, or both given and not the same.
    """
    if machine is not None:
        return _rented(machine, gpu)
    if gpu is not None:
        return Hardware(
            name=f"one {_known_gpu(gpu).name} in a host of {_ASSUMED_VCPUS} average vCPUs (assumed)", is_here=False,
            gpu=_known_gpu(gpu), num_gpus=1, num_vcpus=_ASSUMED_VCPUS, memory_host_byte=_ASSUMED_MEMORY_GIB * 2**30,
            cpu_name="",
        )  # fmt: skip
    return this_machine()


def this_machine() -> Hardware:
    """Return what this machine has, as the driver and the system report it."""
    import psutil

    num_vcpus, cpu_name = len(os.sched_getaffinity(0)), _cpu_name()
    memory_byte = float(psutil.virtual_memory().total)
    name, gpu_memory_byte, num_gpus = _local_gpu()
    found = factors.device(name, gpu_memory_byte) if name else None
    words = f"this machine: {num_vcpus} vCPUs ({cpu_name or 'unknown CPU'}), {memory_byte / 2**30:.0f} GiB"
    if name:
        words += f", {num_gpus} x {name}" + ("" if found else " (not in the device table: planned on the CPU)")
    return Hardware(
        name=words, is_here=True, gpu=found, num_gpus=num_gpus if found else 0, num_vcpus=num_vcpus,
        memory_host_byte=memory_byte, cpu_name=cpu_name,
    )  # fmt: skip


def _rented(machine_name: str, gpu: str | None) -> Hardware:
    found = factors.machine(machine_name)
    if found is None:
        raise PlanError(f'no machine "{machine_name}"', hint=near_name_hint(machine_name, factors.machines()))
    device = _known_gpu(found.gpu)
    if gpu is not None and _known_gpu(gpu) != device:
        raise PlanError(f"{found.name} has {device.name}, not {gpu}", hint="Give --machine or --gpu, not both.")
    return Hardware(
        name=f"{found.name}: {found.num_gpus} x {device.name}, {found.num_vcpus} vCPUs ({found.host_cpu})",
        is_here=False, gpu=device, num_gpus=found.num_gpus, num_vcpus=found.num_vcpus,
        memory_host_byte=found.memory_gib * 2**30, cpu_name=found.host_cpu,
    )  # fmt: skip


def _known_gpu(name: str) -> Device:
    found = factors.device(name)
    if found is None:
        raise PlanError(f'no GPU "{name}" in the device table', hint=near_name_hint(name, factors.devices()))
    return found


def _local_gpu() -> tuple[str | None, int | None, int]:
    """Return name and memory of the first NVIDIA GPU, and how many there are; (None, None, 0) without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None, None, 0
    try:
        if (count := pynvml.nvmlDeviceGetCount()) == 0:
            return None, None, 0
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle).total, count
    except pynvml.NVMLError:
        return None, None, 0
    finally:
        pynvml.nvmlShutdown()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.likely, interval.high
