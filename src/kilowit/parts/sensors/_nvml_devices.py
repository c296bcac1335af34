"""Which NVIDIA GPUs this process may use: CUDA_VISIBLE_DEVICES, read as the CUDA runtime reads it.

Source: CUDA C++ programming guide, environment variables: indices or UUID prefixes, in order; the first entry that
names no device ends the list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Visible:
    """One whole GPU: its NVML handle, index, UUID and name."""

    handle: Any
    index: int
    uuid: str
    name: str


def visible_devices(nvml: Any, environment: Mapping[str, str]) -> tuple[list[Visible], list[str]]:
    """Return the GPUs that this process may use, each once, and what the user should know about them."""
    devices = [_device(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    cautions: list[str] = []
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        chosen = devices
    else:
        chosen = _choose(nvml, wanted, devices, cautions)
        if _is_order_doubtful(wanted, devices, environment):
            cautions.append(
                "GPUs differ and CUDA_DEVICE_ORDER is not PCI_BUS_ID: an index may mean another GPU to CUDA"
            )
    sliced = [d for d in chosen if _is_mig(nvml, d.handle) and not any(d.uuid in text for text in cautions)]
    cautions += [f"MIG is on for {d.name} ({d.uuid}): the whole GPU is booked" for d in sliced]
    return chosen, cautions


def _choose(nvml: Any, wanted: str, devices: list[Visible], cautions: list[str]) -> list[Visible]:
    chosen: list[Visible] = []
    for entry in (part.strip() for part in wanted.split(",")):
        device = _parent_of_slice(nvml, entry, devices) if entry.startswith("MIG-") else _named(entry, devices)
        if device is None:
            break
        if entry.startswith("MIG-"):
            cautions.append(f"{entry} is a slice of {device.name} ({device.uuid}): the whole GPU is booked")
        if device not in chosen:
            chosen.append(device)
    return chosen


def _named(entry: str, devices: list[Visible]) -> Visible | None:
    if re.fullmatch(r"\d+", entry):
        return next((d for d in devices if d.index == int(entry)), None)
    matching = [d for d in devices if entry and d.uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None


def _parent_of_slice(nvml: Any, entry: str, devices: list[Visible]) -> Visible | None:
    """Find the GPU of ``MIG-<uuid>`` (asked of the driver) or of the older ``MIG-GPU-<uuid>/<gi>/<ci>``."""
    older = re.fullmatch(r"MIG-(GPU-[0-9a-f-]+)(?:/\d+/\d+)?", entry)
    if older:
        return _named(older[1], devices)
    try:
        slice_handle = nvml.nvmlDeviceGetHandleByUUID(entry)
        parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slice_handle)
        return _named(_text(nvml.nvmlDeviceGetUUID(parent)), devices)
    except nvml.NVMLError:
        return None


def _is_order_doubtful(wanted: str, devices: list[Visible], environment: Mapping[str, str]) -> bool:
    by_index = bool(re.search(r"(^|,)\s*\d+\s*(,|$)", wanted))
    return by_index and len({d.name for d in devices}) > 1 and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"


def _is_mig(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False


def _device(nvml: Any, index: int) -> Visible:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Visible(handle, index, _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle)))


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
