"""Run one search: ask, run the trial unless its run folder is there, tell; then run the winner on the test split.

The run folders are the truth. A search that was killed is asked and told the same trials again, in their order, and
goes on where it was; nothing of it is kept elsewhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kilowit.cell import Cell
from kilowit.parts.search import Proposal
from kilowit.record import Record
from kilowit.run.budget import Forecast, passed_limit
from kilowit.run.trials import Role, is_of_search, trial_cell, values_of
from kilowit.store import Store
from kilowit.store.folder import store_errors
from kilowit.study_search import Search

# Runs one cell to its end; None = it was not: the person has stopped the study, or a limit was reached.
RunCell = Callable[[Cell, Sequence[Record]], Record | None]


@dataclass(frozen=True)
class SearchEnd:
    """How a search went this time."""

    winners: tuple[Record, ...]  # finished, on the test split
    num_run: int  # cells that were run now
    is_complete: bool  # all that could be tried was, and the winners are done
    reason: str = ""  # why it ended before num_trials


@dataclass
class SearchRun:
    """One search of a template.

    Args:
        template: the cell that is searched.
        search: the search.
        store: where trials are.
        run_cell: runs a cell.
        is_result: whether a record without a score is a verdict on its cell rather than to be tried anew.
        note: told what is worth a line.
        forecast: what the plan says of a trial, for the budget of a search of which nothing has run yet.
    """

    template: Cell
    search: Search
    store: Store
    run_cell: RunCell
    is_result: Callable[[Record], bool]
    note: Callable[[str], None]
    forecast: Forecast | None = None
    _records: dict[int, Record] = field(default_factory=dict)
    _proposals: list[Proposal] = field(default_factory=list)
    _num_run: int = 0

    def run(self) -> SearchEnd:
        """Search until nothing is left to try, then confirm the winners.

        Raises:
            StudyError: a trial lacks the objective.
            StoreError: a model that a trial goes on from is gone, or the store cannot be used.
        """
        searcher = self.search.searcher(self.template.seed)
        key, reason = self.search.key(self.template), ""
        known = self._earlier(key, "trial")
        while len(self._proposals) < self.search.num_trials:
            number = len(self._proposals)
            before = known.get(number)
            proposal = searcher.ask(_parameters(before))
            if proposal is None:
                break
            record = before or self._twin(proposal)
            if record is None:
                cell = self._cell(proposal, "trial")
                reason = self._over_budget(cell) or ""
                if reason:
                    break
                record = self._run(cell, key, "trial", number)
                if record is None:
                    return SearchEnd((), self._num_run, is_complete=False)
            self._proposals.append(proposal)
            self._records[number] = record
            searcher.tell(number, values_of(record, self.search.goals))
        if reason:
            self.note(f"{self.template.label}: search ends after {len(self._proposals)} trials, {reason}")
        end = self._confirm(searcher.winners(), key, reason)
        if end.is_complete and not reason and not self.template.settings.measure.keep_model:
            self._remove_models(searcher.winners())
        return end

    def _confirm(self, numbers: Sequence[int], key: str, reason: str) -> SearchEnd:
        known = self._earlier(key, "winner")
        winners: list[Record] = []
        for number in numbers:
            proposal = self._proposals[number]
            record = known.get(number) or self._run(self._cell(proposal, "winner"), key, "winner", number)
            if record is None:
                return SearchEnd(tuple(winners), self._num_run, is_complete=False, reason=reason)
            if record.status == "finished":
                winners.append(record)
        return SearchEnd(tuple(winners), self._num_run, is_complete=True, reason=reason)

    def _remove_models(self, winners: Sequence[int]) -> None:
        """Remove the models that trials left to go on from, once all that was asked has been tried.

        Kept are the winners' and their lineage's, and those that a failed trial went on from, which may be retried.

        Raises:
            StoreError: the store cannot be written.
        """
        kept = {p.continues for p in self._proposals if self._records[p.number].status != "finished"}
        for number in winners:
            ancestor: int | None = number
            while ancestor is not None:
                kept.add(ancestor)
                ancestor = self._proposals[ancestor].continues
        kept_runs = {self._records[number].run_id for number in kept if number is not None}
        folders = [self.store.find(record.run_id).model_path for record in self._records.values()]
        left = [folder for folder in dict.fromkeys(folders) if folder.is_dir() and folder.parent.name not in kept_runs]
        for folder in left:
            with store_errors(folder):
                shutil.rmtree(folder)
        if left:
            self.note(
                f"{self.template.label}: models of {len(left)} stopped trials removed; the winners' lineage stays"
            )

    def _cell(self, proposal: Proposal, role: Role) -> Cell:
        parent = None
        if proposal.continues is not None:
            parent = self.store.find(self._records[proposal.continues].run_id)
        return trial_cell(self.template, self.search, proposal, role, parent)

    def _earlier(self, key: str, role: Role) -> dict[int, Record]:
        """The latest verdict on each trial that the store holds; a finished one before any other."""
        found: dict[int, Record] = {}
        for record in self.store.records():
            if is_of_search(record, key, role) and (record.status == "finished" or self.is_result(record)):
                number = int(record.cell["search"]["trial"])
                if number not in found or record.status == "finished":
                    found[number] = record
        return found

    def _run(self, cell: Cell, key: str, role: Role, number: int) -> Record | None:
        earlier = [r for r in self.store.records() if is_of_search(r, key, role, number)]
        self._num_run += 1
        return self.run_cell(cell, earlier)

    def _twin(self, proposal: Proposal) -> Record | None:
        """The record of an earlier trial that is the same cell: the same seed would give the same result."""
        wanted = _identity(proposal)
        return next((self._records[p.number] for p in self._proposals if _identity(p) == wanted), None)

    def _over_budget(self, cell: Cell) -> str | None:
        """Say which limit of the search the next trial and the winner's last run would pass."""
        key = self.search.key(self.template)
        records = self.store.records()
        own = [r for r in records if (r.cell.get("search") or {}).get("search_key") == key]
        return passed_limit(self.search.budget, own, [cell, cell], records, self.forecast)


def _parameters(record: Record | None) -> Mapping[str, Any] | None:
    return None if record is None else record.cell["search"]["parameters"]


def _identity(proposal: Proposal) -> str:
    asked = [dict(proposal.parameters), proposal.rung, proposal.continues, proposal.share]
    return json.dumps(asked, sort_keys=True, default=str)
