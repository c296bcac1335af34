"""What a cell runs on: written before anything else is done, so that even a crash leaves it. Asks no network."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

import psutil
import pynvml

from kilowit.meter import survey
from kilowit.parts.executor import EXECUTOR_VARIABLE, num_cells_at_once

PACKAGES: Final = (
    "kilowit", "torch", "transformers", "accelerate", "datasets", "tokenizers", "sentencepiece", "numpy",
    "pyarrow", "nvidia-ml-py", "psutil", "pydantic",
)  # fmt: skip
VARIABLES: Final = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
)
# Vendors as the firmware's table names them.
_CLOUDS: Final = {
    "Microsoft Corporation": "azure",
    "Amazon EC2": "aws",
    "Google": "gcp",
    "Google Compute Engine": "gcp",
}
_DMI: Final = Path("/sys/class/dmi/id")


def describe_environment() -> dict[str, Any]:
    """Return the content of environment.json. What cannot be known is None, never a guess."""
    return {
        "python": platform.python_version(),
        "packages": _packages(),
        "git": _git(),
        "os": {"system": platform.system(), "release": platform.release(), "distribution": _distribution()},
        "cpu": {
            "model": _cpu_model(),
            "architecture": platform.machine(),
            "num_physical_cores": psutil.cpu_count(logical=False),
            "num_logical_cores": psutil.cpu_count(),
            "num_usable_cores": len(os.sched_getaffinity(0)),
            "quota_cores": _quota_cores(),
        },
        "memory_byte": psutil.virtual_memory().total,
        "gpus": _gpus(),
        "cloud": _cloud(),
        "container": _container(),
        "tenancy": _tenancy(),
        "executor": {"name": os.environ.get(EXECUTOR_VARIABLE, "local"), "host": platform.node()},
        "sensors": [{key: row[key] for key in ("sensor", "device", "works", "source", "why_not")} for row in survey()],
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _packages() -> dict[str, str]:
    """Versions of the installed packages that can change a result or its measurement."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _git() -> dict[str, Any] | None:
    """Commit of kilowit's own checkout, and whether it was changed since; None for an installed package."""
    here = Path(__file__).resolve().parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return None
    commit = _git_output(here, "rev-parse", "HEAD")
    status = _git_output(here, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "is_changed": None if status is None else bool(status)}


def _git_output(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _cpu_model() -> str | None:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _quota_cores() -> float | None:
    """Cores that the control group allows, or None without a limit."""
    quota, _, period = _read(Path("/sys/fs/cgroup/cpu.max")).strip().partition(" ")
    return None if quota in ("", "max") else int(quota) / int(period)


def _gpus() -> list[dict[str, Any]]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        return [_gpu(pynvml.nvmlDeviceGetHandleByIndex(i), driver) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: Any, driver: str) -> dict[str, Any]:
    return {
        "name": _ask(pynvml.nvmlDeviceGetName, handle),
        "uuid": _ask(pynvml.nvmlDeviceGetUUID, handle),
        "driver": driver,
        "memory_byte": getattr(_ask(pynvml.nvmlDeviceGetMemoryInfo, handle), "total", None),
        "power_limit_watt": _watt(_ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        "mig_mode": (_ask(pynvml.nvmlDeviceGetMigMode, handle) or [None])[0],
    }


def _ask(question: Any, handle: Any) -> Any:
    """Return what NVML answers, or None where this GPU cannot say."""
    try:
        return question(handle)
    except pynvml.NVMLError:
        return None


def _watt(milliwatt: int | None) -> float | None:
    return None if milliwatt is None else milliwatt / 1000


def _cloud() -> dict[str, str | None]:
    """Hints from the firmware's tables; the metadata service would be a network request."""
    vendor = _read(_DMI / "sys_vendor").strip()
    return {
        "provider": _CLOUDS.get(vendor),
        "vendor": vendor or None,
        "product": _read(_DMI / "product_name").strip() or None,
    }


def _container() -> str | None:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    groups = _read(Path("/proc/1/cgroup"))
    return next((name for name in ("docker", "kubepods", "lxc") if name in groups), None)


def _tenancy() -> dict[str, Any]:
    """How far the machine is ours: what else ran when the cell began, and whether other cells did by design."""
    num_at_once = num_cells_at_once()
    return {
        "kind": "shared" if num_at_once > 1 else "exclusive",
        "num_cells_at_once": num_at_once,
        "is_virtual": "hypervisor" in _read(Path("/proc/cpuinfo")),
        "load_average_1min": os.getloadavg()[0],
        "num_gpu_processes": _num_gpu_processes(),
    }


def _num_gpu_processes() -> int | None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        lists = [_ask(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) for handle in handles]
        return sum(len(found) for found in lists if found is not None)
    finally:
        pynvml.nvmlShutdown()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
