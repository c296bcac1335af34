"""big_patent: descriptions of US patents and their abstracts.

What it is     Long, formal documents -> abstracts that reuse little of their wording; nine classes (CPC a to h, y).
Examples       all: 1,207,222 / 67,068 / 67,072; 3,572 -> 116 words.
Columns        description, abstract. Ids are row numbers.
Options        code (all, or one class a ... h, y).
From           NortheasternUniversity/big_patent on the hub, converted to parquet: the conversion holds the first 5 GB
               of a split, so `all` is a part of train. Or `path`: a folder with the files.
Beware         two versions are about: 1.0.0 is tokenized and lower case, 2.1.2 is cased. Scores do not compare. Which
               one the files hold is told by their letters and recorded: `cased` or `lower case`. With code: all, give
               max_train_examples: the whole takes 26 GB of memory.
Licence        CC BY 4.0.
Source         Sharma et al. 2019, arXiv 1906.03741.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Final, Literal

from pydantic import Field

from kilowit.parts.dataset import Corpus
from kilowit.parts.hub_dataset import (
    HubDataset,
    HubOptions,
    converted_route,
    fetch_hub_dataset,
    load_hub_dataset,
    main_route,
)

NUM_TELLING_DOCUMENTS: Final = 100
NUM_EXAMPLES_ALL: Final = {"train": 1207222, "validation": 67068, "test": 67072}


class Options(HubOptions):
    """Which class of patents, and where to read it from."""

    code: Literal["all", "a", "b", "c", "d", "e", "f", "g", "h", "y"] = Field("all", description="CPC class")


def dataset(code: str) -> HubDataset:
    """Return the facts of one class of patents."""
    return HubDataset(
        name="big_patent",
        hub_id="NortheasternUniversity/big_patent",
        licence="cc-by-4.0",
        document_column="description",
        summary_column="abstract",
        config=code,
        routes=(converted_route(code), main_route(code + "/{split}*.parquet")),
        num_examples=NUM_EXAMPLES_ALL if code == "all" else {},
    )


def fetch(options: Options) -> None:
    """Download the files, unless they are here; raises as `fetch_hub_dataset` does."""
    fetch_hub_dataset(dataset(options.code), options)


def load(options: Options) -> Corpus:
    """Load the dataset; raises as `load_hub_dataset` does."""
    corpus = load_hub_dataset(dataset(options.code), options)
    return replace(corpus, version=version_of(corpus.test.documents))


def version_of(documents: Iterable[str]) -> str:
    """Return `cased` or `lower case`, by the first documents: no column of the files says it.

    >>> version_of(["a method of wetting pipes .", "the device of claim 1"])
    'lower case'
    """
    has_capital = any(text != text.lower() for text in islice(documents, NUM_TELLING_DOCUMENTS))
    return "cased" if has_capital else "lower case"
