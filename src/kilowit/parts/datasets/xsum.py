"""xsum: one-sentence summaries of BBC articles (extreme summarization).

What it is     News articles of 2010-2017 -> their first sentence, which was taken off the article.
Examples       204,045 / 11,332 / 11,334; 431 -> 23 words.
Columns        document, summary, id.
From           EdinburghNLP/xsum on the hub, converted to parquet; or `path`: a folder with the same files.
Licence        not stated: BBC text, for research.
Source         Narayan et al. 2018, arXiv 1808.08745.
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
    name="xsum",
    hub_id="EdinburghNLP/xsum",
    licence="not stated (BBC articles, research use)",
    document_column="document",
    summary_column="summary",
    id_column="id",
    config="default",
    routes=(converted_route("default"), main_route("*{split}*.parquet")),
    num_examples={"train": 204045, "validation": 11332, "test": 11334},
)

Options = HubOptions
fetch = partial(fetch_hub_dataset, DATASET)
load = partial(load_hub_dataset, DATASET)
