"""Cleaning, slicing and fingerprinting of splits."""

from __future__ import annotations

from typing import Any

import pytest

from kilowit.errors import DataError
from kilowit.parts.corpus import ListedRows, Provenance, build_corpus, split_by_hash
from kilowit.parts.dataset import Corpus, DatasetOptions

PROVENANCE = Provenance("mine", "files:jsonl", "unknown", "document", "summary")


def rows(num_rows: int, **changed: Any) -> ListedRows:
    columns = {
        "ids": [str(i) for i in range(num_rows)],
        "documents": [f"document {i}" for i in range(num_rows)],
        "summaries": [f"summary {i}" for i in range(num_rows)],
    }
    return ListedRows(**{**columns, **changed})


def corpus(train: ListedRows, **options: Any) -> Corpus:
    return build_corpus(PROVENANCE, {"train": train, "validation": rows(2), "test": rows(3)}, DatasetOptions(**options))


def test_all_rows_keep_their_order() -> None:
    assert corpus(rows(5)).train.ids == ("0", "1", "2", "3", "4")


def test_a_slice_depends_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    forward, backward = rows(50), rows(50)
    turned = ListedRows(backward.ids[::-1], backward.documents[::-1], backward.summaries[::-1])
    chosen = corpus(forward, max_train_examples=10).train
    assert len(chosen) == 10
    assert chosen == corpus(turned, max_train_examples=10).train
    assert chosen != corpus(forward, max_train_examples=10, seed=1).train
    assert chosen.ids == corpus(forward, max_train_examples=20).train.ids[:10]


def test_empty_texts_are_left_out_counted_and_do_not_shorten_a_slice() -> None:
    documents: list[object] = [None, " \n", float("nan"), *(f"d{i}" for i in range(7))]
    assert len(corpus(rows(10, documents=documents), max_train_examples=7).train) == 7
    whole = corpus(rows(10, documents=documents))
    assert len(whole.train) == 7
    assert whole.notes == ("3 of the train rows left out: empty document or summary",)


def test_a_split_of_only_empty_texts_is_refused() -> None:
    with pytest.raises(DataError, match="all 4 examples have an empty document or summary"):
        corpus(rows(4, summaries=[""] * 4))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="the split is empty") as caught:
        corpus(rows(0))
    assert caught.value.place == "mine, train split"


@pytest.mark.parametrize(("bad", "message"), [(3, "holds int 3, not text"), ("\ud800", "half a surrogate pair")])
def test_what_is_not_text_is_refused_with_its_id(bad: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        corpus(rows(2, documents=["fine", bad]))
    assert '"1"' in caught.value.message


def test_the_fingerprint_changes_with_any_text_id_or_split() -> None:
    known = {
        corpus(rows(3)).fingerprint,
        corpus(rows(3, ids=["a", "1", "2"])).fingerprint,
        corpus(rows(3, summaries=["x", "summary 1", "summary 2"])).fingerprint,
        corpus(rows(2)).fingerprint,
    }
    assert len(known) == 4


def test_hash_split_is_stable_complete_and_near_its_fractions() -> None:
    splits = split_by_hash(rows(10_000), 0.05, 0.1)
    ids = [set(split.ids) for split in splits.values()]
    assert sum(map(len, ids)) == len(set().union(*ids)) == 10_000
    # four standard deviations: 4 sqrt(10000 x 0.1 x 0.9) = 120, and 4 sqrt(10000 x 0.05 x 0.95) = 87
    assert abs(len(splits["test"].ids) - 1000) < 120
    assert abs(len(splits["validation"].ids) - 500) < 87
    fewer = split_by_hash(rows(5_000), 0.05, 0.1)
    assert set(fewer["test"].ids) <= set(splits["test"].ids)
