from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kilowit.record import Record
from kilowit.report import contents_of
from kilowit.report.papers import names_in_papers, published
from kilowit.report.table import Table
from report_records import trained


def run(
    hub: str, dataset: dict[str, Any], *, signature: str = "rouge|l:all|stem:porter|split:punkt+newline|v:2"
) -> Record:
    record = trained("bart-mini", "full", 0, number=1)
    cell = record.cell | {"model": {"hub": hub, "revision": None}, "dataset": dataset}
    return replace(record, cell=cell, scores=[replace(s, signature=signature) for s in record.scores])


def papers(*records: Record) -> Table:
    return next(t for t in contents_of(records).tables if t.name == "papers")


def values(table: Table, name: str) -> dict[str, float | str | None]:
    row = next(r for r in table.rows if str(r[1].value).startswith(name))
    return dict(zip([c.key for c in table.columns], [e.value for e in row], strict=True))


def test_package_data_is_what_the_facts_give(shared_dir: Path, repository: Path, tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("build_papers", repository / "tools" / "build_papers.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.build(shared_dir / "facts", tmp_path / "published.csv")
    shipped = repository / "src" / "kilowit" / "report" / "published.csv"
    assert (tmp_path / "published.csv").read_bytes() == shipped.read_bytes(), "run tools/build_papers.py"


def test_every_published_row_has_a_source_and_a_score() -> None:
    assert len(published()) > 100
    assert all(row.source and any(row.scores.values()) for row in published())
    assert {row.read_in for row in published()} == {"the source", "a copy of its table"}
    assert all(0 < v < 1 for row in published() for v in row.scores.values() if v is not None)


def test_stemming_that_no_source_states_is_not_made_up() -> None:
    stated = {row.stemmer for row in published() if row.source.startswith("google-research/pegasus")}
    unstated = {row.stemmer for row in published() if row.source.startswith(("Rothe", "Goyal"))}
    assert (stated, unstated) == ({"porter"}, {"not stated"})


@pytest.mark.parametrize(
    ("hub", "name"),
    [
        ("facebook/bart-large", "BART-large"),
        ("facebook/bart-large-cnn", "BART-large"),
        ("google/pegasus-xsum", "PEGASUS-large"),
        ("google/bigbird-pegasus-large-arxiv", "BigBird-PEGASUS large"),
        ("google/pegasus-x-base", "PEGASUS-X-base"),
        ("google-t5/t5-small", "T5-small"),
        ("google/long-t5-tglobal-xl", "LongT5-xl"),
        ("sshleifer/distilbart-cnn-12-6", "sshleifer/distilbart-cnn-12-6"),
    ],
)
def test_a_checkpoint_is_called_what_papers_call_it(hub: str, name: str) -> None:
    assert name in names_in_papers({"hub": hub})


@pytest.mark.parametrize(
    "spec", [{"scratch": "bart-mini"}, {"folder": "/models/bart-large"}, {"hub": "facebook/bart-base"}]
)
def test_a_model_that_no_paper_has_stands_alone(spec: dict[str, str]) -> None:
    assert names_in_papers(spec) == ()


def test_a_run_stands_beside_the_published_rows_of_its_model_and_dataset() -> None:
    table = papers(run("facebook/bart-large", {"name": "samsum"}))
    assert {str(r[0].value) for r in table.rows} == {"samsum"}
    linydub = values(table, "BART-large (linydub/bart-large-samsum")
    assert linydub["rouge1"] == pytest.approx(0.535417)
    assert (linydub["rougeL"], linydub["rougeLsum"]) == (pytest.approx(0.442561), pytest.approx(0.491162))
    assert not any("BART-large-CNN" in str(row[1].value) for row in table.rows)


def test_what_a_paper_calls_rouge_l_stands_in_the_column_of_its_variant_only() -> None:
    table = papers(run("google/pegasus-large", {"name": "xsum"}))
    pegasus = values(table, "PEGASUS-large (C4)")
    assert pegasus["rougeL"] == pytest.approx(0.3699)
    assert pegasus["rougeLsum"] is None
    assert any("its RL is ROUGE-L, another figure" in reason for reason in table.reasons)
    news = values(papers(run("google/pegasus-cnn_dailymail", {"name": "cnn_dailymail"})), "PEGASUS-large (C4)")
    assert (news["rougeL"], news["rougeLsum"]) == (None, pytest.approx(0.4076))


def test_our_own_rouge_lsum_is_withheld_where_no_sentence_was_split() -> None:
    unsplit = run("facebook/bart-large", {"name": "samsum"}, signature="rouge|l:all|stem:porter|split:newline|v:2")
    table = papers(unsplit)
    own = dict(zip([c.key for c in table.columns], table.rows[0], strict=True))
    assert own["rougeLsum"].value is None
    assert "split:newline" in own["rougeLsum"].reason
    assert own["rougeL"].value is not None


def refusals(table: Table) -> str:
    return " ".join(table.footnotes)


def test_other_versions_of_a_dataset_are_refused_with_the_reason() -> None:
    table = papers(run("google/pegasus-large", {"name": "big_patent", "code": "all"}))
    assert len(table.rows) == 1
    assert "another version of the dataset (cased)" in refusals(table)
    assert "another version of the dataset (lower case)" in refusals(table)
    short = papers(run("google/pegasus-large", {"name": "reddit_tifu", "variant": "short"}))
    assert "(long); this run's is short" in refusals(short)
    assert len(papers(run("google/pegasus-large", {"name": "reddit_tifu"})).rows) > 1


def test_a_sample_of_the_test_split_is_refused() -> None:
    table = papers(run("facebook/bart-large", {"name": "samsum", "max_test_examples": 200}))
    assert len(table.rows) == 1
    assert "this study scored 200 test examples" in refusals(table)


def test_scores_without_the_stemmer_are_refused() -> None:
    table = papers(run("google-t5/t5-base", {"name": "cnn_dailymail"}))
    assert len(table.rows) == 1
    assert "scored without Porter's stemmer, this run with" in refusals(table)
    unstemmed = run("google-t5/t5-base", {"name": "cnn_dailymail"}, signature="rouge|l:all|stem:no|split:newline|v:2")
    assert len(papers(unstemmed).rows) == 2


def test_a_recorded_version_of_a_dataset_lets_its_own_rows_stand_and_refuses_the_other() -> None:
    record = run("google/pegasus-large", {"name": "big_patent", "code": "all"})
    assert record.dataset is not None
    table = papers(replace(record, dataset=replace(record.dataset, name="big_patent", version="cased")))
    assert values(table, "PEGASUS-large (mixed")["rouge1"] == pytest.approx(0.5229)
    assert not any("(C4)" in str(row[1].value) for row in table.rows)
    assert "another version of the dataset (lower case); this run's is cased" in refusals(table)
