"""Greedy and beam search in numpy, with the meaning of transformers' `generate`, over whatever computes the logits.

Sources are computed longest first, in batches of similar length; those that are finished leave the batch. What the
decoder needs of a source is held once, not once per beam. This file is copied into exported folders: besides numpy it
imports `kilowit.parts.runtime` and `kilowit.parts.text_codec` alone.

Shapes: A sources not yet finished, K beams, R = A x K rows, S source tokens, L tokens written and the start token, V
vocabulary, C candidates.
Source: transformers 5.23, generation/utils.py (_sample, _beam_search) and logits_process.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from kilowit.parts.runtime import GenerateOptions, OnDone, OnTokens, TokenFeed
from kilowit.parts.text_codec import SpecialIds

IMPOSSIBLE: Final = np.float32(-1.0e9)  # score of what may not be chosen, as in transformers
CROWDED_FRACTION: Final = 0.75  # a batch with fewer open sources than this of those it holds lets the others go
BLOCK: Final = 64  # columns that `_largest` looks at together


class StepModel(Protocol):
    """A batch of sources, encoded, and what their decoder has been told so far."""

    def step(self, tokens_AK: Any, parents_R: Any) -> Any:
        """Return the logits [R, V], float32, that follow one more token in each row.

        Args:
            tokens_AK: the token of each row.
            parents_R: which row of the last step each row goes on from; in the first step, which source.
        """
        ...

    def keep(self, kept_A: Any) -> None:
        """Hold these of the sources from now on, by their places among those held."""
        ...


class Encoder(Protocol):
    """Starts a `StepModel` on padded sources: ids and mask [A, S], int64."""

    def __call__(self, ids_AS: Any, mask_AS: Any) -> StepModel:
        """Encode."""
        ...


def search_sources(
    encode: Encoder,
    sources: Sequence[Sequence[int]],
    special: SpecialIds,
    options: GenerateOptions,
    on_done: OnDone | None = None,
    on_tokens: OnTokens | None = None,
) -> list[list[int]]:
    """Return the new tokens of each source, in order; see `kilowit.parts.runtime.TokenGenerator`."""
    feed = TokenFeed(on_tokens, len(sources))
    written: list[list[int]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda place: -len(sources[place]))
    search = _beam if options.num_beams > 1 else _greedy
    for first in range(0, len(order), options.batch_size):
        places = order[first : first + options.batch_size]
        ids_AS, mask_AS = pad([sources[place] for place in places], special.pad)
        steps = encode(ids_AS, mask_AS)
        for place, tokens in zip(places, search(steps, places, special, options, feed), strict=True):
            written[place] = feed.finish(place, tokens)
        if on_done is not None:
            on_done(places)
    return written


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Any, Any]:
    """Return ids and attention mask [A, S], int64, of some sources."""
    longest = max(len(row) for row in rows)
    ids_AS: Any = np.full((len(rows), longest), pad_id, np.int64)
    mask_AS: Any = np.zeros((len(rows), longest), np.int64)
    for index, row in enumerate(rows):
        ids_AS[index, : len(row)] = row
        mask_AS[index, : len(row)] = 1
    return ids_AS, mask_AS


def _greedy(
    model: StepModel, places: Sequence[int], special: SpecialIds, options: GenerateOptions, feed: TokenFeed
) -> list[list[int]]:
    num_sources = len(places)
    written: list[list[int]] = [[] for _ in range(num_sources)]
    places_A = np.arange(num_sources)  # of the sources held
    parents_A = places_A
    ids_AL: Any = np.full((num_sources, 1), special.decoder_start, np.int64)
    open_A: Any = np.ones(num_sources, bool)
    for num_written in range(options.max_new_tokens):
        logits_AV = model.step(ids_AL[:, -1:], parents_A)
        _constrain(logits_AV, ids_AL, num_written, special, options)
        tokens_A = logits_AV.argmax(axis=1)
        for index in np.flatnonzero(open_A):
            token = int(tokens_A[index])
            written[places_A[index]].append(token)
            if feed and not feed.tell(places[places_A[index]], [token]):
                open_A[index] = False
        open_A &= ~_is_end(tokens_A, special)
        if not open_A.any():
            break
        ids_AL = np.concatenate([ids_AL, tokens_A[:, None]], axis=1)
        parents_A = np.arange(len(places_A))
        if open_A.sum() < CROWDED_FRACTION * len(open_A):
            parents_A = np.flatnonzero(open_A)
            model.keep(parents_A)
            places_A, ids_AL, open_A = places_A[parents_A], ids_AL[parents_A], open_A[parents_A]
    return written


@dataclass
class _Beams:
    """The beams of the sources held: those that go on, and the best that have ended."""

    places_A: Any  # of the sources in the batch
    ids_AKL: Any
    scores_AK: Any  # sums of log probabilities
    ended_scores_AK: Any  # with the length penalty
    ended_AK: Any  # whether a beam has ended there
    ended_ids: list[list[list[int]]]  # of each source and beam, start token left out
    open_A: Any  # whether the ended ones may still change

    @classmethod
    def start(cls, num_sources: int, num_beams: int, start_id: int) -> _Beams:
        shape = (num_sources, num_beams)
        scores_AK: Any = np.zeros(shape, np.float32)
        scores_AK[:, 1:] = IMPOSSIBLE  # all beams are alike so far: only the first counts
        return cls(
            np.arange(num_sources),
            np.full((*shape, 1), start_id, np.int64),
            scores_AK,
            np.full(shape, IMPOSSIBLE, np.float32),
            np.zeros(shape, bool),
            [[[] for _ in range(num_beams)] for _ in range(num_sources)],
            np.ones(num_sources, bool),
        )

    def keep(self, kept_A: Any) -> None:
        for name in ("places_A", "ids_AKL", "scores_AK", "ended_scores_AK", "ended_AK", "open_A"):
            setattr(self, name, getattr(self, name)[kept_A])
        self.ended_ids = [self.ended_ids[index] for index in kept_A]


def _beam(
    model: StepModel, places: Sequence[int], special: SpecialIds, options: GenerateOptions, feed: TokenFeed
) -> list[list[int]]:
    num_sources, num_beams = len(places), options.num_beams
    written: list[list[int]] = [[] for _ in range(num_sources)]
    beams = _Beams.start(num_sources, num_beams, special.decoder_start)
    parents_R = np.arange(num_sources)
    for num_written in range(options.max_new_tokens):
        is_first = num_written == 0  # one row stands for all beams of a source
        ids_AKL = beams.ids_AKL[:, :1] if is_first else beams.ids_AKL
        logits_RV = model.step(np.ascontiguousarray(ids_AKL[:, :, -1]), parents_R)
        normalizers_R = _log_sum_exp(logits_RV)
        forced = _constrain(logits_RV, ids_AKL.reshape(len(logits_RV), -1), num_written, special, options)
        if forced is not None:
            logits_RV[:, forced] = normalizers_R  # so that its log probability is 0
        candidates = _candidates(logits_RV, normalizers_R, beams.scores_AK, special)
        sources_A1 = np.arange(len(beams.places_A))[:, None]
        came_from_AK = _advance(beams, candidates, num_written, special, options)
        parents_R = (sources_A1 if is_first else sources_A1 * num_beams + came_from_AK).ravel()
        if is_first:
            parents_R = np.repeat(sources_A1.ravel(), num_beams)
        if feed:
            _tell_settled(beams, places, feed)
        for index in np.flatnonzero(~beams.open_A):
            written[beams.places_A[index]] = beams.ended_ids[index][0]
        if not beams.open_A.any():
            break
        if beams.open_A.sum() < CROWDED_FRACTION * len(beams.open_A):
            kept_A = np.flatnonzero(beams.open_A)
            parents_R = parents_R.reshape(-1, num_beams)[kept_A].ravel()
            model.keep(kept_A)
            beams.keep(kept_A)
    for place, ended in zip(beams.places_A, beams.ended_ids, strict=True):
        written[place] = ended[0]
    return written


def _tell_settled(beams: _Beams, places: Sequence[int], feed: TokenFeed) -> None:
    """Hand on the tokens on which all beams agree, those that go on and those that have ended: one of them wins."""
    for index in np.flatnonzero(beams.open_A):
        place = places[beams.places_A[index]]
        num_told = feed.num_told(place)
        rows_KL = beams.ids_AKL[index, :, 1 + num_told :]
        num_agreed = _num_agreed((rows_KL == rows_KL[0]).all(axis=0))
        for ended, is_there in zip(beams.ended_ids[index], beams.ended_AK[index], strict=True):
            if is_there:
                rest = np.array(ended[num_told : num_told + num_agreed])
                num_agreed = _num_agreed(rest == rows_KL[0, : len(rest)])
        if not feed.tell(place, rows_KL[0, :num_agreed].tolist()):
            beams.open_A[index] = False


def _num_agreed(is_agreed_L: Any) -> int:
    """Return how many places there are before the first that differs."""
    return int(is_agreed_L.argmin()) if not is_agreed_L.all() else len(is_agreed_L)


@dataclass
class _Candidates:
    """The best continuations of each source, best first."""

    scores_AC: Any
    beams_AC: Any  # which beam each goes on from
    tokens_AC: Any


def _candidates(logits_RV: Any, normalizers_R: Any, scores_AK: Any, special: SpecialIds) -> _Candidates:
    """Return as many continuations as leave `num_beams` that do not end, whatever the best ones do."""
    num_sources, num_beams = scores_AK.shape
    num_wanted = max(2, 1 + len(special.eos)) * num_beams
    columns_RC = _largest(logits_RV, min(num_wanted, logits_RV.shape[1]))
    log_probabilities_RC = np.take_along_axis(logits_RV, columns_RC, axis=1) - normalizers_R[:, None]
    shape = (num_sources, -1, columns_RC.shape[1])  # one row a source in the first step
    scores_AKC = log_probabilities_RC.reshape(shape) + scores_AK[:, :, None]
    tokens_AKC = np.broadcast_to(columns_RC.reshape(shape), scores_AKC.shape)
    flat_AX = scores_AKC.reshape(num_sources, -1)
    best_AC = np.argsort(-flat_AX, axis=1, kind="stable")[:, :num_wanted]
    return _Candidates(
        np.take_along_axis(flat_AX, best_AC, axis=1),
        best_AC // columns_RC.shape[1],
        np.take_along_axis(tokens_AKC.reshape(num_sources, -1), best_AC, axis=1),
    )


def _advance(
    beams: _Beams, candidates: _Candidates, num_written: int, special: SpecialIds, options: GenerateOptions
) -> Any:
    """Let the best candidates end or go on; return which beam each beam goes on from, [A, K]."""
    is_last = num_written + 1 == options.max_new_tokens
    ends_AC = _is_end(candidates.tokens_AC, special) | is_last
    _end(beams, candidates, ends_AC, num_written, options)
    running_AC = candidates.scores_AC + ends_AC * IMPOSSIBLE
    chosen_AK = np.argsort(-running_AC, axis=1, kind="stable")[:, : options.num_beams]
    came_from_AK = np.take_along_axis(candidates.beams_AC, chosen_AK, axis=1)
    tokens_AK = np.take_along_axis(candidates.tokens_AC, chosen_AK, axis=1)
    beams.scores_AK = np.take_along_axis(running_AC, chosen_AK, axis=1)
    kept_AKL = np.take_along_axis(beams.ids_AKL, came_from_AK[:, :, None], axis=1)
    beams.ids_AKL = np.concatenate([kept_AKL, tokens_AK[:, :, None]], axis=2)
    # Can a beam that goes on still beat the worst that has ended? Its score now stands for its best.
    best_A = beams.scores_AK[:, 0] / np.float32((num_written + 1) ** options.length_penalty)
    full_A = beams.ended_AK.all(axis=1)
    beams.open_A &= ~full_A | ((best_A > beams.ended_scores_AK.min(axis=1)) & (not options.early_stopping))
    return came_from_AK


def _end(beams: _Beams, candidates: _Candidates, ends_AC: Any, num_written: int, options: GenerateOptions) -> None:
    """Take the candidates that end into the best ended ones; only the first `num_beams` candidates may."""
    num_beams = options.num_beams
    ends_AK = ends_AC[:, :num_beams] & beams.open_A[:, None]
    if not ends_AK.any():
        return
    penalty = np.float32((num_written + 1) ** options.length_penalty)
    new_scores_AK = candidates.scores_AC[:, :num_beams] / penalty + ~ends_AK * IMPOSSIBLE
    merged_AX = np.concatenate([beams.ended_scores_AK, new_scores_AK], axis=1)
    merged_ended_AX = np.concatenate([beams.ended_AK, ends_AK], axis=1)
    for index in np.flatnonzero(ends_AK.any(axis=1)):
        order_K = np.argsort(-merged_AX[index], kind="stable")[:num_beams]
        new_ids = [
            [*beams.ids_AKL[index, candidates.beams_AC[index, c], 1:].tolist(), int(candidates.tokens_AC[index, c])]
            for c in range(num_beams)
        ]
        merged_ids = beams.ended_ids[index] + new_ids
        beams.ended_ids[index] = [merged_ids[choice] for choice in order_K]
        beams.ended_scores_AK[index] = merged_AX[index, order_K]
        beams.ended_AK[index] = merged_ended_AX[index, order_K]


def _constrain(
    logits_RV: Any, ids_RL: Any, num_written: int, special: SpecialIds, options: GenerateOptions
) -> int | None:
    """Set the logits of tokens that may not follow to -inf, in place; return the one that must, if one must."""
    if options.no_repeat_ngram_size:
        rows, tokens = _repeating(ids_RL, options.no_repeat_ngram_size)
        logits_RV[rows, tokens] = -np.inf
    if num_written < options.min_new_tokens:
        for end in special.eos:
            logits_RV[:, end] = -np.inf
    forced = special.forced_bos if num_written == 0 else None
    if num_written + 1 == options.max_new_tokens and special.forced_eos is not None:
        forced = special.forced_eos
    if forced is not None:
        logits_RV[:] = -np.inf
        logits_RV[:, forced] = 0
    return forced


def _is_end(tokens: Any, special: SpecialIds) -> Any:
    """Return which tokens end a summary; `numpy.isin` took a hundredth of a step for so few."""
    found: Any = np.zeros(tokens.shape, bool)
    for end in special.eos:
        found |= tokens == end
    return found


def _repeating(ids_RL: Any, size: int) -> tuple[Any, Any]:
    """Return rows and tokens that would write an n-gram of this size a second time; the start token counts."""
    length = ids_RL.shape[1]
    num_ngrams = max(length - size + 1, 0)
    same_RN = np.ones((len(ids_RL), num_ngrams), bool)
    for offset in range(size - 1):
        same_RN &= ids_RL[:, offset : offset + num_ngrams] == ids_RL[:, length - size + 1 + offset, None]
    rows, starts = np.nonzero(same_RN)
    return rows, ids_RL[rows, starts + size - 1]


def _largest(values_RV: Any, num_wanted: int) -> Any:
    """Return the columns of each row's largest values, best first.

    The largest lie in the blocks with the largest maxima, so that one pass and a small sort do.
    """
    num_rows, num_columns = values_RV.shape
    num_whole = num_columns // BLOCK
    if num_whole <= 2 * num_wanted:
        return np.argsort(-values_RV, axis=1, kind="stable")[:, :num_wanted]
    maxima_RB = values_RV[:, : num_whole * BLOCK].reshape(num_rows, num_whole, BLOCK).max(axis=2)
    blocks_RC = np.argpartition(-maxima_RB, num_wanted - 1, axis=1)[:, :num_wanted]
    blocks_RC.sort(axis=1)  # so that of equals the first column wins
    columns_RX = (blocks_RC[:, :, None] * BLOCK + np.arange(BLOCK)).reshape(num_rows, -1)
    rest_X = np.broadcast_to(np.arange(num_whole * BLOCK, num_columns), (num_rows, num_columns - num_whole * BLOCK))
    columns_RX = np.concatenate([columns_RX, rest_X], axis=1)
    order_RC = np.argsort(-np.take_along_axis(values_RV, columns_RX, axis=1), axis=1, kind="stable")[:, :num_wanted]
    return np.take_along_axis(columns_RX, order_RC, axis=1)


def _log_sum_exp(values_RV: Any) -> Any:
    """Return the logarithm of each row's sum of exponentials; a row at a time stays in the cache."""
    sums_R: Any = np.empty(len(values_RV), np.float32)
    scratch_V = np.empty(values_RV.shape[1], np.float32)
    for row, values_V in enumerate(values_RV):
        largest = values_V.max()
        np.exp(np.subtract(values_V, largest, out=scratch_V), out=scratch_V)
        sums_R[row] = np.log(scratch_V.sum()) + largest
    return sums_R
