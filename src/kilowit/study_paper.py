"""``train: paper`` in a study: each cell trains as its family was published on its dataset."""

from __future__ import annotations

import dataclasses

from kilowit.cell import Cell, model_name
from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.paper import paper_training
from kilowit.study_parts import Reading, found


def take_paper(reading: Reading) -> bool:
    """Whether the study says ``train: paper`` or ``train: {paper: true, ...}``; leaves its own settings there."""
    value = reading.document.value
    train = value.get("train")
    if train == "paper":
        value["train"] = {}
        return True
    if not isinstance(train, dict) or "paper" not in train:
        return False
    is_paper = train.pop("paper")
    if not isinstance(is_paper, bool):
        reading.fault(("train", "paper"), f"expected true or false, found {found(is_paper)}.")
    return is_paper is True


def as_published(reading: Reading, cell: Cell) -> Cell:
    """Give a cell the published training settings of its family and dataset, under those that the study sets."""
    if cell.is_baseline:
        return cell
    size, name = catalogue.resolve_dimensions(cell.model), model_name(cell.model)
    if size is None:
        reading.fault(("train",), f"paper: the family of {name} is not known here. Write the settings out.")
        return cell
    written = cell.settings.train
    own = {key: getattr(written, key) for key in written.model_fields_set}
    try:
        published = paper_training(size.family.name, cell.dataset["name"], own)
    except PartError as error:
        problem = f"paper: {error.message}. {error.hint} Or exclude {{model: {name}, dataset: {cell.dataset['name']}}}."
        if problem not in [known.message for known in reading.problems]:
            reading.fault(("train",), problem)
        return cell
    departs = f"; {published.departs}" if published.departs else ""
    reading.note(f"train: paper, {size.family.name} on {cell.dataset['name']}: {published.source}{departs}")
    return dataclasses.replace(cell, settings=cell.settings.model_copy(update={"train": published.train}))
