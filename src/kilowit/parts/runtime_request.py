"""What a runtime is asked to do, checked before it computes: one clear error for what no model could do.

This file is copied into exported folders: it imports `kilowit.errors` and `kilowit.parts.runtime` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions


class PositionLimits(Protocol):
    """Longest source and target that a model has positions for, tokens; None = no limit."""

    @property
    def source(self) -> int | None: ...  # noqa: D102

    @property
    def target(self) -> int | None: ...  # noqa: D102


def check_request(
    sources: Sequence[Sequence[int]], options: GenerateOptions, limits: PositionLimits, vocabulary_size: int
) -> None:
    """Refuse sources that the model cannot read and settings that nothing can search by.

    Raises:
        PartError: a source without tokens, with more than the model has positions for, or with an id that is not in
            the vocabulary; a count that is out of its range.
    """
    _check_options(options, limits)
    for place, source in enumerate(sources):
        if not len(source):
            raise PartError(f"source {place} has no tokens", hint="Leave it out, or give its closing token.")
        if limits.source is not None and len(source) > limits.source:
            raise PartError(
                f"source {place} has {len(source)} tokens, the model has positions for {limits.source}",
                hint=f"Cut sources to {limits.source} tokens.",
            )
        if min(source) < 0 or max(source) >= vocabulary_size:
            raise PartError(
                f"source {place} has a token that is not among the model's {vocabulary_size}",
                hint="Tokenize with the tokenizer that the model was trained with.",
            )


def _check_options(options: GenerateOptions, limits: PositionLimits) -> None:
    least = {"num_beams": 1, "max_new_tokens": 1, "min_new_tokens": 0, "no_repeat_ngram_size": 0, "batch_size": 1}
    for name, minimum in least.items():
        if getattr(options, name) < minimum:
            raise PartError(f"{name} is {getattr(options, name)}", hint=f"Give at least {minimum}.")
    if options.min_new_tokens > options.max_new_tokens:
        raise PartError(
            f"min_new_tokens {options.min_new_tokens} is above max_new_tokens {options.max_new_tokens}",
            hint="Lower min_new_tokens.",
        )
    if limits.target is not None and options.max_new_tokens > limits.target:
        raise PartError(
            f"max_new_tokens is {options.max_new_tokens}, the model has positions for {limits.target}",
            hint=f"Give at most {limits.target}.",
        )
