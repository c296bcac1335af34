"""UniLM in torch: one BERT stack under a prefix mask, and its generation with cached keys and values.

Takes what an encoder-decoder of transformers takes (``input_ids``, ``attention_mask``, ``decoder_input_ids``) and gives
logits of the target, so that engines and prediction know no difference. Sources are padded on the right.

Shapes: B batch, S source tokens, T target tokens, L = S + T, V vocabulary, K beams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, BertConfig, BertForMaskedLM, DynamicCache
from transformers.generation import NoRepeatNGramLogitsProcessor
from transformers.modeling_outputs import Seq2SeqLMOutput

IGNORED: Final = -100
SOURCE_SEGMENT: Final = 0
TARGET_SEGMENT: Final = 1
NO_HYPOTHESIS: Final = -1e9


class UniLMConfig(BertConfig):  # type: ignore[misc]
    """BERT's configuration under a name of its own, so that a saved model is told from a BERT."""

    model_type = "unilm"


class UniLMForSummarization(BertForMaskedLM):  # type: ignore[misc]
    """BERT with its vocabulary head, reading source and target as one sequence."""

    config_class = UniLMConfig

    def forward(
        self, input_ids: Any, attention_mask: Any = None, decoder_input_ids: Any = None, labels: Any = None, **_: Any
    ) -> Seq2SeqLMOutput:
        """Return logits [B, T, V] of the target, and the mean token loss where `labels` [B, T] are given."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        num_source, num_target = input_ids.shape[1], decoder_input_ids.shape[1]
        positions_BT = attention_mask.sum(1, keepdim=True) + torch.arange(num_target, device=input_ids.device)
        positions_BS = torch.arange(num_source, device=input_ids.device).expand_as(input_ids)
        segments_BS, segments_BT = self._segments(input_ids, 0), self._segments(decoder_input_ids, 1)
        hidden_BLD = self.bert(
            torch.cat([input_ids, decoder_input_ids], dim=1),
            attention_mask=self._mask(prefix_mask(attention_mask, num_target)),
            token_type_ids=torch.cat([segments_BS, segments_BT], dim=1),
            position_ids=torch.cat([positions_BS, positions_BT], dim=1),
        ).last_hidden_state
        logits_BTV = self.cls(hidden_BLD[:, num_source:])
        loss = None
        if labels is not None:
            loss = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        return Seq2SeqLMOutput(loss=loss, logits=logits_BTV)

    def prepare_decoder_input_ids_from_labels(self, labels: Any) -> Any:
        """Shift the labels [B, T] one place to the right, behind the start token."""
        shifted_BT = labels.new_full(labels.shape, self.config.decoder_start_token_id)
        shifted_BT[:, 1:] = labels[:, :-1]
        return shifted_BT.masked_fill(shifted_BT == IGNORED, self.config.pad_token_id)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def generate(
        self, input_ids: Any, attention_mask: Any = None, generation_config: Any = None, **changes: Any
    ) -> Any:
        """Write summaries; return ids [B, 1 + tokens], the start token first, padded on the right.

        Greedy with one beam, else beam search: a hypothesis scores the sum of its log probabilities over its length to
        the power of the length penalty. The source goes through the stack once, each written token once per beam.
        """
        config = _settings(generation_config or getattr(self, "generation_config", None), changes)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        cache = self._read_source(input_ids, attention_mask)
        cache.batch_repeat_interleave(config.num_beams)
        mask_NS = attention_mask.repeat_interleave(config.num_beams, dim=0)
        beams = Beams(config, len(input_ids), self.config, input_ids.device)
        for step in range(config.max_new_tokens):
            logits_NV = self._next_logits(beams.last_tokens, step, mask_NS, cache)
            origins_N = beams.advance(logits_NV)
            if beams.are_done:
                break
            cache.reorder_cache(origins_N)
        return beams.best()

    def _read_source(self, ids_BS: Any, mask_BS: Any) -> Any:
        cache = DynamicCache(config=self.config)
        allowed_B1SS = mask_BS.bool()[:, None, None, :].expand(-1, 1, ids_BS.shape[1], -1)
        self.bert(
            ids_BS, attention_mask=self._mask(allowed_B1SS), token_type_ids=self._segments(ids_BS, SOURCE_SEGMENT),
            past_key_values=cache,
        )  # fmt: skip
        return cache

    def _next_logits(self, tokens_N1: Any, step: int, mask_NS: Any, cache: Any) -> Any:
        """Return logits [N, V] behind the last token of each beam; it is added to the cache."""
        written_NT = mask_NS.new_ones(len(mask_NS), step + 1)
        allowed_N11L = torch.cat([mask_NS, written_NT], dim=1).bool()[:, None, None, :]
        hidden_N1D = self.bert(
            tokens_N1,
            attention_mask=self._mask(allowed_N11L),
            token_type_ids=self._segments(tokens_N1, TARGET_SEGMENT),
            position_ids=mask_NS.sum(1, keepdim=True) + step,
            past_key_values=cache,
        ).last_hidden_state
        return self.cls(hidden_N1D[:, -1]).float()

    def _mask(self, allowed: Any) -> Any:
        """Return what the attention function takes: eager adds numbers, the fused ones read truth values."""
        if self.config._attn_implementation != "eager":
            return allowed
        return torch.zeros(allowed.shape, device=allowed.device, dtype=self.dtype).masked_fill(
            ~allowed, torch.finfo(self.dtype).min
        )

    def _segments(self, ids: Any, segment: int) -> Any:
        return torch.full_like(ids, min(segment, self.config.type_vocab_size - 1))


def prefix_mask(mask_BS: Any, num_target: int) -> Any:
    """Return who may see whom, truth values [B, 1, L, L]: all see the source, targets also their own past.

    >>> prefix_mask(torch.tensor([[1, 0]]), 2)[0, 0].int().tolist()
    [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    """
    num_rows, num_source = mask_BS.shape
    length = num_source + num_target
    place = torch.arange(length, device=mask_BS.device)
    is_target = place >= num_source
    past_LL = is_target[:, None] & is_target[None, :] & (place[None, :] <= place[:, None])
    source_BL = torch.nn.functional.pad(mask_BS.bool(), (0, num_target), value=False)
    return (source_BL[:, None, None, :] | past_LL).expand(num_rows, 1, length, length)


@dataclass(frozen=True)
class GenerationSettings:
    """The settings of transformers' GenerationConfig that this loop honours; it knows no others."""

    num_beams: int
    max_new_tokens: int
    min_new_tokens: int
    length_penalty: float
    no_repeat_ngram_size: int
    early_stopping: bool


def _settings(config: Any, changes: dict[str, Any]) -> GenerationSettings:
    given = {name: changes.pop(name, getattr(config, name, None)) for name in GenerationSettings.__dataclass_fields__}
    if changes:
        raise TypeError(f"generate() of UniLM does not know {', '.join(sorted(changes))}")
    if getattr(config, "do_sample", False):
        raise TypeError("generate() of UniLM does not sample")
    defaults: dict[str, Any] = {
        "num_beams": 1, "max_new_tokens": 20, "min_new_tokens": 0, "length_penalty": 1.0, "no_repeat_ngram_size": 0,
        "early_stopping": False,
    }  # fmt: skip
    return GenerationSettings(**{name: defaults[name] if given[name] is None else given[name] for name in given})


class Beams:
    """Beam search over log probabilities; N = B x K rows, those of one document side by side."""

    def __init__(self, settings: GenerationSettings, num_documents: int, model_config: Any, device: Any) -> None:
        self.settings, self.num_documents, self.num_beams = settings, num_documents, settings.num_beams
        self.end, self.pad = model_config.eos_token_id, model_config.pad_token_id
        num_rows = num_documents * self.num_beams
        self.tokens_NT = torch.full((num_rows, 1), model_config.decoder_start_token_id, device=device)
        self.scores_BK = torch.full((num_documents, self.num_beams), NO_HYPOTHESIS, device=device)
        self.scores_BK[:, 0] = 0.0  # the beams begin equal: only one may count
        longest = 1 + settings.max_new_tokens
        self.finished_BKT = torch.full((num_documents, self.num_beams, longest), self.pad, device=device)
        self.finished_scores_BK = torch.full((num_documents, self.num_beams), NO_HYPOTHESIS, device=device)
        self.is_done_B = torch.zeros(num_documents, dtype=torch.bool, device=device)

    @property
    def last_tokens(self) -> Any:
        """The token [N, 1] that each beam wrote last."""
        return self.tokens_NT[:, -1:]

    @property
    def are_done(self) -> bool:
        """Whether no document can get a better hypothesis; waits for the device."""
        return bool(self.is_done_B.all())

    @property
    def num_written(self) -> int:
        """Tokens of each beam, the start token left out."""
        return int(self.tokens_NT.shape[1]) - 1

    def advance(self, logits_NV: Any) -> Any:
        """Write one token in every beam; return the row [N] that each beam goes on from."""
        log_probs_NV = self._constrain(torch.log_softmax(logits_NV, dim=-1))
        vocabulary_size = log_probs_NV.shape[-1]
        totals_BC = (self.scores_BK.reshape(-1, 1) + log_probs_NV).view(self.num_documents, -1)
        scores_BC, places_BC = totals_BC.topk(2 * self.num_beams, dim=1)  # enough if all K that end are among the best
        beams_BC, words_BC = places_BC // vocabulary_size, places_BC % vocabulary_size
        first_row_B1 = torch.arange(self.num_documents, device=places_BC.device)[:, None] * self.num_beams
        rows_BC = first_row_B1 + beams_BC
        self._finish(scores_BC, rows_BC, words_BC)
        going_BC = scores_BC.masked_fill(words_BC == self.end, 2 * NO_HYPOTHESIS)
        self.scores_BK, kept_BK = going_BC.topk(self.num_beams, dim=1)
        origins_N = rows_BC.gather(1, kept_BK).flatten()
        words_N1 = words_BC.gather(1, kept_BK).view(-1, 1)
        self.tokens_NT = torch.cat([self.tokens_NT[origins_N], words_N1], dim=1)
        self._notice_done()
        return origins_N

    def best(self) -> Any:
        """Return the best hypothesis of each document [B, T]; beams that ran out of steps count as they are."""
        unfinished_BK = self.scores_BK / max(1, self.num_written) ** self.settings.length_penalty
        unfinished_BK = unfinished_BK.masked_fill(self.is_done_B[:, None], 2 * NO_HYPOTHESIS)
        tokens_BKT = self._padded(self.tokens_NT).view(self.num_documents, self.num_beams, -1)
        scores_BH = torch.cat([self.finished_scores_BK, unfinished_BK], dim=1)
        all_BHT = torch.cat([self.finished_BKT, tokens_BKT], dim=1)
        best_BT = all_BHT[torch.arange(self.num_documents, device=all_BHT.device), scores_BH.argmax(dim=1)]
        num_used = int((best_BT[:, 1:] != self.pad).sum(dim=1).max()) + 1
        return best_BT[:, :num_used]

    def _constrain(self, log_probs_NV: Any) -> Any:
        if self.num_written < self.settings.min_new_tokens:
            log_probs_NV[:, self.end] = -torch.inf
        if self.settings.no_repeat_ngram_size > 0:
            processor = NoRepeatNGramLogitsProcessor(self.settings.no_repeat_ngram_size)
            log_probs_NV = processor(self.tokens_NT, log_probs_NV)
        return log_probs_NV

    def _finish(self, scores_BC: Any, rows_BC: Any, words_BC: Any) -> None:
        """Keep the K best of the hypotheses finished before and of those that end among the K best now."""
        length = self.num_written + 1  # with the closing token
        ends_BC = words_BC == self.end
        ends_BC[:, self.num_beams :] = False
        ends_BC &= ~self.is_done_B[:, None] & (scores_BC > NO_HYPOTHESIS / 2)  # not of a beam that does not count yet
        new_scores_BC = (scores_BC / length**self.settings.length_penalty).masked_fill(~ends_BC, NO_HYPOTHESIS)
        ended_NT = torch.cat([self.tokens_NT[rows_BC.flatten()], words_BC.reshape(-1, 1)], dim=1)
        new_BCT = self._padded(ended_NT).view(*rows_BC.shape, -1)
        scores_BH = torch.cat([self.finished_scores_BK, new_scores_BC], dim=1)
        self.finished_scores_BK, kept_BK = scores_BH.topk(self.num_beams, dim=1)
        all_BHT = torch.cat([self.finished_BKT, new_BCT], dim=1)
        self.finished_BKT = all_BHT.gather(1, kept_BK[:, :, None].expand(-1, -1, all_BHT.shape[-1]))

    def _notice_done(self) -> None:
        """A document is done with K hypotheses, if asked for so early, or when none under way can be better."""
        is_full_B = self.finished_scores_BK[:, -1] > NO_HYPOTHESIS
        if self.settings.early_stopping or self.num_beams == 1:
            self.is_done_B |= is_full_B
            return
        hope_B = self.scores_BK[:, 0] / self.num_written**self.settings.length_penalty
        self.is_done_B |= is_full_B & (hope_B <= self.finished_scores_BK[:, -1])

    def _padded(self, tokens_NT: Any) -> Any:
        missing = 1 + self.settings.max_new_tokens - tokens_NT.shape[1]
        return torch.nn.functional.pad(tokens_NT, (0, missing), value=self.pad)


AutoConfig.register("unilm", UniLMConfig)
AutoModelForSeq2SeqLM.register(UniLMConfig, UniLMForSummarization)
