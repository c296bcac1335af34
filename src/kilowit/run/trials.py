"""The cells of a search: a template with a trial's settings, judged on the validation split; and what they are told.

A trial that goes on from an earlier one has that run's model folder as its model: reading it is in the phase ``load``,
leaving its own in ``save``, so that copies are on the bill like everything else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from kilowit.cell import Cell
from kilowit.errors import StoreError, StudyError
from kilowit.factors import JOULE_PER_KWH
from kilowit.parts.content import content_hash
from kilowit.parts.search import Goal, Proposal
from kilowit.record import Record
from kilowit.settings import Settings
from kilowit.store import RunFolder
from kilowit.study_search import VALIDATION_LOSS, Search

Role = Literal["trial", "winner"]
RUNG_SEED: Final = 1000  # added for each rung: a training that goes on must not see its data in the same order again
_SECOND_PER_HOUR: Final = 3600
_NOT_OF_A_RUN: Final = frozenset({"idle", "download"})


def trial_cell(template: Cell, search: Search, proposal: Proposal, role: Role, parent: RunFolder | None) -> Cell:
    """Return the cell of one trial, or of the winner that repeats it on the test split.

    Args:
        template: the cell of the study that is searched.
        search: the search.
        proposal: what is to be tried.
        role: a trial is judged on the validation split, the winner on the split that the study asks for.
        parent: the run whose model it goes on from; None = the template's own model.

    Raises:
        StoreError: the parent's model is not there any more.
    """
    settings = _share(search.settings(template.settings, proposal.parameters), proposal.share)
    measure = settings.measure.model_copy(
        update={"keep_model": search.continues if role == "trial" else settings.measure.keep_model}
    )
    split = "validation" if role == "trial" else template.settings.predict.split
    predict = settings.predict.model_copy(update={"split": split})
    model, content = template.model, template.content
    if parent is not None:
        model, content = _model_of(parent, content)
    number = f"t{proposal.number:03d}" if role == "trial" else "winner"
    return dataclasses.replace(
        template,
        model=model,
        content=content,
        seed=template.seed + RUNG_SEED * proposal.rung,
        settings=settings.model_copy(update={"measure": measure, "predict": predict}),
        search={
            **search.to_dict(),
            "search_key": search.key(template),
            "name": f"{search.algorithm}-{number}",
            "role": role,
            "trial": proposal.number,
            "rung": proposal.rung,
            "share": proposal.share,
            "parameters": dict(proposal.parameters),
            "continues": proposal.continues,
            "parent_run": None if parent is None else parent.run_id,
            "seed": template.seed,
            "template": {"model": template.model, "settings": template.to_dict()["settings"]},
        },
    )


def _share(settings: Settings, share: float) -> Settings:
    if share == 1:
        return settings
    train = settings.train
    if train.num_steps is not None:
        return settings.with_train(num_steps=max(1, round(train.num_steps * share)))
    return settings.with_train(num_epochs=train.num_epochs * share)


def _model_of(parent: RunFolder, content: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    folder = parent.model_path.resolve()
    if not folder.is_dir():
        raise StoreError(
            "the model that a trial goes on from is gone",
            place=str(folder),
            hint="Models of stopped trials go when num_trials are done: search anew in another store, with "
            "measure.keep_model: true to add trials later.",
        )
    digest = content_hash(folder)
    return {"folder": str(folder), "fingerprint": digest}, {**content, str(folder): digest}


def is_of_search(record: Record, search_key: str, role: Role, number: int | None = None) -> bool:
    """Whether a record is of a search, in one role, and of one trial if its number is given."""
    own = record.cell.get("search") or {}
    return (
        own.get("search_key") == search_key and own.get("role") == role and number in (None, int(own.get("trial", -1)))
    )


def values_of(record: Record, goals: Sequence[Goal]) -> list[float] | None:
    """Return a value for each goal, or None for a run that failed.

    Raises:
        StudyError: a finished run lacks one.
    """
    if record.status != "finished":
        return None
    values = [_value(record, goal.name) for goal in goals]
    missing = [goal.name for goal, value in zip(goals, values, strict=True) if value is None]
    if missing:
        raise StudyError(
            f"objective {', '.join(missing)} is not known of {record.run_id}",
            hint=f"It has {', '.join(s.metric for s in record.scores)}; validation_loss needs train.num_validations.",
        )
    return [value for value in values if value is not None]


def _value(record: Record, name: str) -> float | None:
    if name == VALIDATION_LOSS:
        validate = record.phase("validate")
        return None if validate is None else validate.loss_last
    if name in ("energy_kwh", "wall_hour"):
        phases = [phase for phase in record.phases if phase.phase not in _NOT_OF_A_RUN]
        if name == "wall_hour":
            return sum(phase.wall_second for phase in phases) / _SECOND_PER_HOUR
        joules = [phase.energy_total_joule for phase in phases if phase.energy_total_joule is not None]
        return sum(joules) / JOULE_PER_KWH if joules else None
    score = record.score(name)
    return None if score is None else score.value
