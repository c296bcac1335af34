"""`kilowit meter COMMAND...`: the meter around any program, its exit code passed on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kilowit.cli.views import known
from kilowit.console import say, show_json
from kilowit.errors import StoreError, StudyError
from kilowit.factors import carbon
from kilowit.factors.derive import Derived, derive
from kilowit.meter import Meter, MeterResult

PHASE = "command"


def run_metered(
    command: Sequence[str], out: Path | None, *, region: str | None, machine: str | None, as_json: bool
) -> int:
    """Run a program under the meter, say what it took, and return its exit code.

    What is said goes to stderr, for stdout is the program's; with `as_json` it is the other way round.

    Raises:
        StudyError: the program cannot be started.
        StoreError: `out` cannot be written.
        PartError: the region is unknown.
    """
    carbon(region)  # refused before the program has run for hours
    _make_folder(out)
    meter = Meter(out)
    with meter, meter.phase(PHASE):
        exit_code = _run(command, to_stderr=as_json)
    result = meter.stop()
    derived = derive(result.total, region=region, machine=machine)
    if as_json:
        show_json({"command": command, "exit_code": exit_code, "metered": result, "derived": derived})
    else:
        _say(result, derived)
    return exit_code


def _make_folder(out: Path | None) -> None:
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot be made ({error.strerror})", place=str(out), hint="Name another folder.") from error


def _run(command: Sequence[str], *, to_stderr: bool) -> int:
    """Run a program to its end; Ctrl-C is for it alone, and what it took is still said."""
    try:
        process = subprocess.Popen(command, stdout=sys.stderr if to_stderr else None)
    except OSError as error:
        raise StudyError(
            f"cannot be started ({error.strerror})", place=command[0], hint="Give a program and its arguments."
        ) from error
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status  # as a shell says that a signal ended it


def _say(result: MeterResult, derived: Derived) -> None:
    total = result.total
    energy = known(total.energy_total_joule, "energy")
    if total.energy_total_joule_low is not None and total.energy_total_joule_high is not None:
        ends = (known(end, "energy") for end in (total.energy_total_joule_low, total.energy_total_joule_high))
        energy += f"  ({' to '.join(ends)})"
    lines = [
        f"time     {known(total.wall_second, 'time')}",
        f"energy   {energy}, {known(derived.energy_kwh and derived.energy_kwh * 3.6e6, 'energy_wh')}",
        f"CO2e     {known(derived.co2e_operational_kg, 'mass')}, {known(derived.co2e_operational_kg, 'mass_lb')}"
        f"  ({known(derived.co2e_operational_kg_low, 'mass')} to {known(derived.co2e_operational_kg_high, 'mass')})",
        f"cost     {known(derived.cost_usd_on_demand, 'money')}, {known(derived.cost_usd_spot, 'money')} on spot",
        f"memory   {known(total.memory_host_max_byte, 'byte')} host, {known(total.memory_gpu_max_byte, 'byte')} GPU",
        f"warnings {'; '.join(result.warnings)}" if result.warnings else "",
        f"notes    {'; '.join(derived.notes)}" if derived.notes else "",
        result.signature,
    ]
    say("\n".join(line for line in lines if line))
