"""A table of bars beside measurements, and the exit code that follows from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One thing measured against one bar; `is_met` None = no bar, shown for comparison."""

    what: str
    measured: str
    bar: str
    is_met: bool | None


def at_most(what: str, value: float, limit: float, unit: str, digits: int = 3) -> Bar:
    """Return a bar that a value must not exceed."""
    return Bar(what, f"{value:.{digits}f} {unit}", f"<= {limit:g} {unit}", value <= limit)


def at_least(what: str, value: float, limit: float, unit: str, digits: int = 3) -> Bar:
    """Return a bar that a value must reach."""
    return Bar(what, f"{value:.{digits}f} {unit}", f">= {limit:g} {unit}", value >= limit)


def report(title: str, bars: list[Bar]) -> int:
    """Print the table; return 1 if a bar is missed."""
    print(f"\n{title}")
    width = max(len(bar.what) for bar in bars)
    for bar in bars:
        verdict = {True: "ok", False: "MISSED", None: ""}[bar.is_met]
        print(f"  {bar.what:<{width}}  {bar.measured:>24}  {bar.bar:>24}  {verdict}")
    return int(any(bar.is_met is False for bar in bars))
