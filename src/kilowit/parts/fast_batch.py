"""Sources that are decoded together: their caches, their search, and the loop over steps.

Tensors: B sources, K beams, T target positions, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import torch

from kilowit.parts.fast_decoder import Segment, SelfCache
from kilowit.parts.fast_search import BeamSearch, GreedySearch, TokenRules
from kilowit.parts.runtime import TokenFeed

KEYS_MULTIPLE: Final = 16  # CUDA's attention kernels copy a mask whose last dimension is not a multiple of it
CHECK_EVERY: Final = 4  # steps between two looks at what is finished on a GPU: each look waits for it
RETIRE_FRACTION: Final = {"cpu": 0.1, "cuda": 0.25}  # of the sources that are finished: then the rest closes up


class Decoder(Protocol):
    """What a batch asks of a decoder; `kilowit.parts.fast_decoder.FastDecoder` says what each is."""

    reads_all_positions: bool

    def empty_cache(self, num_sources: int, num_beams: int, num_positions: int) -> SelfCache: ...  # noqa: D102

    def position_bias(self, num_positions: int) -> Any: ...  # noqa: D102

    def self_mask(self, ancestors_BKT: Any, bias_HT: Any) -> Any: ...  # noqa: D102

    def step(  # noqa: D102
        self, tokens_BK: Any, step: Any, place: int | None, cache: SelfCache, segments: list[Segment], mask: Any
    ) -> Any: ...


class DecodeBatch:
    """Sources in decoding, from the start token to their last."""

    def __init__(self, decoder: Decoder, rules: TokenRules, segments: list[Segment], places: Sequence[int]) -> None:
        """Make room for the summaries of encoded sources.

        Args:
            places: of the sources in the call, in the order of the segments.
        """
        options = rules.options
        self.decoder, self.rules, self.segments, self.places = decoder, rules, segments, list(places)
        self.device_type = torch.device(rules.device).type
        self.num_beams = options.num_beams
        multiple = KEYS_MULTIPLE if self.device_type == "cuda" else 1
        self.num_positions = -(-options.max_new_tokens // multiple) * multiple
        self.multiple = multiple
        num_sources = len(self.places)
        self.search = (GreedySearch if options.num_beams == 1 else BeamSearch)(rules, num_sources)
        self.cache = decoder.empty_cache(num_sources, options.num_beams, self.num_positions)
        self.ancestors_BKT = torch.full(
            (num_sources, options.num_beams, self.num_positions), -1, dtype=torch.int8, device=rules.device
        )
        self.step_1 = torch.zeros(1, dtype=torch.long, device=rules.device)
        self._beams_K1 = torch.arange(options.num_beams, dtype=torch.int8, device=rules.device)[:, None]
        self._bias_HTT = decoder.position_bias(self.num_positions)

    def restart(self) -> None:
        """Begin anew, in the same tensors."""
        self.search.restart()
        self.ancestors_BKT.fill_(-1)
        self.step_1.zero_()

    def advance(self, place: int | None = None) -> None:
        """Write one more token of every beam.

        Args:
            place: the step; None = read from the device, so that the same kernels run in every step.
        """
        if self.decoder.reads_all_positions:
            place = None
        num_sources = len(self.ancestors_BKT)
        self.ancestors_BKT.index_copy_(2, self.step_1, self._beams_K1.expand(num_sources, -1, -1))
        logits = self.decoder.step(
            self.search.tokens_BK, self.step_1, place, self.cache, self.segments, self._mask(place)
        )
        parents_BK = self.search.advance(logits, self.step_1)
        if parents_BK is not None:
            lines_BKT = parents_BK[..., None].expand(-1, -1, self.num_positions)
            self.ancestors_BKT.copy_(self.ancestors_BKT.gather(1, lines_BKT))
        self.step_1 += 1

    def _mask(self, place: int | None) -> Any:
        """Return which written positions each beam reads; all of them are looked at where the step is not known."""
        number = self.num_positions if place is None else -(-(place + 1) // self.multiple) * self.multiple
        bias_HT = None
        if self._bias_HTT is not None:
            bias_HT = self._bias_HTT.index_select(1, self.step_1)[:, 0, :number]
        return self.decoder.self_mask(self.ancestors_BKT[..., :number], bias_HT)

    def is_time_to_look(self, place: int) -> bool:
        """Whether anything can be finished after this step, and asking is due."""
        since = place - self.rules.options.min_new_tokens
        if place == self.rules.last_step:
            return True
        return since >= 0 and (self.device_type == "cpu" or since % CHECK_EVERY == CHECK_EVERY - 1)

    def finished(self, place: int) -> list[bool]:
        """Return which sources are finished; waits for the device."""
        if place == self.rules.last_step:
            return [True] * len(self.places)
        return list(self.search.done().tolist())

    def tell(self, place: int, feed: TokenFeed) -> None:
        """Hand on the tokens that are settled after this step; waits for the device. Let go what nobody wants."""
        rows, counts = self.search.settled(place)
        is_unwanted = [
            not feed.tell(source, row[feed.num_told(source) : count])
            for source, row, count in zip(self.places, rows.tolist(), counts.tolist(), strict=True)
        ]
        if any(is_unwanted):
            self.search.stop(torch.tensor(is_unwanted, device=self.rules.device))

    def take(self, is_taken: Sequence[bool]) -> tuple[list[int], list[list[int]]]:
        """Return places and tokens of some sources."""
        numbers = [i for i, taken in enumerate(is_taken) if taken]
        rows = self.search.best().index_select(0, torch.tensor(numbers, device=self.rules.device))
        return [self.places[i] for i in numbers], rows.tolist()

    def retire(self, is_retired: Sequence[bool]) -> None:
        """Let sources go; the others close up, so that no step is computed for those that are finished."""
        kept = [i for i, retired in enumerate(is_retired) if not retired]
        self.places = [self.places[i] for i in kept]
        kept_B = torch.tensor(kept, device=self.rules.device)
        self.search.select(kept_B)
        self.cache.select(kept_B)
        self.ancestors_BKT = self.ancestors_BKT.index_select(0, kept_B)
        segments, start = [], 0
        for segment in self.segments:
            end = start + segment.num_sources
            own = [i - start for i in kept if start <= i < end]
            if len(own) == segment.num_sources:
                segments.append(segment)
            elif own:
                segments.append(segment.select(torch.tensor(own, device=self.rules.device)))
            start = end
        self.segments = segments
