"""What an import brought, and what an export left, at a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kilowit.cli.views import known
from kilowit.console import say, show, show_json, show_table
from kilowit.errors import StudyError
from kilowit.wording import counted

if TYPE_CHECKING:
    from kilowit.exchange import ExportedRecords, ImportOutcome
    from kilowit.mirror import Mirrored


def show_imported(outcome: ImportOutcome, *, as_json: bool) -> None:
    """Show each run that was imported, then what its file contradicts."""
    if as_json:
        runs = [
            {"run_id": run.record.run_id, "is_new": run.is_new, "imported": run.record.imported} for run in outcome.runs
        ]
        show_json({"runs": runs, "remarks": outcome.remarks})
        return
    columns = ("run", "place", "time", "GPU energy", "energy", "scores", "contradictions", "")
    rows = []
    for run in outcome.runs:
        record, facts = run.record, run.record.imported
        assert facts is not None
        gpu, total = (_sum([getattr(p, f"energy_{d}_joule") for p in record.phases]) for d in ("gpu", "total"))
        second = math.fsum(phase.wall_second for phase in record.phases) if record.phases else None
        new = "new" if run.is_new else "was there"
        amounts = (known(second, "time"), known(gpu, "energy"), known(total, "energy"))
        rows.append((record.run_id, facts.place, *amounts, len(record.scores), len(facts.contradictions), new))
    show_table(columns, rows)
    for contradiction in dict.fromkeys(warning for run in outcome.runs for warning in run.record.warnings):
        say(f"contradiction: {contradiction}")
    for remark in outcome.remarks:
        say(f"note: {remark}")


def show_exported(exported: ExportedRecords) -> None:
    """Show the files of an export."""
    for path in exported.files:
        show(str(path))
    say(f"{exported.folder}: {counted(exported.num_runs, 'run')}")
    if exported.num_left_out:
        say(f"note: {exported.num_left_out:,} imported runs are left out: this format cannot mark them as such")


def refuse_prices(**given: object) -> None:
    """Refuse options that price runs: a mirror shows them as their study does.

    Raises:
        StudyError: one is given.
    """
    if named := [f"--{name}" for name, value in given.items() if value is not None]:
        raise StudyError(
            f"mlflow takes no {', '.join(named)}: runs are priced there as their study says",
            hint="Leave it out; `kilowit report` prices anew.",
        )


def show_mirrored(mirrored: Mirrored) -> None:
    """Show where runs are mirrored."""
    show(mirrored.destination.shown)
    say(f"{counted(mirrored.num_runs, 'run')}, {mirrored.num_new:,} of them new or completed")
    if mirrored.num_left_out:
        say(f"note: {mirrored.num_left_out:,} imported runs are left out: they were not measured by kilowit")


def _sum(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return math.fsum(present) if present else None
