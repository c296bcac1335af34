"""What the books of a server keep sums of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple


class Account(NamedTuple):
    """What a sum is kept of. Idling and loading have no model and no client."""

    hour_utc: str  # 2026-11-23T17
    model: str
    client: str


@dataclass(kw_only=True)
class Sum:
    """What one account has used. Joules count those batches alone whose energy was read."""

    num_documents: int = 0
    num_refused: int = 0  # requests that were not taken on, or given up: 429 and 503
    num_input_tokens: int = 0
    num_output_tokens: int = 0
    second: float = 0.0
    joule: float = 0.0
    joule_low: float = 0.0
    joule_high: float = 0.0

    def add(self, other: Sum) -> None:
        """Add another sum."""
        for item in fields(Sum):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))
