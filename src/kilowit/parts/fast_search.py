"""Greedy and beam search over token scores, all on the device: the rules of transformers 5, its vectorised search.

Nothing here waits for the device: whoever drives a search asks `done` when it likes. Every state tensor keeps its
address from `restart` on, so that a step can be captured as a CUDA graph: which also forbids what copies a number from
the host, as torch.where does with one.

Tensors: B sources, K beams, M candidates of a source, C of a beam, T target positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from kilowit.parts.runtime import GenerateOptions

IMPOSSIBLE: Final = -1.0e9  # transformers' score of what must not be chosen; -inf is a score that processors give
CHUNK: Final = 128  # columns of which only the largest is looked at first, when the best are sought


@dataclass(frozen=True)
class SpecialTokens:
    """The ids that begin, end and fill what is written."""

    start: int
    pad: int
    end: tuple[int, ...]
    forced_first: int | None
    forced_last: tuple[int, ...]


class TokenRules:
    """What may be written next: the logits processors that a summarizer uses, for all rows at once."""

    def __init__(self, tokens: SpecialTokens, options: GenerateOptions, vocabulary_size: int, device: Any) -> None:
        self.tokens, self.options, self.vocabulary_size, self.device = tokens, options, vocabulary_size, device
        self.last_step = options.max_new_tokens - 1
        self._forbidden = torch.tensor(-torch.inf, device=device)
        self._allowed = torch.tensor(0.0, device=device)

    def candidates(self, scores_RV: Any, written_RT: Any, step: Any, number: int) -> tuple[Any, Any]:
        """Return the best tokens of each row: scores and ids [R, number], best first.

        Args:
            scores_RV: overwritten. Columns from the vocabulary's size on are -inf, and there is at least one.
            written_RT: start token and what follows; past `step` it holds anything.
            step: the number of tokens written, a tensor [1].
        """
        self._ban_repeated(scores_RV, written_RT, step)
        if self.options.min_new_tokens:
            penalty = torch.where(step < self.options.min_new_tokens, self._forbidden, self._allowed)
            for token in self.tokens.end:
                scores_RV[:, token] += penalty.to(scores_RV.dtype)
        scores_RC, tokens_RC = best_columns(scores_RV, number)
        if self.tokens.forced_first is not None:
            scores_RC, tokens_RC = self._force((self.tokens.forced_first,), step == 0, scores_RC, tokens_RC)
        if self.tokens.forced_last:
            scores_RC, tokens_RC = self._force(self.tokens.forced_last, step == self.last_step, scores_RC, tokens_RC)
        return scores_RC, tokens_RC

    def is_end(self, tokens: Any) -> Any:
        """Return which tokens end a summary."""
        found = torch.zeros_like(tokens, dtype=torch.bool)
        for token in self.tokens.end:
            found |= tokens == token
        return found

    def _force(self, tokens: tuple[int, ...], is_now: Any, scores_RC: Any, tokens_RC: Any) -> tuple[Any, Any]:
        """Leave these tokens alone with a score of 0 where `is_now`."""
        forced_scores = torch.full_like(scores_RC, -torch.inf)
        forced_tokens = tokens_RC.clone()
        for column, token in enumerate(tokens[: scores_RC.shape[1]]):
            forced_scores[:, column].fill_(0.0)
            forced_tokens[:, column].fill_(token)
        return torch.where(is_now, forced_scores, scores_RC), torch.where(is_now, forced_tokens, tokens_RC)

    def _ban_repeated(self, scores_RV: Any, written_RT: Any, step: Any) -> None:
        """Ban every token that would complete an n-gram which the row already has."""
        size = self.options.no_repeat_ngram_size
        if not 0 < size <= written_RT.shape[1]:
            return
        windows = written_RT.unfold(1, size, 1)
        places = (step + torch.arange(2 - size, 1, device=self.device)).clamp_(min=0)
        same = (windows[..., :-1] == written_RT.index_select(1, places)[:, None]).all(-1)
        is_complete = torch.arange(windows.shape[1], device=self.device) <= step + 1 - size
        banned = windows[..., -1].masked_fill(~(same & is_complete), self.vocabulary_size)
        scores_RV.scatter_(1, banned, -torch.inf)


def best_columns(scores_RV: Any, number: int) -> tuple[Any, Any]:
    """Return the largest scores of each row and their columns [R, number], largest first.

    The largest lie in the chunks with the largest maxima, so that the whole row is read once and not sorted.
    """
    num_chunks = scores_RV.shape[1] // CHUNK
    if number == 1:
        best = scores_RV.argmax(-1, keepdim=True)
        return scores_RV.gather(1, best), best
    if num_chunks <= number or scores_RV.shape[1] % CHUNK:
        top = scores_RV.topk(number)
        return top.values, top.indices
    chunks = scores_RV.unflatten(1, (num_chunks, CHUNK))
    chosen_RC = chunks.amax(-1).topk(number).indices
    seen = chunks.gather(1, chosen_RC[..., None].expand(-1, -1, CHUNK)).flatten(1)
    top = seen.topk(number)
    return top.values, chosen_RC.gather(1, top.indices // CHUNK) * CHUNK + top.indices % CHUNK


class GreedySearch:
    """The likeliest token, again and again, until an end token."""

    _STATE: Final = ("written_BT", "tokens_BK", "is_ended_B1")

    def __init__(self, rules: TokenRules, num_sources: int) -> None:
        self.rules = rules
        num_positions, device = rules.options.max_new_tokens, rules.device
        self.written_BT = torch.empty(num_sources, num_positions + 1, dtype=torch.long, device=device)
        self.tokens_BK = torch.empty(num_sources, 1, dtype=torch.long, device=device)
        self.is_ended_B1 = torch.empty(num_sources, 1, dtype=torch.bool, device=device)
        self.restart()

    def restart(self) -> None:
        """Begin anew, in the same tensors."""
        self.written_BT.fill_(self.rules.tokens.pad)
        self.written_BT[:, 0] = self.rules.tokens.start
        self.tokens_BK.fill_(self.rules.tokens.start)
        self.is_ended_B1.fill_(False)

    def advance(self, logits_BV: Any, step: Any) -> None:
        """Choose the next token of each source; no beam takes another's place. The logits are overwritten."""
        _, tokens_B1 = self.rules.candidates(logits_BV, self.written_BT, step, 1)
        tokens_B1 = tokens_B1.masked_fill(self.is_ended_B1, self.rules.tokens.pad)
        self.written_BT.index_copy_(1, step + 1, tokens_B1)
        self.tokens_BK.copy_(tokens_B1)
        self.is_ended_B1 |= self.rules.is_end(tokens_B1)

    def done(self) -> Any:
        """Return which sources are finished [B]."""
        return self.is_ended_B1[:, 0]

    def select(self, kept: Any) -> None:
        """Keep some sources."""
        for name in self._STATE:
            setattr(self, name, getattr(self, name).index_select(0, kept))

    def best(self) -> Any:
        """Return the tokens of each source [B, T], without the start token."""
        return self.written_BT[:, 1:]

    def settled(self, place: int) -> tuple[Any, Any]:
        """Return each source's tokens [B, T] after the step `place`, and how many no later step changes [B]."""
        written_BT = self.written_BT[:, 1 : place + 2]
        is_after_end_BT = self.rules.is_end(written_BT).cumsum(1) - self.rules.is_end(written_BT).long() > 0
        return written_BT, (~is_after_end_BT).sum(1)

    def stop(self, is_stopped_B: Any) -> None:
        """Take some sources for finished."""
        self.is_ended_B1 |= is_stopped_B[:, None]


class BeamSearch:
    """The search of transformers 5: K running beams, K finished ones, candidates of both kinds in every step."""

    _STATE: Final = (
        "written_BKT", "running_BK", "finished_BKT", "finished_scores_BK", "is_finished_BK", "can_improve_B1",
        "tokens_BK",
    )  # fmt: skip

    def __init__(self, rules: TokenRules, num_sources: int) -> None:
        self.rules, self.num_beams = rules, rules.options.num_beams
        num_positions, device = rules.options.max_new_tokens, rules.device
        self.num_candidates = max(2, 1 + len(rules.tokens.end)) * self.num_beams
        shape_BK, shape_BKT = (num_sources, self.num_beams), (num_sources, self.num_beams, num_positions + 1)
        self.written_BKT = torch.empty(shape_BKT, dtype=torch.long, device=device)
        self.finished_BKT = torch.empty(shape_BKT, dtype=torch.long, device=device)
        self.running_BK = torch.empty(shape_BK, device=device)
        self.finished_scores_BK = torch.empty(shape_BK, device=device)
        self.is_finished_BK = torch.empty(shape_BK, dtype=torch.bool, device=device)
        self.can_improve_B1 = torch.empty(num_sources, 1, dtype=torch.bool, device=device)
        self.tokens_BK = torch.empty(shape_BK, dtype=torch.long, device=device)
        lengths = torch.arange(1, num_positions + 1, dtype=torch.float64)
        self._norms_T = (lengths**rules.options.length_penalty).to(device, torch.float32)
        self._is_top_M = torch.arange(self.num_candidates, device=device) < self.num_beams
        self.restart()

    def restart(self) -> None:
        """Begin anew, in the same tensors: the first beam of each source leads, the others are copies that lose."""
        tokens = self.rules.tokens
        for written_BKT in (self.written_BKT, self.finished_BKT):
            written_BKT.fill_(tokens.pad)
            written_BKT[:, :, 0] = tokens.start
        self.running_BK.fill_(IMPOSSIBLE)
        self.running_BK[:, 0] = 0.0
        self.finished_scores_BK.fill_(IMPOSSIBLE)
        self.is_finished_BK.fill_(False)
        self.can_improve_B1.fill_(True)
        self.tokens_BK.fill_(tokens.start)

    def advance(self, logits_RV: Any, step: Any) -> Any:
        """Choose the next tokens of each source's beams; return which beam each goes on from [B, K].

        Args:
            logits_RV: of the rows B * K.
            step: the number of tokens written, a tensor [1].
        """
        scores_RV = torch.log_softmax(logits_RV, dim=-1, dtype=torch.float32)
        number = self.num_candidates
        scores_RC, tokens_RC = self.rules.candidates(scores_RV, self.written_BKT.flatten(0, 1), step, number)
        scores_BKC = scores_RC.unflatten(0, (-1, self.num_beams)) + self.running_BK[..., None]
        scores_BM, places_BM = scores_BKC.flatten(1).topk(number)
        parents_BM = places_BM // number
        tokens_BM = tokens_RC.unflatten(0, (-1, self.num_beams)).flatten(1).gather(1, places_BM)
        written_BMT = _of_beams(self.written_BKT, parents_BM)
        written_BMT.index_copy_(2, step + 1, tokens_BM[..., None])
        is_ended_BM = self.rules.is_end(tokens_BM) | (step == self.rules.last_step)
        self._finish(written_BMT, scores_BM, is_ended_BM, step)
        going_BM = scores_BM + is_ended_BM * IMPOSSIBLE
        kept_BK = going_BM.topk(self.num_beams).indices
        self.written_BKT.copy_(_of_beams(written_BMT, kept_BK))
        self.running_BK.copy_(going_BM.gather(1, kept_BK))
        self.tokens_BK.copy_(tokens_BM.gather(1, kept_BK))
        self._look_ahead(step)
        return parents_BM.gather(1, kept_BK)

    def _finish(self, written_BMT: Any, scores_BM: Any, is_ended_BM: Any, step: Any) -> None:
        """Take candidates that ended among the finished, if they are among the first K and good enough."""
        is_new_BM = is_ended_BM & self._is_top_M
        scores_BM = scores_BM / self._norms_T.index_select(0, step)
        if self.rules.options.early_stopping:
            scores_BM = scores_BM + self.is_finished_BK.all(-1, keepdim=True) * IMPOSSIBLE
        scores_BM = scores_BM + ~self.can_improve_B1 * IMPOSSIBLE
        scores_BM = scores_BM + ~is_new_BM * IMPOSSIBLE
        best = torch.cat([self.finished_scores_BK, scores_BM], 1).topk(self.num_beams)
        self.finished_BKT.copy_(_of_beams(torch.cat([self.finished_BKT, written_BMT], 1), best.indices))
        self.finished_scores_BK.copy_(best.values)
        self.is_finished_BK.copy_(torch.cat([self.is_finished_BK, is_new_BM], 1).gather(1, best.indices))

    def _look_ahead(self, step: Any) -> None:
        """See whether the best running beam can still beat the worst finished one, at today's length."""
        possible_B1 = self.running_BK[:, :1] / self._norms_T.index_select(0, step)
        worst_B1 = self.finished_scores_BK.amin(1, keepdim=True)
        worst_BK = worst_B1.expand_as(self.is_finished_BK).masked_fill(~self.is_finished_BK, IMPOSSIBLE)
        self.can_improve_B1 &= (possible_B1 > worst_BK).any(-1, keepdim=True)

    def done(self) -> Any:
        """Return which sources are finished [B]: nothing that comes would change them."""
        stopped_B = ~self.can_improve_B1[:, 0]
        return stopped_B | self.is_finished_BK.all(-1) if self.rules.options.early_stopping else stopped_B

    def select(self, kept: Any) -> None:
        """Keep some sources."""
        for name in self._STATE:
            setattr(self, name, getattr(self, name).index_select(0, kept))

    def best(self) -> Any:
        """Return the tokens of the best finished beam of each source [B, T], without the start token."""
        return self.finished_BKT[:, 0, 1:]

    def settled(self, place: int) -> tuple[Any, Any]:
        """Return tokens [B, T] after the step `place`, and on how many all beams that may still win agree [B]."""
        written_BKT, finished_BKT = self.written_BKT[:, :, 1 : place + 2], self.finished_BKT[:, :, 1 : place + 2]
        first_B1T = written_BKT[:, :1]
        is_agreed_BKT = (finished_BKT == first_B1T) | ~self.is_finished_BK[..., None]
        is_agreed_BT = ((written_BKT == first_B1T) & is_agreed_BKT).all(1)
        return first_B1T[:, 0], is_agreed_BT.long().cumprod(1).sum(1)

    def stop(self, is_stopped_B: Any) -> None:
        """Take some sources for finished."""
        self.can_improve_B1 &= ~is_stopped_B[:, None]


def _of_beams(written_BKT: Any, beams_BM: Any) -> Any:
    return written_BKT.gather(1, beams_BM[..., None].expand(-1, -1, written_BKT.shape[2]))
