"""Cells of a few seconds for the real worker: a file of made-up pairs and a BART of two layers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from kilowit.record import Record
from kilowit.run import worker
from kilowit.store import RunFolder, Store
from kilowit.study import Study

TEXT = "return the value of a given key from this list or raise an error when it is not there and stop"
WORDS = TEXT.split()
STUDY = """
name: tiny
models: [{{scratch: bart-tiny, vocabulary_size: 300}}]
datasets: [{{name: local_files, path: {pairs}, test_fraction: 0.1, validation_fraction: 0.1}}]
recipes: {{cell: {recipe}}}
train: {{num_steps: 4, batch_size: 4, learning_rate: 1.0e-3, max_source_tokens: 40, max_target_tokens: 12}}
predict: {{num_beams: 2, max_new_tokens: 4}}
metrics: [rouge]
measure: {{idle_second: 0.1, cooldown_second: 0}}
"""


def write_pairs(path: Path, num_pairs: int = 80) -> Path:
    """Documents of 5 to 30 words whose summary is their first words."""
    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_pairs):
            words = generator.choices(WORDS, k=generator.randint(5, 30))
            row = {
                "id": f"pair-{number}",
                "document": " ".join(words),
                "summary": " ".join(words[: len(words) // 4 + 1]),
            }
            file.write(json.dumps(row) + "\n")
    return path


def create(
    folder: Path,
    *,
    recipe: str = "[]",
    model: str | None = None,
    pairs: Path | None = None,
    overrides: list[str] | None = None,
) -> RunFolder:
    """Create the run folder of one cell; `recipe` is YAML, `overrides` as after ``--set``."""
    folder.mkdir(exist_ok=True)
    pairs = pairs or write_pairs(folder / "pairs.jsonl")
    text = STUDY.format(pairs=pairs, recipe=recipe)
    if model is not None:
        text = text.replace("{scratch: bart-tiny, vocabulary_size: 300}", model)
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    (cell,) = Study.load(path, overrides=overrides or []).cells
    return Store(folder / "runs").create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=1)


def run(folder: Path, **what: Any) -> Record:
    """Run one cell in this process and return its record."""
    run_folder = create(folder, **what)
    assert worker.main(run_folder.path) == 0
    record = run_folder.record
    assert record is not None
    return record
