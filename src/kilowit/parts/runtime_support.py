"""Which runtime takes which family, number format and device: asked before anything is loaded.

A runtime's module imports nothing heavy, so that a plan and `kilowit parts runtimes` can ask on any machine.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from types import ModuleType

from kilowit import parts
from kilowit.errors import PartError, near_name_hint
from kilowit.parts import catalogue


@dataclass(frozen=True)
class Support:
    """What one runtime takes; empty where nothing runs it any more, for `unavailable` says why."""

    families: tuple[str, ...]
    precisions: tuple[str, ...]  # the first is the default
    devices: tuple[str, ...]
    requires: tuple[str, ...]  # import names
    unavailable: str | None = None


def support_of(name: str) -> Support:
    """Return what a runtime takes.

    Raises:
        PartError: no such runtime.
    """
    module = parts.load("runtimes", name)
    if reason := getattr(module, "UNAVAILABLE", None):
        return Support((), (), (), (), reason)
    families = tuple(family.name for family in catalogue.families()) if module.FAMILIES is None else module.FAMILIES
    return Support(tuple(families), tuple(module.PRECISIONS), tuple(module.DEVICES), tuple(module.REQUIRES))


def support_matrix() -> dict[str, Support]:
    """Return every runtime by name with what it takes."""
    return {name: support_of(name) for name in parts.names("runtimes")}


def check_runtime(
    name: str, *, family: str | None = None, precision: str | None = None, device: str | None = None
) -> ModuleType:
    """Refuse what a runtime cannot do; return its module.

    Args:
        family: of the model; None = not asked.
        precision: number format; None = what the folder holds.
        device: ``cpu`` or ``cuda``; None = not asked.

    Raises:
        PartError: no such runtime, nothing runs it any more, or it does not take the family, precision or device.
    """
    support = support_of(name)
    if support.unavailable is not None:
        raise PartError(f'runtime "{name}" is not available: {support.unavailable}', hint="Take one that is listed.")
    if family is not None and family not in support.families:
        others = [other for other, row in support_matrix().items() if family in row.families]
        raise PartError(
            f'runtime "{name}" does not run {family}',
            hint=f"It runs {', '.join(support.families)}; {family} runs on {', '.join(others)}.",
        )
    if precision is not None and precision not in support.precisions:
        hint = near_name_hint(precision, support.precisions)
        raise PartError(f'runtime "{name}" has no precision "{precision}"', hint=hint)
    if device is not None and device not in support.devices:
        raise PartError(f'runtime "{name}" does not run on "{device}"', hint=f"It runs on {support.devices[0]}.")
    return parts.load("runtimes", name)


def require_packages(name: str) -> None:
    """Refuse a runtime whose packages this environment lacks.

    Raises:
        PartError: a package is not installed.
    """
    module = parts.load("runtimes", name)
    for package in support_of(name).requires:
        if not _is_installed(package):
            extra = getattr(module, "EXTRA", "train")
            raise PartError(
                f'runtime "{name}" needs the package {package}',
                hint=f"Install it: pip install 'kilowit[{extra}]'.",
            )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a package within one that is not there
        return False
