"""The phase ``score``: every metric of the study over the summaries of the test split, each with its own bill.

A judge in another process is on the same bill: counters are of whole devices, and so is the model of the host.
"""

from __future__ import annotations

from collections.abc import Sequence

from kilowit.parts.dataset import Corpus
from kilowit.parts.metric import MetricCall
from kilowit.record import PhaseFigures
from kilowit.run.phases import CellRun
from kilowit.run.predictions import add_scores


def score(run: CellRun, corpus: Corpus, predictions: Sequence[str]) -> None:
    """Score the summaries with every metric of the study, and put the values beside each summary."""
    with run.phase("score") as phase:
        per_example: dict[str, list[float]] = {}
        contributions: dict[str, list[float]] = {}
        for call in run.cell.metric_calls:
            with run.phase("score") as block:
                result = call.score(predictions, corpus.test.summaries, corpus.test.documents)
            _note_cost(run, call, block.result)
            run.scores += result.scores
            per_example |= result.per_example
            contributions |= result.contributions
        phase.count(num_examples=add_scores(run.folder.predictions_path, per_example, contributions))


def _note_cost(run: CellRun, call: MetricCall, cost: PhaseFigures) -> None:
    """Say what one metric took: a judge that is a model of its own can cost more than the summaries."""
    run.meter.note(
        "metric",
        f"{call.label} took {cost.wall_second:.3g} s",
        metric=call.label,
        wall_second=cost.wall_second,
        energy_total_joule=cost.energy_total_joule,
        energy_total_source=cost.energy_total_source,
    )
