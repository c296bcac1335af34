"""The runtime torch_fast: sort, encode, decode together, let go what is finished.

Tensors: B sources, S source positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psutil
import torch

from kilowit.parts.fast_batch import RETIRE_FRACTION, DecodeBatch
from kilowit.parts.fast_decoder import FastDecoder, Segment
from kilowit.parts.fast_graph import GRAPH_ROWS, NUM_GRAPHS, SOURCE_MULTIPLE, GraphedBatch
from kilowit.parts.fast_search import SpecialTokens, TokenRules
from kilowit.parts.fast_weights import read_decoder
from kilowit.parts.model import LoadedModel, PositionLimits
from kilowit.parts.padding import source_batch
from kilowit.parts.pretrained import special_ids
from kilowit.parts.runtime import GenerateOptions, OnDone, OnTokens, TokenFeed
from kilowit.parts.runtime_request import check_request
from kilowit.parts.stock_generate import new_tokens

MEMORY_FRACTION: Final = 0.6  # of what is free: the rest is the encoder's, and for what others take meanwhile
ENCODED_TOKENS: Final = {"cpu": 4096, "cuda": 32768}  # padded source tokens that are encoded at once
NUM_ENCODED: Final = {"cpu": 4, "cuda": 64}  # sources that are encoded together though their lengths differ
SHORTEST_FRACTION: Final = 0.8  # of the longest length: shorter sources begin a segment of their own
FLOAT_BYTE: Final = 4
CUDA_MULTIPLE: Final = 16  # see fast_batch.KEYS_MULTIPLE


class BatchGenerator(ABC):
    """Searches with a decoder of `fast_decoder`'s kind: in batches, longest sources first.

    Args:
        decoder: steps and reads sources; on `device`.
        limits: longest source and target.
    """

    def __init__(self, decoder: Any, tokens: SpecialTokens, limits: PositionLimits, device: torch.device) -> None:
        self.decoder, self.tokens, self.device, self._limits = decoder, tokens, device, limits
        self._graphs: OrderedDict[Any, GraphedBatch] = OrderedDict()
        self._pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None

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
        size = self.decoder.vocabulary_size
        check_request(sources, options, self._limits, size)
        tokens = self.tokens
        written: list[list[int]] = [[] for _ in sources]
        feed = TokenFeed(on_tokens, len(sources))
        with torch.inference_mode():
            rules = TokenRules(tokens, options, size, self.device)
            for places in self.plan_batches(sources, options):
                for done, rows in self._decode([sources[i] for i in places], places, rules, feed):
                    for place, row in zip(done, rows, strict=True):
                        written[place] = feed.finish(place, new_tokens(row, tokens.end))
                    if on_done is not None:
                        on_done(done)
        return written

    def plan_batches(self, sources: Sequence[Sequence[int]], options: GenerateOptions) -> Iterator[list[int]]:
        """Yield what is decoded together, longest sources first, within the batch size and the memory."""
        budget_byte, used_byte = self._budget_byte(), 0
        batch: list[int] = []
        for place in sorted(range(len(sources)), key=lambda i: -len(sources[i])):
            own_byte = self._source_byte(len(sources[place]), options)
            if batch and (len(batch) == options.batch_size or used_byte + own_byte > budget_byte):
                yield batch
                batch, used_byte = [], 0
            batch.append(place)
            used_byte += own_byte
        if batch:
            yield batch

    def _budget_byte(self) -> float:
        if self.device.type == "cuda":
            free_byte, _ = torch.cuda.mem_get_info(self.device)
            cached_byte = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return MEMORY_FRACTION * float(free_byte + cached_byte)
        return MEMORY_FRACTION * float(psutil.virtual_memory().available)

    def _source_byte(self, length: int, options: GenerateOptions) -> int:
        """Return what one source takes while it is decoded: caches, and scores of its beams in two formats."""
        position_byte: int = sum(pair.nbytes for pair in self.decoder.empty_cache(1, 1, 1).layers)
        caches = position_byte * (length + options.num_beams * options.max_new_tokens)
        vocabulary_size: int = self.decoder.vocabulary_size
        return caches + options.num_beams * vocabulary_size * 3 * FLOAT_BYTE

    def _decode(
        self, sources: Sequence[Sequence[int]], places: Sequence[int], rules: TokenRules, feed: TokenFeed
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Yield places and tokens of sources as they are finished."""
        is_graphed = self.device.type == "cuda" and len(sources) * rules.options.num_beams <= GRAPH_ROWS
        if is_graphed:
            graphed = self._graph(sources, rules)
            batch = graphed.fill(self.encode(sources, SOURCE_MULTIPLE), places)
        else:
            batch = DecodeBatch(self.decoder, rules, [self.encode(part) for part in self.split(sources)], places)
        advance = graphed.advance if is_graphed else batch.advance
        for place in range(rules.options.max_new_tokens):
            advance(place)
            if feed:
                batch.tell(place, feed)
            if not batch.is_time_to_look(place):
                continue
            is_finished = batch.finished(place)
            if all(is_finished):
                yield batch.take(is_finished)
                return
            is_worth_it = sum(is_finished) >= RETIRE_FRACTION[self.device.type] * len(is_finished)
            if any(is_finished) and is_worth_it and not is_graphed:
                yield batch.take(is_finished)
                batch.retire(is_finished)

    def _graph(self, sources: Sequence[Sequence[int]], rules: TokenRules) -> GraphedBatch:
        """Return the graph for this many sources of about this length, captured if it is new."""
        length = -(-max(map(len, sources)) // SOURCE_MULTIPLE) * SOURCE_MULTIPLE
        key = (len(sources), length, rules.options)
        if key not in self._graphs:
            if len(self._graphs) == NUM_GRAPHS:
                self._graphs.popitem(last=False)
            self._graphs[key] = GraphedBatch(self.decoder, rules, len(sources), length, self._pool)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def split(self, sources: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
        """Yield runs of sources, which come longest first, that are encoded with little padding."""
        kind, start = self.device.type, 0
        for end in range(1, len(sources) + 1):
            longest, number = len(sources[start]), end - start
            if end < len(sources):
                is_short = number >= NUM_ENCODED[kind] and len(sources[end]) < SHORTEST_FRACTION * longest
                if not is_short and (number + 1) * longest <= ENCODED_TOKENS[kind]:
                    continue
            yield sources[start:end]
            start = end

    def encode(self, sources: Sequence[Sequence[int]], multiple: int | None = None) -> Segment:
        """Read sources together: their keys and values, padded to the longest, rounded up to `multiple`."""
        multiple = multiple or (CUDA_MULTIPLE if self.device.type == "cuda" else 1)
        inputs = source_batch(sources, self.tokens.pad, multiple)
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        return self.read(**inputs)

    @abstractmethod
    def read(self, input_ids: Any, attention_mask: Any) -> Segment:
        """Encode sources [B, S] and compute their keys and values."""


class FastGenerator(BatchGenerator):
    """A BART, PEGASUS or T5 that writes the tokens of transformers' `generate`, cheaper."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Read the decoder's weights; the encoder stays as it is.

        Raises:
            PartError: see `read_decoder`.
        """
        self.model = loaded.model
        limits = loaded.family.position_limits(loaded.model.config.to_dict())
        decoder = FastDecoder(read_decoder(loaded.model))
        super().__init__(decoder, special_tokens(loaded.model), limits, loaded.model.device)

    def read(self, input_ids: Any, attention_mask: Any) -> Segment:
        """Encode sources [B, S] and compute their keys and values."""
        states_BSD = self.model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask)[0]
        segment: Segment = self.decoder.read_source(states_BSD, attention_mask)
        return segment


def special_tokens(model: Any) -> SpecialTokens:
    """Return the tokens that begin, end and fill what a model writes, with transformers' rules for those it lacks."""
    ids = special_ids(model)
    end = _several(ids.get("eos_token_id"))
    start = ids.get("decoder_start_token_id", ids.get("bos_token_id"))
    assert start is not None, "an encoder-decoder has a token to begin with"
    pad = ids.get("pad_token_id", end[0] if end else start)
    return SpecialTokens(start, pad, end, ids.get("forced_bos_token_id"), _several(ids.get("forced_eos_token_id")))


def _several(ids: int | Sequence[int] | None) -> tuple[int, ...]:
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(sorted(ids))
