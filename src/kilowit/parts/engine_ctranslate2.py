"""Run a model that was converted to CTranslate2, with CTranslate2's own search: no torch, no transformers, no numpy.

This file is copied into exported folders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ctranslate2

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions, OnDone, OnTokens, RuntimeOptions, TokenFeed
from kilowit.parts.runtime_request import check_request
from kilowit.parts.text_codec import Manifest

VOCABULARY_FILE: Final = "shared_vocabulary.json"
COMPUTE_TYPES: Final = {"fp32": "float32", "int8": "int8"}


class CTranslate2Generator:
    """A converted model in memory."""

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        self.manifest = Manifest.read(folder)
        try:
            self.words: list[str] = json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8"))
            self.translator = ctranslate2.Translator(
                str(folder),
                device="cpu",
                compute_type=COMPUTE_TYPES[options.precision or self.manifest.precision],
                intra_threads=options.num_threads or 0,
            )
        except (OSError, ValueError, RuntimeError) as error:
            message = f"CTranslate2 cannot load the model ({error})"
            raise PartError(message, place=str(folder), hint="Export the summarizer again.") from error
        self.ids = {word: number for number, word in enumerate(self.words)}

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
        check_request(sources, options, self.manifest.positions, self.manifest.vocabulary_size)
        written: list[list[int]] = [[] for _ in sources]
        feed = TokenFeed(on_tokens, len(sources))
        order = sorted(range(len(sources)), key=lambda place: -len(sources[place]))
        for first in range(0, len(order), options.batch_size):
            places = order[first : first + options.batch_size]
            rows = self._write([sources[i] for i in places], options, places, feed)
            for place, tokens in zip(places, rows, strict=True):
                written[place] = feed.finish(place, tokens)
            if on_done is not None:
                on_done(places)
        return written

    def _write(
        self, rows: Sequence[Sequence[int]], options: GenerateOptions, places: Sequence[int], feed: TokenFeed
    ) -> list[list[int]]:
        special = self.manifest.special_ids
        has_forced_end = special.forced_eos is not None
        if has_forced_end and options.max_new_tokens == 1:
            return [[special.forced_eos] for _ in rows]  # type: ignore[list-item]
        prefix = None if special.forced_bos is None else [[self.words[special.forced_bos]]] * len(rows)
        # The end token counts among ours, not among theirs; where it is forced it takes the last place.
        longest = options.max_new_tokens - has_forced_end
        search: dict[str, Any] = {
            "beam_size": options.num_beams,
            "length_penalty": options.length_penalty,
            "no_repeat_ngram_size": options.no_repeat_ngram_size,
            "min_decoding_length": min(options.min_new_tokens, longest),
            "max_decoding_length": longest,
        }
        if feed and options.num_beams == 1:  # it keeps its beams to itself

            def tell(step: Any) -> bool:
                forced = [] if special.forced_bos is None or step.step else [special.forced_bos]
                return not feed.tell(places[step.batch_id], [*forced, step.token_id])

            search["callback"] = tell
        texts = [[self.words[token] for token in row] for row in rows]
        results = self.translator.translate_batch(
            texts,
            target_prefix=prefix,
            end_token=[self.words[token] for token in special.eos],
            return_end_token=True,
            max_input_length=0,
            **search,
        )
        return [self._ended([self.ids[word] for word in result.hypotheses[0]], options) for result in results]

    def _ended(self, tokens: list[int], options: GenerateOptions) -> list[int]:
        """Return tokens up to and with the end token, which is put where it was forced."""
        special = self.manifest.special_ids
        is_cut = len(tokens) == options.max_new_tokens - 1 and tokens[-1] not in special.eos
        if special.forced_eos is not None and is_cut:
            return [*tokens, special.forced_eos]
        return tokens
