"""docstrings: what a piece of Python is for, from its docstring's body. Needs no download.

What it is     Pairs harvested from the Python packages installed beside kilowit and from the standard library: the body
               of a docstring -> its summary line (PEP 257). About 18,000 in an environment with torch and transformers,
               about 74 -> 10 words. Sources are parsed, never run.
Splits         whole packages: in the order of the sha256 of their names, packages go to test until it holds 5 % of the
               pairs, then to validation, the rest to train. A package of more than 2 % is always in train. So no
               package is in two splits.
Options        include_standard_library (true).
Left out       code, examples, tables, references; bodies under 15 or over 400 words; duplicates of either side.
Not for        comparing machines: another set of packages is another dataset, and its fingerprint says so.
Licence        that of each package; the pairs stay on this machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

from pydantic import Field

from kilowit.errors import DataError
from kilowit.parts.corpus import ListedRows, Provenance, build_corpus
from kilowit.parts.dataset import SPLITS, Corpus, DatasetOptions
from kilowit.parts.docstring_harvest import HarvestedPair, harvest_installed, is_harvested

LICENCE: Final = "that of each installed package"
HELD_OUT_FRACTION: Final = 0.05  # of the pairs, for test and for validation each
MAX_HELD_OUT_PACKAGE_FRACTION: Final = 0.02  # a larger package would be most of its split


class Options(DatasetOptions):
    """What to harvest."""

    include_standard_library: bool = Field(True, description="besides the installed packages")


def fetch(options: Options) -> None:
    """Harvest the pairs into the cache: what a download is for other datasets, and booked as one."""
    if not is_harvested(include_standard_library=options.include_standard_library):
        harvest_installed(include_standard_library=options.include_standard_library)


def load(options: Options) -> Corpus:
    """Harvest the pairs, or read them from the cache of this set of packages.

    Raises:
        DataError: too few packages with docstrings to hold any out.
    """
    harvest = harvest_installed(include_standard_library=options.include_standard_library)
    split_of = split_packages(Counter(pair.package for pair in harvest.pairs))
    notes = (f"the harvest could not be cached: {harvest.cache_problem}",) if harvest.cache_problem else ()
    provenance = Provenance(
        name="docstrings",
        source=f"packages:{harvest.fingerprint[:12]}",
        licence=LICENCE,
        document_column="body",
        summary_column="summary line",
        revision=harvest.fingerprint,
        notes=notes,
    )
    rows = {name: _rows([pair for pair in harvest.pairs if split_of[pair.package] == name]) for name in SPLITS}
    return build_corpus(provenance, rows, options)


def split_packages(num_pairs_of: Counter[str]) -> dict[str, str]:
    """Assign each package to one split, by the order of the hashes of their names.

    Raises:
        DataError: a split would be empty.
    """
    total = num_pairs_of.total()
    order = sorted(num_pairs_of, key=lambda package: hashlib.sha256(package.encode()).digest())
    num_pairs_in = Counter(dict.fromkeys(SPLITS, 0))
    split_of: dict[str, str] = {}
    for package in order:
        split = "train"
        if num_pairs_of[package] <= MAX_HELD_OUT_PACKAGE_FRACTION * total:
            split = next((s for s in ("test", "validation") if num_pairs_in[s] < HELD_OUT_FRACTION * total), "train")
        split_of[package] = split
        num_pairs_in[split] += num_pairs_of[package]
    if empty := [split for split in SPLITS if not num_pairs_in[split]]:
        raise DataError(
            f"{len(order)} packages with docstrings are too few: the {empty[0]} split is empty",
            place="docstrings",
            hint="Set include_standard_library: true, or use local_files.",
        )
    return split_of


def _rows(pairs: Sequence[HarvestedPair]) -> ListedRows:
    return ListedRows([pair.id for pair in pairs], [pair.document for pair in pairs], [pair.summary for pair in pairs])
