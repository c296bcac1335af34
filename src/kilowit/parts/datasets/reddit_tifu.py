"""reddit_tifu: posts of the forum TIFU and how their authors sum them up.

What it is     Long: posts -> their "TL;DR" (42,139 pairs). Short: posts -> their title (79,740 pairs).
Examples       long 33,711 / 4,214 / 4,214 in expectation; 80 / 10 / 10 %.
Splits         the hub has one split only. Ours is by the sha256 of the post, without a seed: the same everywhere, but
               not that of the PEGASUS paper, whose scores it cannot be held against to the digit.
Columns        documents, and tldr (long) or title (short). Ids are hashes of the post.
Options        variant (long, short).
From           ctr4si/reddit_tifu on the hub, converted to parquet; or `path`: a folder with the same files.
Licence        MIT by its card; the posts are their authors'.
Source         Kim et al. 2018, arXiv 1811.00783.
"""

from __future__ import annotations

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

SUMMARY_COLUMNS: Final = {"long": "tldr", "short": "title"}
NUM_EXAMPLES: Final = {"long": 42139, "short": 79740}


class Options(HubOptions):
    """Which variant, and where to read it from."""

    variant: Literal["long", "short"] = Field("long", description="summary is the TL;DR (long) or the title (short)")


def dataset(variant: str) -> HubDataset:
    """Return the facts of one variant."""
    return HubDataset(
        name="reddit_tifu",
        hub_id="ctr4si/reddit_tifu",
        licence="mit (card)",
        document_column="documents",
        summary_column=SUMMARY_COLUMNS[variant],
        config=variant,
        version=variant,
        routes=(converted_route(variant, ["train"]), main_route(variant + "/{split}*.parquet", ["train"])),
        num_examples={"train": NUM_EXAMPLES[variant]},
        own_split=(0.1, 0.1),
        notes=("split by the hash of the post: not the split of the PEGASUS paper",),
    )


def fetch(options: Options) -> None:
    """Download the files, unless they are here; raises as `fetch_hub_dataset` does."""
    fetch_hub_dataset(dataset(options.variant), options)


def load(options: Options) -> Corpus:
    """Load the dataset; raises as `load_hub_dataset` does."""
    return load_hub_dataset(dataset(options.variant), options)
