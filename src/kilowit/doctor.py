"""What can be metered and run on this machine, what cannot, and how to get more. Reads; changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kilowit.errors import ExecutorError, PartError
from kilowit.meter import survey
from kilowit.meter.machine_lock import lock_path, machine_lock
from kilowit.parts.runtime_support import require_packages, support_matrix

State = Literal["ok", "limited", "missing"]
TRAINING_STACK: Final = ("torch", "transformers", "accelerate", "datasets", "sentencepiece")
LITTLE_DISK_BYTE: Final = 5 * 2**30  # a bart-large checkpoint with its optimizer takes as much
LITTLE_MEMORY_BYTE: Final = 4 * 2**30  # torch, transformers and a tiny model take about half of it


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is empty where nothing is to be gained."""

    what: str
    state: State
    seen: str
    remedy: str = ""


def examine(store: Path) -> list[Finding]:
    """Look at Python, the training stack, the runtimes, each sensor, the machine's lock, memory and disk.

    Args:
        store: where runs would be kept.
    """
    return [_python(), *_training_stack(), *_runtimes(), *_sensors(), _memory(), _lock(), *_disks(store)]


def _python() -> Finding:
    seen = (
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, kilowit {_version('kilowit')}"
    )
    return Finding("python", "ok", seen)


def _training_stack() -> Iterator[Finding]:
    versions = {name: _version(name) for name in TRAINING_STACK}
    missing = [name for name, version in versions.items() if version is None]
    seen = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if missing:
        remedy = "pip install 'kilowit[train]' (check, plan, report, compare and the meter work without)"
        yield Finding("training", "missing", f"not installed: {', '.join(missing)}", remedy)
    else:
        yield Finding("training", "ok", seen)


def _runtimes() -> Iterator[Finding]:
    for name, support in support_matrix().items():
        if support.unavailable is not None:
            continue
        try:
            require_packages(name)
        except PartError as error:
            yield Finding(f"runtime {name}", "missing", error.message, error.hint or "")
        else:
            yield Finding(f"runtime {name}", "ok", f"{', '.join(support.precisions)} on {', '.join(support.devices)}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sensors() -> Iterator[Finding]:
    for row in survey():
        what = f"sensor {row['sensor']}"
        device = str(row["device"] or row["sensor"])
        if not row["works"]:
            yield Finding(what, "missing", f"{row['why_not']} ({row['source']})", row["remedy"])
        else:
            gives = row["source"] or "no joules, but memory, use or bytes"
            yield Finding(what, "limited" if row["why_not"] else "ok", f"{device}: {gives}", row["why_not"])


def _lock() -> Finding:
    try:
        with machine_lock(study="(kilowit doctor)", store="", mode="refuse", on_wait=lambda holder: None):
            return Finding("lock", "ok", f"{lock_path()} is free: nothing else is being measured")
    except ExecutorError as error:
        return Finding("lock", "limited", error.message, error.hint or "")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    seen = (
        f"{os.cpu_count()} CPUs, {memory.total / 2**30:.1f} GiB memory, {memory.available / 2**30:.1f} GiB of it free"
    )
    if memory.available < LITTLE_MEMORY_BYTE:
        return Finding("memory", "limited", seen, "End other programs, or train small models.")
    return Finding("memory", "ok", seen)


def _disks(store: Path) -> Iterator[Finding]:
    hub = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    offline = " (HF_HUB_OFFLINE: nothing is downloaded)" if os.environ.get("HF_HUB_OFFLINE") else ""
    for what, path, variable in (("store", store.absolute(), "--store"), (f"hub cache{offline}", hub, "HF_HOME")):
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        free_byte = shutil.disk_usage(there).free
        seen = f"{path}, {free_byte / 2**30:.1f} GiB free"
        if not os.access(there, os.W_OK):
            yield Finding(what, "missing", f"{there} cannot be written", f"Name another folder with {variable}.")
        elif free_byte < LITTLE_DISK_BYTE:
            yield Finding(what, "limited", seen, f"Free some space, or name another disk with {variable}.")
        else:
            yield Finding(what, "ok", seen)
