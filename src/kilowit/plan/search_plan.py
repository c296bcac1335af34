"""What a search will take: its template, as often and for as long as its trials train, and the winner's last run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from kilowit.cell import Cell
from kilowit.plan.estimate import CellPlan, Estimate
from kilowit.plan.interval import Interval
from kilowit.record import Record
from kilowit.study_search import Search

_SCALED: Final = ("time_second", "energy_total_joule", "co2e_kg", "cost_usd", "cost_usd_spot", "disk_byte")
_TRAINING: Final = ("warmup", "train", "validate")


def plan_of_search(template: CellPlan, cell: Cell, search: Search, records: Sequence[Record]) -> CellPlan:
    """Return the plan of a search from that of its template.

    Args:
        template: the plan of one cell with the settings that the study writes.
        cell: the template.
        search: what is searched.
        records: of the store; trials that have ended are not planned again.
    """
    key = search.key(cell)
    own = [r.cell["search"] for r in records if (r.cell.get("search") or {}).get("search_key") == key]
    num_done = len({asked["trial"] for asked in own if asked["role"] == "trial"})
    shares = _shares(search, cell)
    has_winner = any(asked["role"] == "winner" for asked in own) and num_done >= len(shares)
    left = [*shares[num_done:], *([] if has_winner else [max(shares)])]
    note = f"search {search.algorithm}: {len(shares)} trials and the winner, {num_done} done"
    return dataclasses.replace(
        template,
        estimate=_times(template.estimate, left),
        done=not left,
        notes=(*template.notes, note),
    )


def _shares(search: Search, cell: Cell) -> list[float]:
    """The share of a whole training that each trial does, if the values came in no order that matters."""
    searcher = search.searcher(cell.seed)
    shares: list[float] = []
    while len(shares) < search.num_trials:
        proposal = searcher.ask()
        if proposal is None:
            break
        shares.append(proposal.share)
        searcher.tell(proposal.number, [0.0] * len(search.goals))
    return shares


def _times(estimate: Estimate, shares: Sequence[float]) -> Estimate:
    seconds = estimate.phase_second
    whole = sum(value.likely for value in seconds.values())
    of_training = sum(seconds[name].likely for name in _TRAINING if name in seconds) / whole if whole else 1.0
    num = sum(share * of_training + 1 - of_training for share in shares)
    scaled: dict[str, Interval | None] = {name: getattr(estimate, name) for name in _SCALED}
    times = {name: None if value is None else value * num for name, value in scaled.items()}
    return dataclasses.replace(estimate, **times)  # type: ignore[arg-type]
