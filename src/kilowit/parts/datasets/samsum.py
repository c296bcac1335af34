"""samsum: messenger dialogues and what they were about.

What it is     Dialogues written by linguists in the manner of messenger chats -> a summary in the third person.
Examples       14,732 / 818 / 819; 94 -> 20 words. 42 test and 47 validation dialogues are in train too, with other
               summaries.
Columns        dialogue, summary, id. Each turn is a line.
From           knkarthick/samsum on the hub (Samsung/samsum was taken off in May 2025); or `path`: a folder with the
               same files. One train row has an empty dialogue and is left out.
Licence        CC BY-NC-ND 4.0: not for commercial use.
Source         Gliwa et al. 2019, arXiv 1911.12237.
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
    name="samsum",
    hub_id="knkarthick/samsum",
    licence="cc-by-nc-nd-4.0",
    document_column="dialogue",
    summary_column="summary",
    id_column="id",
    routes=(main_route("{split}*.csv"), main_route("*{split}*.parquet"), converted_route("default")),
    num_examples={"train": 14732, "validation": 818, "test": 819},
)

Options = HubOptions
fetch = partial(fetch_hub_dataset, DATASET)
load = partial(load_hub_dataset, DATASET)
