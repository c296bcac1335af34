"""VM sizes that jobs and endpoints may name: cores, GPUs, and until when they can be had. Dated, with sources.

`vm_sizes.csv` is what documents of Microsoft said when it was written (`AS_OF`). A size that it lacks is refused rather
than believed: a job on a size that is gone waits in a queue and says nothing.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from kilowit.errors import near_name_hint

AS_OF: Final = "2026-09-25"  # of the page of retirements, the youngest source
State = Literal["current", "retiring", "retired", "unconfirmed"]
DEFAULT_CPU_SIZE: Final = "Standard_D4as_v4"  # not retiring, and taken by managed endpoints
_TABLE: Final = Path(__file__).with_name("vm_sizes.csv")


@dataclass(frozen=True)
class VmSize:
    """One VM size.

    Attributes:
        serves: whether managed online endpoints take it.
        retires: day, or month, on which it ends or ended; empty while none is announced.
    """

    name: str
    num_vcpus: int
    num_gpus: int
    serves: bool
    state: State
    retires: str
    source: str


@cache
def vm_sizes() -> dict[str, VmSize]:
    """Return all sizes by their lower-cased name: Azure does not tell upper from lower case."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {
            row["vm_size"].lower(): VmSize(
                row["vm_size"], int(row["num_vcpus"]), int(row["num_gpus"]), row["serves"] == "yes",
                row["state"], row["retires"], row["source"],  # type: ignore[arg-type]
            )
            for row in csv.DictReader(file)
        }  # fmt: skip


def vm_size(name: str) -> VmSize | None:
    """Return a size, or None if the table lacks it."""
    return vm_sizes().get(name.lower())


def fault_of_size(name: str, *, serves: bool = False) -> tuple[str, str] | None:
    """Return what is wrong with a size and what to do, or None.

    Args:
        name: as a file names it.
        serves: whether a managed online endpoint is to run on it.
    """
    size = vm_size(name)
    if size is None:
        known = [other.name for other in vm_sizes().values() if is_offered(other)]
        hint = near_name_hint(name, known)
        return f'no VM size "{name}" in the table of {AS_OF}', hint if hint.startswith("Did") else _offered(0, serves)
    if size.state == "retired":
        return f"VM size {size.name} was retired {size.retires}", _offered(size.num_gpus, serves)
    if size.state == "unconfirmed":
        return f"no document of {AS_OF[:4]} says that {size.name} is still offered", _offered(size.num_gpus, serves)
    if serves and not size.serves:
        return f"managed online endpoints do not take VM size {size.name}", _offered(size.num_gpus, serves)
    return None


def is_offered(size: VmSize) -> bool:
    """Whether a size can be had."""
    return size.state in ("current", "retiring")


def _offered(num_gpus: int, serves: bool) -> str:
    kind = "with GPUs" if num_gpus else "without GPUs"
    alike = [s.name for s in vm_sizes().values() if s.state == "current" and bool(s.num_gpus) == bool(num_gpus)]
    fitting = [name for name in alike if not serves or vm_sizes()[name.lower()].serves]
    return f"Offered {kind}: {', '.join(fitting[:6])}, ..."
