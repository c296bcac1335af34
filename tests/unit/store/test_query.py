"""SQL over a store: three tables, read-only, and errors that say which columns there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.errors import StudyError
from kilowit.record import ModelFacts, PhaseFigures, Record, Score
from kilowit.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for seed, value in enumerate((0.30, 0.34)):
        folder = store.create({"recipe": "bf16", "seed": seed}, label=f"m_d_s{seed}", cell_key=f"k{seed}", attempt=1)
        folder.write_record(
            Record(
                run_id=folder.run_id, cell_key=f"k{seed}", study_name="green", attempt=1, status="finished",
                started_at_utc="2026-11-23T10:15:30Z", ended_at_utc="2026-11-23T10:16:30Z", cell=folder.cell,
                environment={"python": "3.11"}, model=ModelFacts(name="m", family="bart", source="scratch:bart-tiny"),
                phases=[PhaseFigures(phase="train", wall_second=2.0, energy_total_joule=10.0 + seed)],
                scores=[Score(metric="rouge1", value=value, ci95_low=None, ci95_high=None, num_examples=9,
                              signature="s")],
            )
        )  # fmt: skip
    return store


def test_query_joins_runs_phases_and_scores(store: Store) -> None:
    columns, rows = store.query(
        "SELECT recipe, avg(value) AS rouge1, sum(energy_total_joule) AS joule, model_name "
        "FROM run JOIN score USING (run_id) JOIN phase USING (run_id) WHERE metric = 'rouge1' GROUP BY recipe"
    )
    assert columns == ("recipe", "rouge1", "joule", "model_name")
    assert rows == [("bf16", pytest.approx(0.32), 21.0, "m")]


def test_structures_are_json_and_missing_is_null(store: Store) -> None:
    _, rows = store.query("SELECT json_extract(environment, '$.python'), dataset, error_kind FROM run ORDER BY seed")
    assert rows == [("3.11", None, None)] * 2


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM run", "DROP TABLE run", "ATTACH 'x.db' AS x", "PRAGMA user_version = 3", "CREATE TABLE t (a)"],
)
def test_a_query_that_would_write_is_refused(store: Store, sql: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="only reads"):
        store.query(sql)


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT energy_totl_joule FROM phase", 'Did you mean "energy_total_joule"'),
        ("SELECT * FROM phases", 'Did you mean "phase"'),
        ("SELEC 1", r"Tables: run\(run_id"),
        ("SELECT 1; SELECT 2", "Tables: run"),
        ("", "Tables: run"),
    ],
)
def test_a_wrong_query_is_told_the_right_names(store: Store, sql: str, hint: str) -> None:
    with pytest.raises(StudyError, match=hint):
        store.query(sql)
