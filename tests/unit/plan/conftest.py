"""Studies on a small local corpus, and records as runs on given hardware would have left them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kilowit.cell import Cell
from kilowit.record import ModelFacts, PhaseFigures, Record
from kilowit.store import Store
from kilowit.study import Study

NUM_EXAMPLES = {"train": 200, "validation": 20, "test": 40}
MakeStudy = Callable[..., Study]
Finish = Callable[..., Record]


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Return a function that makes a study of ``bart-tiny`` and ``lead``; keyword arguments replace blocks."""
    for split, count in NUM_EXAMPLES.items():
        lines = [
            json.dumps({"document": f"{split} {i} " + "word " * 98, "summary": "a few words"}) for i in range(count)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def make(**changes: Any) -> Study:
        document = {
            "name": "small",
            "models": [{"scratch": "bart-tiny"}, "lead"],
            "datasets": [{"name": "local_files", **{s: f"{s}.jsonl" for s in NUM_EXAMPLES}}],
            "train": {"num_epochs": 2, "batch_size": 10, "max_source_tokens": 256, "max_target_tokens": 64},
            "predict": {"num_beams": 2, "max_new_tokens": 20},
            "measure": {"idle_second": 5, "cooldown_second": 7},
            "factors": {"region": "azure/westus2"},
        } | changes
        return Study.parse(json.dumps(document), folder=tmp_path)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def finish(store: Store) -> Finish:
    """Return a function that leaves the record of a cell in the store."""

    def leave(cell: Cell, environment: dict[str, Any], *, train_second: float = 100.0, watt: float = 50.0) -> Record:
        folder = store.create(cell.to_dict(), label=cell.label, cell_key=cell.key, attempt=1)

        def phase(name: str, second: float, **facts: Any) -> PhaseFigures:
            return PhaseFigures(phase=name, wall_second=second, energy_total_joule=second * watt, **facts)

        rows = [phase("load", 10.0)]
        if not cell.is_baseline:
            rows.append(phase("train", train_second, num_examples=400, flop_total=1e12, memory_host_max_byte=10**9))
        rows.append(phase("predict", 20.0, num_examples=40, disk_kept_byte=5000))
        record = Record(
            run_id=folder.run_id, cell_key=cell.key, study_name=cell.study_name, attempt=1, status="finished",
            started_at_utc="2026-11-23T10:00:00Z", ended_at_utc="2026-11-23T10:02:10Z", cell=folder.cell,
            environment=environment, phases=rows,
            model=ModelFacts(name="bart-tiny", family="bart", source="scratch:bart-tiny", num_parameters=1_713_152),
        )  # fmt: skip
        folder.write_record(record)
        return record

    return leave
