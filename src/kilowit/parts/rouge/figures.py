"""What every ROUGE engine takes and returns. Two engines, one interface: `measure`, `Fractions` by type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kilowit.errors import DataError, PartError, near_name_hint

TYPES: Final = ("rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum")

# Tokens of the reference times tokens of the prediction. A common subsequence takes an eighth of it in bytes here;
# rouge-score's table takes 8 bytes a cell, so it ends long before.
MAX_TABLE_CELLS: Final = 1 << 30


@dataclass(frozen=True)
class Fractions:
    """Precision, recall and F1 of one ROUGE type, each with one value per pair, in [0, 1]."""

    precision: list[float]
    recall: list[float]
    fmeasure: list[float]


def check_types(types: Iterable[str]) -> tuple[str, ...]:
    """Return the types as a tuple.

    Raises:
        PartError: one is not a ROUGE type that we compute.
    """
    asked = tuple(types)
    for name in asked:
        if name not in TYPES:
            raise PartError(f'no ROUGE type "{name}"', hint=near_name_hint(name, TYPES))
    return asked


def max_order(types: Iterable[str]) -> int:
    """Return the n of the longest n-grams that the types count, 0 for none."""
    return max((int(name[5:]) for name in types if name[5:].isdigit()), default=0)


def too_long(index: int, num_reference_tokens: int, num_prediction_tokens: int) -> DataError:
    """Return the error for a pair whose table of common subsequences has more than `MAX_TABLE_CELLS`."""
    return DataError(
        f"pair {index}: a prediction of {num_prediction_tokens:,} words against a reference of"
        f" {num_reference_tokens:,} is too long for ROUGE-L",
        hint="Check that each line of the file is one example, or score rouge1 and rouge2 alone.",
    )
