"""Close the folder of a worker that died: its ledger becomes a partial record, so its energy stays on the bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kilowit.errors import StoreError
from kilowit.meter import MeterResult, read_ledger
from kilowit.record import Record
from kilowit.run.ending import Cause
from kilowit.run.ledger_tail import LedgerTail
from kilowit.run.nodes import other_nodes, with_nodes
from kilowit.run.opinions import opinions_of
from kilowit.store import RunFolder

LOST = Cause("lost", "the worker is gone, and nobody saw it end")


def close_dead_runs(folders: Iterable[RunFolder]) -> list[Record]:
    """Close every run folder whose worker is gone; return the records written.

    A folder that an executor sent elsewhere is closed whatever it looks like: give those alone that it has disowned.
    Call it while holding the machine: then no worker of this machine can be between birth and lock.

    Raises:
        StoreError: the store cannot be written.
    """
    return [close_run(folder, LOST) for folder in folders if folder.is_away or not folder.is_running]


def close_run(folder: RunFolder, cause: Cause) -> Record:
    """Write the record that a dead worker could not write: what its ledger says, and why it ended.

    Raises:
        StoreError: the folder cannot be read or written.
    """
    metered = read_ledger(folder.ledger_path) if folder.ledger_path.exists() else None
    cell = folder.cell
    born_at_utc = _born_at_utc(folder)
    environment = _environment(folder)
    own, signature = (metered.phases, metered.signature) if metered else ((), "")
    phases, nodes = with_nodes(own, environment, signature, other_nodes(folder))
    record = Record(
        run_id=folder.run_id,
        cell_key=folder.cell_key,
        study_name=str(cell.get("study_name", "")),
        attempt=folder.attempt,
        status="interrupted" if cause.kind == "interrupted" else "failed",
        started_at_utc=metered.started_at_utc if metered else born_at_utc,
        ended_at_utc=metered.ended_at_utc if metered else born_at_utc,
        cell=cell,
        environment=environment,
        error_kind=cause.kind,
        error_message=cause.message,
        error_phase=LedgerTail(folder.ledger_path).read().phase,
        phases=phases,
        nodes=nodes,
        warnings=_warnings(metered),
        idle_power_watt=metered.idle_power_watt if metered else None,
        measurement_signature=signature,
        second_opinions=opinions_of(_asked(cell), metered) if metered else [],
    )
    folder.write_record(record)
    return record


def _asked(cell: Mapping[str, Any]) -> Sequence[str]:
    """Return the other meters that the cell asked for; cells of earlier versions had none."""
    measure = (cell.get("settings") or {}).get("measure") or {}
    return list(measure.get("second_opinions") or [])


def _warnings(metered: MeterResult | None) -> list[str]:
    if metered is None:
        return ["the worker died before its meter started: what it took is not known"]
    end = "" if metered.clean else "the ledger has no end: what follows its last line, at most a second, is not billed"
    return [*metered.warnings, *([end] if end else [])]


def _environment(folder: RunFolder) -> dict[str, Any]:
    try:
        return folder.environment
    except StoreError as error:
        return {"unreadable": error.message}  # written by a worker that died while writing


def _born_at_utc(folder: RunFolder) -> str:
    stamp = datetime.strptime(folder.run_id.partition("_")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%SZ")
