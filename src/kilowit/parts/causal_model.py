"""A decoder-only model that takes what an encoder-decoder takes, so that engines and prediction know no difference.

The source is the prompt with the document, less its last token; that one is the start token, which the summary follows.
Source and target go through the stack as one sequence under its causal mask, and logits are those of the target alone:
the loss never sees the prompt. Generation is transformers' own, begun from a cache of the source: read once a document,
where transformers would read it once a beam.

Shapes: B batch, S source tokens, T target tokens, L = S + T, V vocabulary, N = B x beams.
"""

from __future__ import annotations

import copy
import functools
import inspect
from typing import Any, Final

import torch
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList
from transformers.generation import NoRepeatNGramLogitsProcessor
from transformers.modeling_outputs import CausalLMOutputWithPast

from kilowit.parts.model import LoadedModel
from kilowit.parts.prompt import read_prompt

IGNORED: Final = -100
PROMPT_KEY: Final = "summarization_prompt"  # in config.json: a model that is kept is read with the prompt it learned


def make_summarizer(loaded: LoadedModel, text: str | None) -> None:
    """Turn a decoder-only model in memory into a summarizer, in place; its weights stay as they are.

    Args:
        text: prompt; None = the one that the model was trained with here, else the tokenizer's chat or a default.

    Raises:
        PartError: the tokenizer cannot hold a prompt.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    loaded.prompt = read_prompt(tokenizer, text or getattr(model.config, PROMPT_KEY, None))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.bos_token or tokenizer.eos_token
    setattr(model.config, PROMPT_KEY, text or getattr(model.config, PROMPT_KEY, None))
    model.config.pad_token_id = tokenizer.pad_token_id
    as_summarizer(model, loaded.prompt.start)


def as_summarizer(model: Any, start_token_id: int) -> Any:
    """Give a model the class of its own that also reads `decoder_input_ids`; return it."""
    kind: Any = type(model)
    model.__class__ = _summarizing_class(kind)
    model.start_token_id = start_token_id
    return model


@functools.cache
def _summarizing_class(kind: Any) -> Any:
    """Return a subclass under the same name: a saved model names the class that anyone can load it with."""

    @functools.wraps(kind.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("decoder_input_ids") is None and kwargs.get("labels") is None:
            return kind.forward(self, *args, **kwargs)
        return _forward_target(functools.partial(kind.forward, self), self, *args, **kwargs)

    methods = {
        "forward": forward,
        "prepare_decoder_input_ids_from_labels": _shift_right,
        "generate": _generate,
        "_stock_generate": kind.generate,
        "__module__": kind.__module__,
    }
    return type(kind.__name__, (kind,), methods)


def _shift_right(self: Any, labels: Any) -> Any:
    """Shift the labels [B, T] one place to the right, behind the start token."""
    shifted_BT = labels.new_full(labels.shape, self.start_token_id)
    shifted_BT[:, 1:] = labels[:, :-1]
    return shifted_BT.masked_fill(shifted_BT == IGNORED, self.config.pad_token_id)


def _forward_target(
    stock: Any, model: Any, input_ids: Any, attention_mask: Any = None, decoder_input_ids: Any = None,
    labels: Any = None, use_cache: bool = False,
) -> CausalLMOutputWithPast:  # fmt: skip
    """Return logits [B, T, V] of the target, and the mean token loss where `labels` [B, T] are given."""
    if decoder_input_ids is None:
        decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels)
    num_target = decoder_input_ids.shape[1]
    ids_BS, mask_BS = left_padded(input_ids, attention_mask)
    mask_BL = torch.cat([mask_BS, torch.ones_like(decoder_input_ids)], dim=1)
    keeps_logits = "logits_to_keep" in inspect.signature(stock).parameters
    logits = stock(
        input_ids=torch.cat([ids_BS, decoder_input_ids], dim=1), attention_mask=mask_BL,
        position_ids=positions(mask_BL), use_cache=False, **({"logits_to_keep": num_target} if keeps_logits else {}),
    ).logits  # fmt: skip
    logits_BTV, loss = logits[:, -num_target:], None
    if labels is not None:
        loss = torch.nn.functional.cross_entropy(
            logits_BTV.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED
        )
    return CausalLMOutputWithPast(loss=loss, logits=logits_BTV)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _generate(
    self: Any, input_ids: Any, attention_mask: Any = None, generation_config: Any = None, **changes: Any
) -> Any:
    """Write summaries; return ids [B, 1 + tokens], the start token first, padded on the right."""
    config = copy.deepcopy(generation_config or self.generation_config)
    config.update(**changes)
    ids_BS, mask_BS = left_padded(input_ids, attention_mask)
    num_rows, num_source = ids_BS.shape
    cache = DynamicCache(config=self.config)
    self.get_decoder()(
        input_ids=ids_BS, attention_mask=mask_BS, position_ids=positions(mask_BS), past_key_values=cache, use_cache=True
    )
    if (config.num_beams or 1) > 1:
        cache.batch_repeat_interleave(config.num_beams)
    processors = LogitsProcessorList()
    if config.no_repeat_ngram_size:
        processors.append(NoRepeatInSummary(config.no_repeat_ngram_size, num_source))
        config.no_repeat_ngram_size = 0
    start_B1 = ids_BS.new_full((num_rows, 1), self.start_token_id)
    ids_BL = self._stock_generate(
        input_ids=torch.cat([ids_BS, start_B1], dim=1),
        attention_mask=torch.cat([mask_BS, torch.ones_like(start_B1)], dim=1),
        past_key_values=cache, generation_config=config, logits_processor=processors,
    )  # fmt: skip
    return ids_BL[:, num_source:]


class NoRepeatInSummary(LogitsProcessor):  # type: ignore[misc]
    """Forbids repeated n-grams of the summary. Transformers' own would forbid the n-grams of the document too."""

    def __init__(self, ngram_size: int, num_source_tokens: int) -> None:
        self.stock = NoRepeatNGramLogitsProcessor(ngram_size)
        self.num_source_tokens = num_source_tokens

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores [N, V] with the forbidden tokens at minus infinity."""
        return self.stock(input_ids[:, self.num_source_tokens :], scores)


def left_padded(ids_BS: Any, mask_BS: Any) -> tuple[Any, Any]:
    """Move padding from the right to the left, where a summary may follow; `mask_BS` None = there is none.

    >>> [rows.tolist() for rows in left_padded(torch.tensor([[5, 6, 0]]), torch.tensor([[1, 1, 0]]))]
    [[[0, 5, 6]], [[0, 1, 1]]]
    """
    if mask_BS is None:
        return ids_BS, torch.ones_like(ids_BS)
    num_source = ids_BS.shape[1]
    place_S = torch.arange(num_source, device=ids_BS.device)
    from_BS = (place_S + mask_BS.sum(dim=1, keepdim=True)) % num_source
    return ids_BS.gather(1, from_BS), mask_BS.gather(1, from_BS)


def positions(mask_BL: Any) -> Any:
    """Count each row's positions from its first real token; padding stands at 0."""
    return (mask_BL.cumsum(dim=1) - 1).clamp(min=0)
