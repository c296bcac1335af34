"""What each method of a cell has to show for itself: asked once it is done, and without it the cell fails.

Most are done when training is; those that compress the trained model are asked when they have.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from kilowit.errors import CellFailure
from kilowit.parts.method import MethodCall, TrainedRun
from kilowit.parts.model import LoadedModel
from kilowit.parts.tokenized import TrainingData
from kilowit.record import MethodEvidence

if TYPE_CHECKING:
    from kilowit.run.engines.job import TrainResult
    from kilowit.run.phases import CellRun


def gather_evidence(run: CellRun, loaded: LoadedModel, data: TrainingData, result: TrainResult) -> None:
    """Ask the methods that are done, and remember the others."""
    counts = result.counts
    for call in run.cell.methods:
        trained = TrainedRun(
            model=loaded.model,
            optimizer=result.optimizer,
            settings=run.settings,
            seed=run.cell.seed,
            data=data,
            num_steps=counts.num_steps,
            first_order=tuple(counts.first_order),
            num_padding_tokens=counts.num_padded_tokens - counts.num_source_tokens - counts.num_target_tokens,
            num_real_tokens=counts.num_source_tokens + counts.num_target_tokens,
            facts=run.notebook(call.name),
            ranks=result.ranks,
        )
        if hasattr(call.module, "compress_trained"):  # the optimizer is not its business, and large
            run.awaited.append((call, replace(trained, optimizer=None)))
        else:
            note_evidence(run, call, trained)


def note_evidence(run: CellRun, call: MethodCall, trained: TrainedRun) -> None:
    """Ask a method what it can show, and note it."""
    evidence = call.module.applied(trained, call.parsed_options)
    run.methods.append(
        MethodEvidence(
            method=call.name, options=dict(call.options), applied=evidence.applied, evidence=evidence.numbers
        )
    )
    run.meter.note("evidence", f"{call.name} was {'' if evidence.applied else 'not '}applied", **evidence.numbers)


def refuse_unapplied(run: CellRun, phase: str) -> None:
    """End the cell if a method has nothing to show.

    Raises:
        CellFailure: a method was not applied.
    """
    if missing := [evidence for evidence in run.methods if not evidence.applied]:
        run.failed_phase = phase
        raise CellFailure(
            "method_not_applied",
            f'method "{missing[0].method}" took no effect: {json.dumps(missing[0].evidence, default=str)}',
            hint="Its saving would be flattery. Leave it out, or change its options or the data.",
        )
