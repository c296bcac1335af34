"""truncate: read less of each document, learn from less of each summary.

What it does   Cuts sources to max_source_tokens and training targets to max_target_tokens, below what the study says.
               Prediction reads the cut sources too; the reference that scores it stays whole.
When to use    When the point stands early (news), or as the honest rival of long-input models.
When not       Dialogues, patents and papers, where the end matters.
Trade-off      train.energy_total_joule x0.2-0.95 | train.memory_gpu_max_byte x0.3-1.0 | rouge2 -0.03..+0.005; nearly
               in proportion to the tokens left, attention's scores to their square
Options        max_source_tokens, max_target_tokens (at least one; each below the study's)
Works with     all others.   Conflicts with  nothing.
Source         See et al. 2017, arXiv 1704.04368, section 5: 400 of about 800 source tokens raised ROUGE on
               CNN/DailyMail. Ranges ours, from FLOPs per token.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, Self

from pydantic import Field, model_validator

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.settings import Block, Count, Settings

CONFLICTS_WITH: Final = ()
FAMILIES: Final = None
WITHOUT_TRAINING: Final = True
ENGINES: Final = ("trainer", "loop")
_FLOP: Final = "ours: FLOPs per token (parts/flop.py) for 20-95 % of the tokens left"
EXPECTS: Final = (
    Expectation("train.energy_total_joule", 0.2, 0.95, source=_FLOP),
    Expectation("train.memory_gpu_max_byte", 0.3, 1.0, source=_FLOP),
    Expectation("rouge2", -0.03, 0.005, kind="difference", source="arXiv 1704.04368 for the upper end; lower end ours"),
)


class Options(Block):
    """What to keep."""

    max_source_tokens: Count | None = Field(None, description="tokens of a document; None = as the study says")
    max_target_tokens: Count | None = Field(None, description="tokens of a summary; None = as the study says")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max_source_tokens is None and self.max_target_tokens is None:
            raise ValueError("give max_source_tokens, max_target_tokens or both")
        return self


def plan(settings: Settings, options: Options) -> Settings:
    """Lower the maxima.

    Raises:
        PartError: a maximum is not lower than the study's.
    """
    changes = {name: value for name, value in options.model_dump().items() if value is not None}
    for name, value in changes.items():
        if value >= getattr(settings.train, name):
            raise PartError(
                f'method "truncate": {name} {value} is not below train.{name} {getattr(settings.train, name)}',
                hint="It would cut nothing: choose a smaller number.",
            )
    return settings.with_train(**changes)


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the share of training examples that were cut, and how long the longest had been."""
    split = run.data.train
    sides = {
        "source": (options.max_source_tokens, split.source_lengths, split.num_source_tokens_whole),
        "target": (options.max_target_tokens, split.target_lengths, split.num_target_tokens_whole),
    }
    numbers: dict[str, float] = {}
    num_cut = 0
    for side, (maximum, lengths, wholes) in sides.items():
        if maximum is None:
            continue
        cut = sum(whole > length for whole, length in zip(wholes, lengths, strict=True))
        num_cut += cut
        numbers[f"{side}_truncated_fraction"] = cut / len(split)
        numbers[f"{side}_longest_tokens"] = max(lengths)
        numbers[f"{side}_longest_whole_tokens"] = max(wholes)
    return Evidence(num_cut > 0, numbers)


def cut_tokens(tokens: Sequence[int], maximum: int, num_closing: int) -> array[int]:
    """Keep the first tokens and the `num_closing` special tokens that end the text.

    >>> list(cut_tokens([0, 11, 12, 13, 2], 4, 1))
    [0, 11, 12, 2]
    """
    if len(tokens) <= maximum:
        return array("i", tokens)
    num_kept = max(maximum - num_closing, 0)
    return array("i", [*tokens[:num_kept], *tokens[len(tokens) - (maximum - num_kept) :]])
