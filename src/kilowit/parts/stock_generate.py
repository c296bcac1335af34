"""Write tokens with the `generate` of transformers: the stock path, in batches of similar length.

The phase ``predict`` of a run and the runtime ``torch`` both go this way, so that they write the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, StoppingCriteria, StoppingCriteriaList

from kilowit.parts.model import LoadedModel
from kilowit.parts.padding import source_batch
from kilowit.parts.pretrained import special_ids
from kilowit.parts.runtime import GenerateOptions, OnDone, OnTokens, TokenFeed
from kilowit.parts.runtime_request import check_request


@dataclass(frozen=True)
class WrittenBatch:
    """What one call of `generate` wrote."""

    places: list[int]  # of its sources in the call
    tokens: list[list[int]]  # new tokens of each
    wall_second: float


def write_batches(
    model: Any,
    sources: Sequence[Sequence[int]],
    *,
    config: Any,
    batch_size: int,
    pad_token_id: int,
    synchronize: Callable[[], None] = lambda: None,
    feed: TokenFeed | None = None,
) -> Iterator[WrittenBatch]:
    """Yield batches as they are written, longest sources first: what does not fit fails at once.

    Args:
        model: an encoder-decoder on its device, in evaluation mode.
        config: `transformers.GenerationConfig`.
        synchronize: waits for the device, so that a batch's wall time is its own.
        feed: told the tokens of a greedy search as they are chosen; a beam search keeps its own to the end.
    """
    does_tell = bool(feed) and config.num_beams == 1 and isinstance(model, GenerationMixin)
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    for start in range(0, len(sources), batch_size):
        places = order[start : start + batch_size]
        began = time.perf_counter()
        inputs = source_batch([sources[i] for i in places], pad_token_id)
        end_ids = end_token_ids(config)
        watch = {"stopping_criteria": StoppingCriteriaList([_Teller(feed, places, end_ids)])} if does_tell else {}
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        ids_BT = model.generate(**inputs, **watch, generation_config=config)
        synchronize()
        wall_second = time.perf_counter() - began
        yield WrittenBatch(places, [new_tokens(row[1:], end_ids) for row in ids_BT.tolist()], wall_second)


class _Teller(StoppingCriteria):  # type: ignore[misc]
    """Called by `generate` after each token of a greedy search: hands it on, and stops what nobody wants."""

    def __init__(self, feed: Any, places: Sequence[int], end_ids: Sequence[int]) -> None:
        self.feed, self.places, self.end_ids = feed, places, end_ids
        self.is_over = [False] * len(places)

    def __call__(self, input_ids: Any, scores: Any, **others: Any) -> Any:
        for index, token in enumerate(input_ids[:, -1].tolist()):
            if not self.is_over[index]:  # what follows an end is padding
                is_wanted = self.feed.tell(self.places[index], [token])
                self.is_over[index] = token in self.end_ids or not is_wanted
        return torch.tensor(self.is_over, device=input_ids.device)


def new_tokens(row: Sequence[int], end_ids: Sequence[int]) -> list[int]:
    """Return a row up to and with its first end token: what follows is padding.

    >>> new_tokens([7, 8, 2, 1, 1], [2])
    [7, 8, 2]
    """
    end = next((i for i, token in enumerate(row) if token in end_ids), len(row) - 1)
    return list(row[: end + 1])


def end_token_ids(config: Any) -> tuple[int, ...]:
    """Return the tokens that end a summary."""
    ids = config.eos_token_id
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(ids)


def search_config(model: Any, options: GenerateOptions) -> GenerationConfig:
    """Return what `generate` needs: the model's special tokens and the settings of this call, nothing else."""
    beams: dict[str, Any] = {}
    if options.num_beams > 1:  # transformers warns of settings that a greedy search does not read
        beams = {"length_penalty": options.length_penalty, "early_stopping": options.early_stopping}
    return GenerationConfig(
        **special_ids(model),
        **beams,
        num_beams=options.num_beams,
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        do_sample=False,
    )


@contextmanager
def _without_own_settings(model: Any) -> Iterator[None]:
    """Hide a checkpoint's own settings: `generate` takes from them what a call does not name, a minimum length say."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


class StockGenerator:
    """The runtime ``torch``: any family, through transformers."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        options: GenerateOptions,
        on_done: OnDone | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[list[int]]:
        """Return the new tokens of each source; see `kilowit.parts.runtime.TokenGenerator`.

        Raises:
            PartError: see `check_request`.
        """
        model, family = self.loaded.model, self.loaded.family
        check_request(sources, options, family.position_limits(model.config.to_dict()), model.config.vocab_size)
        written: list[list[int]] = [[] for _ in sources]
        feed = TokenFeed(on_tokens, len(sources))
        config = search_config(model, options)
        with torch.inference_mode(), _without_own_settings(model):
            batches = write_batches(
                model,
                sources,
                config=config,
                batch_size=options.batch_size,
                pad_token_id=config.pad_token_id,
                feed=feed,
            )
            for batch in batches:
                for place, tokens in zip(batch.places, batch.tokens, strict=True):
                    written[place] = feed.finish(place, tokens)
                if on_done is not None:
                    on_done(batch.places)
        return written
