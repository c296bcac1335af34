"""cnn_dailymail: news articles and their highlights, version 3.0.0 (not anonymized).

What it is     CNN and Daily Mail articles -> the bullet points that their editors wrote, one a line.
Examples       287,113 / 13,368 / 11,490; 781 -> 56 words.
Columns        article, highlights, id. The line ends in highlights are what ROUGE-Lsum splits on.
From           abisee/cnn_dailymail on the hub; or `path`: a folder with the same files.
Licence        Apache-2.0 for the dataset by its card; the articles are their publishers'.
Source         Hermann et al. 2015, arXiv 1506.03340; See et al. 2017, arXiv 1704.04368.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from kilowit.parts.hub_dataset import (
    HubDataset,
    HubOptions,
    converted_route,
    fetch_hub_dataset,
    load_hub_dataset,
    main_route,
)

DATASET: Final = HubDataset(
    name="cnn_dailymail",
    hub_id="abisee/cnn_dailymail",
    licence="apache-2.0 (card)",
    document_column="article",
    summary_column="highlights",
    id_column="id",
    config="3.0.0",
    version="3.0.0",
    routes=(main_route("3.0.0/{split}-*.parquet"), converted_route("3.0.0")),
    num_examples={"train": 287113, "validation": 13368, "test": 11490},
)

Options = HubOptions
fetch = partial(fetch_hub_dataset, DATASET)
load = partial(load_hub_dataset, DATASET)
